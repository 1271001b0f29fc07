"""Where the cache is."""

import os


def cache_directory(environ=None):
    """The cache's path (bytes); it need not exist."""
    environ = os.environb if environ is None else environ
    given = environ.get(b"APPPOT_CACHE")
    if given:
        return os.path.abspath(given)
    base = environ.get(b"XDG_CACHE_HOME")
    if not base or not base.startswith(b"/"):
        base = os.path.join(environ.get(b"HOME") or os.path.expanduser(b"~"), b".cache")
    return base + b"/apppot"
