"""Calls that make, remove and rename names. The supervisor makes them itself: Landlock does not mediate them all.

The last component is taken for itself, even with a "/" behind it (follow=None): the namespace judges by node.slash.
"""

import os
from errno import EINVAL, ENOENT, EPERM

from apppot.syscalls.answer import Later
from apppot.syscalls.decode import Fd, Int, Path, UInt
from apppot.syscalls.paths import (AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, error, existing_at,
                                   node_at, node_of_descriptor)
from apppot.syscalls.waiting import changed, long_work
from apppot.vfs import nameless

_S_IFMT, _S_IFDIR, _S_IFREG = 0o170000, 0o040000, 0o100000
_MAKEABLE = (0, _S_IFREG, 0o020000, 0o060000, 0o010000, 0o140000)   # a regular file, devices, a fifo, a socket: mknod(2)
_RENAME_FLAGS, _RENAME_NOREPLACE, _RENAME_EXCHANGE = 7, 1, 2     # with RENAME_WHITEOUT, <linux/fs.h>
_ATTEMPTS = 5


def mkdir(task, path: Path, mode: UInt):
    return mkdirat(task, AT_FDCWD, path, mode)


def mkdirat(task, dirfd: Fd, path: Path, mode: UInt):
    task.ns.mkdir(task.caller, node_at(task, dirfd, path, None), mode & 0o7777)
    return 0


def mknod(task, path: Path, mode: UInt, device: UInt):
    return mknodat(task, AT_FDCWD, path, mode, device)


def mknodat(task, dirfd: Fd, path: Path, mode: UInt, device: UInt):
    kind = mode & _S_IFMT
    if kind not in _MAKEABLE:
        raise error(EPERM if kind == _S_IFDIR else EINVAL)
    task.ns.mknod(task.caller, node_at(task, dirfd, path, None), mode, device)
    return 0


def symlink(task, target: Path, path: Path):
    return symlinkat(task, target, AT_FDCWD, path)


def symlinkat(task, target: Path, dirfd: Fd, path: Path):
    if not target:
        raise error(ENOENT)
    task.ns.symlink(task.caller, node_at(task, dirfd, path, None), target)
    return 0


def link(task, old: Path, new: Path):
    return linkat(task, AT_FDCWD, old, AT_FDCWD, new, 0)


def linkat(task, old_dirfd: Fd, old: Path, new_dirfd: Fd, new: Path, flags: Int):
    return _link(task, old_dirfd, old, new_dirfd, new, flags)


def _link(task, old_dirfd, old, new_dirfd, new, flags, waited=False):
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise error(EINVAL)
    if not old and flags & AT_EMPTY_PATH:
        source = node_of_descriptor(task, old_dirfd)
        if source is None:
            raise error(ENOENT)
    else:
        source = existing_at(task, old_dirfd, old, bool(flags & AT_SYMLINK_FOLLOW))
    if not waited:
        work = long_work(task, source)
        if work is not None:
            return Later(work, lambda status: _link(task, old_dirfd, old, new_dirfd, new, flags, True))
    target = node_at(task, new_dirfd, new, None)
    if source.mount.fs is task.machine.procfs and source.kind == _S_IFREG:
        # /proc/self/fd/N of a file without a name: the way to give it one (open(2), O_TMPFILE)
        # a descriptor, which absolute names make meaningless, lets os.link ask for AT_SYMLINK_FOLLOW
        with nameless.pinned(source.host) as path:
            os.link(path, task.ns.create_path(task.caller, target), src_dir_fd=0)
    else:
        task.ns.link(task.caller, source, target)
    return 0


def unlink(task, path: Path):
    return unlinkat(task, AT_FDCWD, path, 0)


def rmdir(task, path: Path):
    return unlinkat(task, AT_FDCWD, path, AT_REMOVEDIR)


def unlinkat(task, dirfd: Fd, path: Path, flags: Int):
    if flags & ~AT_REMOVEDIR:
        raise error(EINVAL)
    remove = task.ns.rmdir if flags else task.ns.unlink
    remove(task.caller, node_at(task, dirfd, path, None))
    return 0


def rename(task, old: Path, new: Path):
    return renameat2(task, AT_FDCWD, old, AT_FDCWD, new, 0)


def renameat(task, old_dirfd: Fd, old: Path, new_dirfd: Fd, new: Path):
    return renameat2(task, old_dirfd, old, new_dirfd, new, 0)


def renameat2(task, old_dirfd: Fd, old: Path, new_dirfd: Fd, new: Path, flags: UInt):
    if flags & ~_RENAME_FLAGS or flags & _RENAME_EXCHANGE and flags & ~_RENAME_EXCHANGE:
        raise error(EINVAL)
    def rename_from(node):
        for left in range(_ATTEMPTS, 0, -1):
            try:
                return task.ns.rename(task.caller, node, node_at(task, new_dirfd, new, None), flags)
            except FileExistsError:            # another guest has just made the new name by itself
                if flags & _RENAME_NOREPLACE or left == 1:
                    raise

    return changed(task, lambda: node_at(task, old_dirfd, old, None), rename_from)
