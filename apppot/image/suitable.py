"""Whether a file system can hold the files of a system: FAT and exFAT, as of memory sticks, and some network mounts can't."""

import os
from contextlib import suppress
from errno import ENOSYS, EOPNOTSUPP, EPERM

from apppot.errors import AppPotError


def lacks(directory):
    """What of it the file system of a directory that may be written lacks, in words, or None. OSError when nothing can be made there."""
    probe = directory + b"/.probe-%d" % os.getpid()
    try:
        os.symlink(b"target", probe)
    except OSError as error:
        # symlink(2), EPERM: "The filesystem containing linkpath does not support the creation of symbolic links."
        if error.errno in (EPERM, EOPNOTSUPP, ENOSYS):
            return "its file system has no symbolic links"
        raise OSError(error.errno, error.strerror, probe) from error
    try:
        if os.path.lexists(directory + b"/.PROBE-%d" % os.getpid()):
            return "its file system takes names for the same that differ in case alone"
    finally:
        os.unlink(probe)
    return None


def check_cache(directory, what):
    """AppPotError when the cache can't have files in a directory of its own. what: the image that they are of, for the message."""
    lacking = lacks(directory)
    if lacking:
        raise AppPotError(f"{what}: the cache {os.fsdecode(directory)}: {lacking}; set APPPOT_CACHE to a directory on another one")


def shows_new_names(directory):
    """Whether an open directory shows names that were made after it was opened. OSError when nothing can be made in `directory`.

    readdir(3p) leaves that open. One of btrfs shows none before it is rewound (btrfs_opendir in fs/btrfs/inode.c, since Linux's commit
    357950361cbc, which Debian's 6.1 has too), or just the first one, where that is missing.
    """
    probe, names = directory + b"/.probe-" + os.urandom(6).hex().encode(), (b"/first", b"/second")
    os.mkdir(probe, 0o700)
    try:
        fd = os.open(probe, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                os.mkdir(probe + name)
            return len(os.listdir(fd)) == len(names)
        finally:
            os.close(fd)
    finally:
        for path in (*(probe + name for name in names), probe):
            with suppress(FileNotFoundError):
                os.rmdir(path)
