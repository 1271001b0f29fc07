"""Files that a guest holds open and that have no name: all that may be done to a file through its descriptor alone.

A guest can hold a descriptor of any file of the host: O_PATH, which Landlock does not mediate, or one it was sent. What the
supervisor does by such a descriptor it does with its own rights, so it must know that the file is nobody else's.
"""

import os
from contextlib import contextmanager
from errno import EACCES
from stat import S_ISDIR

from apppot.vfs.node import fail


def is_named(status, link):
    """Whether an open file has a name: `status` of os.fstat(), `link` of readlink in /proc."""
    return status.st_nlink and link.startswith(b"/")


@contextmanager
def pinned(link):
    """A path, good for the time of the block, of the nameless file that the magic link `link` leads to now; else EACCES.

    The guest may put another file behind its link at any time: so it is held before it is looked at.
    """
    fd = os.open(link, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        path = b"/proc/self/fd/%d" % fd
        if S_ISDIR(status.st_mode) or is_named(status, os.readlink(path)):
            fail(EACCES)
        yield path
    finally:
        os.close(fd)
