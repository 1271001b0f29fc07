"""Files and directories that appear under their name only when they are whole."""

import os
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC

from apppot.errors import AppPotError
from apppot.image.cow import remove_tree


@contextmanager
def whole(path, directory=False):
    """A temporary path beside `path`, renamed to it at the end; on an error it is removed and `path` stays as it was."""
    path = os.path.abspath(os.fsencode(path))
    name = os.fsdecode(path)
    above = os.path.dirname(path)
    if directory and os.path.lexists(path):
        raise AppPotError(f"{name} exists; name a new directory")
    if not directory and os.path.lexists(path) and not os.path.isfile(path):
        raise AppPotError(f"{name} exists and is not a file; name a new one")
    if not os.path.isdir(above):
        raise AppPotError(f"{os.fsdecode(above)}: no such directory; make it first")
    temporary = b"%s/.%s.%s.part" % (above, os.path.basename(path)[:200], os.urandom(4).hex().encode())
    try:
        if directory:
            os.mkdir(temporary, 0o700)
        yield temporary
        if directory and os.path.lexists(path):
            raise AppPotError(f"{name} was made by somebody else meanwhile")
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise AppPotError(f"{name}: no space left; free some, or name a place with more") from error
        if error.errno == EFBIG:
            raise AppPotError(f"{name}: larger than a file may be here; see ulimit -f") from error
        if error.filename is not None and os.fsencode(error.filename).startswith(temporary):
            raise AppPotError(f"{name}: {error.strerror}") from error
        raise
    finally:
        remove_tree(temporary)
