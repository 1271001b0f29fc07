"""open and its variants, stat and its variants, readlink, inotify: calls that look at or open one file."""

import os
import struct
from errno import E2BIG, EACCES, EAGAIN, EINVAL, ENOENT, EXDEV

from apppot.syscalls.answer import NATIVE, Give, Later, Run, RunHere
from apppot.syscalls.decode import Fd, Int, MaybePath, Path, Ptr, U64, UInt
from apppot.syscalls.paths import (AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, error, existing_at,
                                   in_removed_directory, node_at, node_of_descriptor)

_S_IFDIR, _S_IFREG, _S_IFLNK = 0o040000, 0o100000, 0o120000
_IN_DONT_FOLLOW = 0x02000000
_RESOLVE_MASK = 0x3F                       # RESOLVE_NO_XDEV ... RESOLVE_CACHED of <linux/openat2.h>
_RESOLVE_BENEATH = 0x08
_RESOLVE_BELOW = _RESOLVE_BENEATH | 0x10   # and RESOLVE_IN_ROOT: absolute names start there too
_RESOLVE_NO_SYMLINKS, _RESOLVE_CACHED = 0x04, 0x20
_OPEN_HOW = struct.Struct("<QQQ")
_OPEN_FLAGS = 0o37777703                   # VALID_OPEN_FLAGS of <linux/fcntl.h>; openat2 refuses others, open ignores them
_PATH_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NR_OPENAT2 = 437

_STAT = struct.Struct("<QQQIIIxxxxQqqqqQqQqQ24x")            # struct stat of x86-64, <asm/stat.h>
_STATX = struct.Struct("<IIQIIIHxxQQQQ" + "qIxxxx" * 4 + "IIIIQ104x")   # struct statx, <linux/stat.h>
_STATX_BASIC_STATS = 0x7FF
_AT_STATX_SYNC_TYPE, _AT_NO_AUTOMOUNT = 0x6000, 0x800
_STAT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | _AT_NO_AUTOMOUNT | _AT_STATX_SYNC_TYPE
_NSEC = 1_000_000_000


# -- open

def open(task, path: Path, flags: Int, mode: UInt):
    return _open(task, 0, AT_FDCWD, path, flags, mode)


def creat(task, path: Path, mode: UInt):
    return _open(task, 0, AT_FDCWD, path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)


def openat(task, dirfd: Fd, path: Path, flags: Int, mode: UInt):
    return _open(task, 1, dirfd, path, flags, mode)


def openat2(task, dirfd: Fd, path: Path, how: Ptr, size: U64):
    if size < _OPEN_HOW.size:
        raise error(EINVAL)
    if size > 4096:
        raise error(E2BIG)
    data = task.read(how, size)
    flags, mode, resolve = _OPEN_HOW.unpack_from(data)
    if any(data[_OPEN_HOW.size:]):
        raise error(E2BIG)
    _check_how(path, flags, mode, resolve)
    more = {2: _OPEN_HOW.pack(flags, mode, 0), 3: _OPEN_HOW.size}
    return _open(task, 1, dirfd, path, flags, mode, resolve, more)


def _check_how(path, flags, mode, resolve):
    """What openat2(2) checks, and open(2) does not, before it looks at the path."""
    creating = flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE
    if flags & ~_OPEN_FLAGS or mode & ~(0o7777 if creating else 0) or resolve & ~_RESOLVE_MASK \
            or resolve & _RESOLVE_BELOW == _RESOLVE_BELOW or flags & os.O_PATH and flags & ~_PATH_FLAGS:
        raise error(EINVAL)
    if resolve & _RESOLVE_CACHED and (creating or flags & os.O_TRUNC):
        raise error(EAGAIN)
    if path[:1] == b"/" and resolve & _RESOLVE_BENEATH:
        raise error(EXDEV)


def _open(task, index, dirfd, path, flags, mode, resolve=0, more=(), waited=False):
    """Answer to open: argument `index` is the path, `more` are further arguments to replace.

    `waited`: what takes long was done by a process beside the supervisor.
    """
    if dirfd == AT_FDCWD and path in (b".", b"..") and in_removed_directory(task):
        return NATIVE
    absolute = path[:1] == b"/" and not resolve & _RESOLVE_BELOW
    start = None if dirfd == AT_FDCWD or absolute or not path else task.directory(dirfd)
    node = task.ns.resolve_open(task.caller, path, flags, start, resolve)
    if not waited and node.kind == _S_IFREG:
        work = task.ns.long_work(node, flags)
        if work is not None:
            return Later(work, lambda status: _open(task, index, dirfd, path, flags, mode, resolve, more, True))
    host = task.ns.open(task.caller, node, flags, mode)
    if task.handover is not None and node.mount.fs.by_hand(task.caller, node, flags):
        return Give(os.open(host, flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC) | os.O_NOCTTY | os.O_CLOEXEC), flags)
    if task.machine.wall.opens_again and node.mount.fs is task.machine.procfs and node.mount.fs.through(node):
        return _open_again(task, host, index, flags)
    if host is not node.host and node.mount.fs is task.machine.procfs:
        task.scratch = host                # a generated text: deleted when the guest has opened it
    if task.machine.wall.unbacked and node.mount.fs is not task.machine.procfs:
        return straight(host, flags, mode)
    way = Run if task.machine.wall.passes(flags) else RunHere
    return way({index: host, **dict(more)})


