"""Calls about what belongs to a file and is not its content: mode, owner, times, size, permission.

Landlock does not mediate these, so the supervisor makes those that change something, by name. Only questions whose
answer the host's kernel has are left to the task.
"""

import os
import struct
from errno import EFAULT, EINVAL, EISDIR, EOPNOTSUPP

from apppot.syscalls.answer import NATIVE, Run
from apppot.syscalls.changing import change, change_open, may_change_itself
from apppot.syscalls.decode import Fd, Int, Long, MaybePath, Path, Ptr, U64, UInt
from apppot.syscalls.paths import (
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, error, existing_at, node_of_descriptor,
)
from apppot.syscalls.waiting import changed
from apppot.vfs.abi import UTIME_NOW, UTIME_OMIT

_AT_EACCESS = 0x200
_S_IFDIR, _S_IFREG, _S_IFLNK = 0o040000, 0o100000, 0o120000
_NSEC = 1_000_000_000
_KEEP = 0xFFFFFFFF


# -- mode

def chmod(task, path: Path, mode: UInt):
    return change(task, AT_FDCWD, path, 0, "chmod", mode & 0o7777)


def fchmod(task, fd: Fd, mode: UInt):
    return change_open(task, fd, "chmod", mode & 0o7777)


def fchmodat(task, dirfd: Fd, path: Path, mode: UInt):
    return change(task, dirfd, path, 0, "chmod", mode & 0o7777)


def fchmodat2(task, dirfd: Fd, path: Path, mode: UInt, flags: Int):
    if flags & AT_SYMLINK_NOFOLLOW and path and existing_at(task, dirfd, path, False).kind == _S_IFLNK:
        raise error(EOPNOTSUPP)
    return change(task, dirfd, path, flags, "chmod", mode & 0o7777)


# -- owner

def chown(task, path: Path, uid: UInt, gid: UInt):
    return fchownat(task, AT_FDCWD, path, uid, gid, 0)


def lchown(task, path: Path, uid: UInt, gid: UInt):
    return fchownat(task, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)


def fchown(task, fd: Fd, uid: UInt, gid: UInt):
    return change_open(task, fd, "chown", _owner(uid), _owner(gid))


def fchownat(task, dirfd: Fd, path: Path, uid: UInt, gid: UInt, flags: Int):
    return change(task, dirfd, path, flags, "chown", _owner(uid), _owner(gid))


def _owner(identity):
    return -1 if identity == _KEEP else identity


# -- times

def utime(task, path: Path, times: Ptr):
    stamps = (UTIME_NOW, UTIME_NOW)
    if times:
        stamps = tuple(_exact(seconds * _NSEC) for seconds in struct.unpack("<2q", task.read(times, 16)))
    return change(task, AT_FDCWD, path, 0, "utime", *stamps)


def utimes(task, path: Path, times: Ptr):
    return futimesat(task, AT_FDCWD, path, times)


def futimesat(task, dirfd: Fd, path: MaybePath, times: Ptr):
    stamps = (UTIME_NOW, UTIME_NOW)
    if times:
        numbers = struct.unpack("<4q", task.read(times, 32))
        if not (0 <= numbers[1] < 1000000 and 0 <= numbers[3] < 1000000):
            raise error(EINVAL)
        stamps = tuple(_exact(numbers[at] * _NSEC + numbers[at + 1] * 1000) for at in (0, 2))
    return _set_times(task, dirfd, path, stamps, 0)


def utimensat(task, dirfd: Fd, path: MaybePath, times: Ptr, flags: Int):
    if path is None and not flags and may_change_itself(task, dirfd, "utime"):
        return NATIVE                      # futimens(3), which tar calls for each file
    stamps = (UTIME_NOW, UTIME_NOW)
    if times:
        numbers = struct.unpack("<4q", task.read(times, 32))
        stamps = tuple(_stamp(*numbers[at:at + 2]) for at in (0, 2))
        if stamps == (None, None):
            return 0
    return _set_times(task, dirfd, path, stamps, flags)


def _set_times(task, dirfd, path, stamps, flags):
    if path is not None:
        return change(task, dirfd, path, flags, "utime", *stamps)
    if dirfd == AT_FDCWD:
        raise error(EFAULT)
    if flags & ~AT_EMPTY_PATH:
        raise error(EINVAL)
    return change_open(task, dirfd, "utime", *stamps, o_path=bool(flags & AT_EMPTY_PATH))


def _stamp(seconds, nanoseconds):
    if nanoseconds == UTIME_OMIT:
        return None
    if nanoseconds == UTIME_NOW:
        return UTIME_NOW
    if not 0 <= nanoseconds < _NSEC:
        raise error(EINVAL)
    return _exact(seconds * _NSEC + nanoseconds)


def _exact(stamp):
    """A time in nanoseconds that can't be mistaken for UTIME_NOW."""
    return stamp + 1 if stamp == UTIME_NOW else stamp


# -- size

def truncate(task, path: Path, length: Long):
    if length < 0:
        raise error(EINVAL)

    def find():
        node = existing_at(task, AT_FDCWD, path)
        if node.kind != _S_IFREG:
            raise error(EISDIR if node.kind == _S_IFDIR else EINVAL)
        return node

    if not length:                         # no contents are needed
        task.ns.truncate(task.caller, find(), 0)
        return 0
    return changed(task, find, lambda node: task.ns.truncate(task.caller, node, length))


# -- inode flags: what chattr(1) shows and sets; the overlay keeps none

def file_getattr(task, dirfd: Fd, path: Path, attributes: Ptr, size: U64, flags: UInt):
    return _no_inode_flags(task, dirfd, path, flags)


def file_setattr(task, dirfd: Fd, path: Path, attributes: Ptr, size: U64, flags: UInt):
    return _no_inode_flags(task, dirfd, path, flags)


def _no_inode_flags(task, dirfd, path, flags):
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise error(EINVAL)
    if path or not flags & AT_EMPTY_PATH:
        existing_at(task, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW)
    raise error(EOPNOTSUPP)


# -- questions

def statfs(task, path: Path):
    return Run({0: existing_at(task, AT_FDCWD, path).host})


def access(task, path: Path, mode: Int):
    return _access(task, 0, AT_FDCWD, path, mode, 0)


def faccessat(task, dirfd: Fd, path: Path, mode: Int):
    return _access(task, 1, dirfd, path, mode, 0)


def faccessat2(task, dirfd: Fd, path: Path, mode: Int, flags: Int):
    return _access(task, 1, dirfd, path, mode, flags)


def _access(task, index, dirfd, path, mode, flags):
    if mode & ~7 or flags & ~(_AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise error(EINVAL)
    if not path and flags & AT_EMPTY_PATH:
        node = node_of_descriptor(task, dirfd)
        if node is None or not node.kind:
            return NATIVE
    else:
        node = existing_at(task, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW)
        if not mode & os.W_OK and not task.caller.virtual and task.ns.plain_stat(task.caller, node):
            return Run({index: node.host})
    task.ns.access(task.caller if flags & _AT_EACCESS else _real(task), node, mode)
    return 0


def _real(task):
    """The caller with its real ids, which access(2) asks about."""
    caller, creds = task.caller, task.creds
    if creds.ruid == caller.uid and creds.rgid == caller.gid:
        return caller
    from apppot.vfs.caller import Caller

    return Caller(caller.root, caller.cwd, caller.umask, creds.ruid, creds.rgid, caller.groups, caller.tgid, caller.tid,
                  caller.virtual)