def _open_again(task, link, index, flags):
    """Answer to open of what a descriptor leads to, by its link in /proc, where Landlock does not tell what may be done to it."""
    pinned = os.open(link, os.O_PATH | os.O_CLOEXEC)
    try:
        if not flags & os.O_PATH and not task.machine.may_open_again(pinned, flags):
            raise error(EACCES)
        if flags & os.O_PATH or task.handover is None:     # before Linux 5.9 another thread can exchange it still
            return Run({index: link})
        fd = os.open(b"/proc/self/fd/%d" % pinned, flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) | os.O_NONBLOCK
                     | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(pinned)
    if not flags & os.O_NONBLOCK:
        os.set_blocking(fd, True)
    return Give(fd, flags)


def straight(host, flags, mode=0):
    """Answer to open of a host path that follows no symlink: where no Landlock stands behind what we have found."""
    if flags & os.O_PATH:
        flags &= _PATH_FLAGS
    creating = flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE
    how = _OPEN_HOW.pack(flags & _OPEN_FLAGS, mode & 0o7777 if creating else 0, _RESOLVE_NO_SYMLINKS)
    return RunHere({0: AT_FDCWD, 1: host, 2: how, 3: _OPEN_HOW.size}, None, _NR_OPENAT2)


# -- stat

def stat(task, path: Path, buffer: Ptr):
    return _stat(task, 0, existing_at(task, AT_FDCWD, path), buffer)


def lstat(task, path: Path, buffer: Ptr):
    return _stat(task, 0, existing_at(task, AT_FDCWD, path, False), buffer)


def newfstatat(task, dirfd: Fd, path: MaybePath, buffer: Ptr, flags: Int):
    if flags & ~_STAT_FLAGS:
        raise error(EINVAL)
    if not path and flags & AT_EMPTY_PATH:
        return fstat(task, dirfd, buffer)
    return _stat(task, 1, existing_at(task, dirfd, _given(path), not flags & AT_SYMLINK_NOFOLLOW), buffer)


def fstat(task, fd: Fd, buffer: Ptr):
    attributes = _attributes_of_descriptor(task, fd)
    if attributes is None:
        return NATIVE
    task.write(buffer, _pack(attributes))
    return 0


def statx(task, dirfd: Fd, path: MaybePath, flags: Int, mask: UInt, buffer: Ptr):
    if flags & ~_STAT_FLAGS or flags & _AT_STATX_SYNC_TYPE == _AT_STATX_SYNC_TYPE or mask >> 31:
        raise error(EINVAL)
    if not path and flags & AT_EMPTY_PATH:
        attributes = _attributes_of_descriptor(task, dirfd)
        if attributes is None:
            return NATIVE
    else:
        node = existing_at(task, dirfd, _given(path), not flags & AT_SYMLINK_NOFOLLOW)
        if task.ns.plain_stat(task.caller, node):
            return Run({1: node.host})
        attributes = task.ns.stat(task.caller, node)
    task.write(buffer, _pack_statx(attributes))
    return 0


def _given(path):
    """A path that may not be a null pointer here."""
    if path is None:
        raise error(14)                    # EFAULT
    return path


def _stat(task, index, node, buffer):
    if task.ns.plain_stat(task.caller, node):
        return Run({index: node.host})
    task.write(buffer, _pack(task.ns.stat(task.caller, node)))
    return 0


def _attributes_of_descriptor(task, fd):
    """Attributes as the guest must see them, or None where the host's own fstat is right."""
    if fd == AT_FDCWD:
        return task.ns.stat(task.caller, node_of_descriptor(task, fd))
    node = node_of_descriptor(task, fd)
    if node is not None and node.kind == _S_IFDIR:
        return None if task.ns.plain_stat(task.caller, node) else task.ns.stat(task.caller, node)
    if not task.caller.virtual and not task.machine.has_records:
        return None
    return task.ns.attributes(task.caller, task.fd_stat(fd))


def _pack(a):
    return _STAT.pack(a.st_dev, a.st_ino, a.st_nlink, a.st_mode, a.st_uid, a.st_gid, a.st_rdev, a.st_size, a.st_blksize,
                      a.st_blocks, a.st_atime_ns // _NSEC, a.st_atime_ns % _NSEC, a.st_mtime_ns // _NSEC,
                      a.st_mtime_ns % _NSEC, a.st_ctime_ns // _NSEC, a.st_ctime_ns % _NSEC)


def _pack_statx(a):
    def time(ns):
        return ns // _NSEC, ns % _NSEC
    return _STATX.pack(_STATX_BASIC_STATS, a.st_blksize, 0, a.st_nlink, a.st_uid, a.st_gid, a.st_mode, a.st_ino, a.st_size,
                       a.st_blocks, 0, *time(a.st_atime_ns), 0, 0, *time(a.st_ctime_ns), *time(a.st_mtime_ns),
                       os.major(a.st_rdev), os.minor(a.st_rdev), os.major(a.st_dev), os.minor(a.st_dev), 0)


# -- others

def readlink(task, path: Path, buffer: Ptr, size: Int):
    return _readlink(task, AT_FDCWD, path, buffer, size)


def readlinkat(task, dirfd: Fd, path: Path, buffer: Ptr, size: Int):
    if not path:
        return NATIVE
    return _readlink(task, dirfd, path, buffer, size)


def _readlink(task, dirfd, path, buffer, size):
    if size <= 0:
        raise error(EINVAL)
    node = node_at(task, dirfd, path, False)
    if not node.kind:
        raise error(ENOENT)
    if node.kind != _S_IFLNK:
        raise error(EINVAL)
    text = task.ns.readlink(task.caller, node)[:size]
    task.write(buffer, text)
    return len(text)


def inotify_add_watch(task, fd: Fd, path: Path, mask: UInt):
    node = existing_at(task, AT_FDCWD, path, not mask & _IN_DONT_FOLLOW)
    return Run({1: task.ns.watched(task.caller, node)})
