"""Calls about what belongs to a file and is not its content: mode, owner, times, extended attributes, permission.

Landlock does not mediate these, so the supervisor makes those that change something, by name. Only questions whose
answer the host's kernel has are left to the task.
"""

import os
import struct
from errno import E2BIG, EBADF, EFAULT, EINVAL, EISDIR, EOPNOTSUPP, ERANGE, EROFS

from apppot.image.xattrs import PRIVATE
from apppot.syscalls.answer import NATIVE, Later, Run
from apppot.syscalls.decode import Fd, Int, Long, MaybePath, Path, Ptr, U64, UInt
from apppot.syscalls.paths import (
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, error, existing_at, node_of_descriptor,
)
from apppot.syscalls.waiting import changed, long_work

_AT_EACCESS = 0x200
_S_IFMT, _S_IFDIR, _S_IFREG, _S_IFLNK = 0o170000, 0o040000, 0o100000, 0o120000
_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
_NSEC = 1_000_000_000
_KEEP = 0xFFFFFFFF
_XATTR_NAME_MAX, _XATTR_SIZE_MAX, _XATTR_LIST_MAX = 255, 65536, 65536
_PRIVATE = os.fsencode(PRIVATE)


# -- the workers: a change of a file by name or by descriptor

def _change(task, dirfd, path, flags, method, *args):
    """Namespace method `method`, applied to the file that dirfd, path and AT_* flags name."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise error(EINVAL)
    if not path and flags & AT_EMPTY_PATH:
        return _change_open(task, dirfd, method, *args, o_path=True)
    return changed(task, lambda: existing_at(task, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW),
                   lambda node: getattr(task.ns, method)(task.caller, node, *args))


def _change_open(task, fd, method, *args, o_path=False, waited=False):
    """The same for an open file. One that has no name any more is changed through a duplicate of the descriptor."""
    if fd == AT_FDCWD and not o_path:
        raise error(EBADF)
    if not o_path and method in _IN_PLACE:
        if _may_change_itself(task, fd, method):
            return NATIVE
        if _change_in_place(task, fd, method, args):
            return 0
    node = node_of_descriptor(task, fd)
    if node is not None and node.kind and (o_path or not _is_o_path(task, fd)):
        work = None if waited else long_work(task, node)
        if work is not None:
            return Later(work, lambda status: _change_open(task, fd, method, *args, o_path=o_path, waited=True))
        getattr(task.ns, method)(task.caller, node, *args)
        return 0
    if node is not None and not node.kind:
        return 0  # deleted in the guest, but the image still has it, and keeps it as it is
    own = task.getfd(fd)
    try:
        _check_nameless(task, own)
        _OF_DESCRIPTOR[method](own, *args)
    except PermissionError:
        if not (task.caller.virtual and task.caller.uid == 0):
            raise
    finally:
        os.close(own)
    return 0


def _may_change_itself(task, fd, method):
    """Whether the task may make the call as it stands: it is of its own file, and no other can come in its place."""
    if fd < 0 or task.caller.virtual or not task.alone_changes_descriptors():
        return False
    return task.ns.changes_itself(task.fd_link(fd), lambda: task.fd_stat(fd), method == "utime")


def _change_in_place(task, fd, method, args):
    """Change the file behind the descriptor itself, where that is all there is to do. Whether it was done."""
    times = method == "utime"
    caller = task.caller
    if fd < 0 or caller.virtual and (not times or caller.uid):
        return False
    own = task.getfd(fd)
    try:
        status = os.fstat(own)
        if status.st_mode & _S_IFMT != _S_IFREG:
            return False
        if not task.ns.in_place(caller, os.readlink(b"/proc/self/fd/%d" % own), status, times):
            return False
        _OF_DESCRIPTOR[method](own, *args)
    except PermissionError:
        if caller.virtual:                 # the file is somebody else's: it may still be the guest root's
            return False
        raise
    finally:
        os.close(own)
    return True


def _check_nameless(task, own):
    """Whether the open file behind our duplicate may be changed: it has no name in the machine, and none outside.

    The guest may have put another file behind its descriptor since its name was read. A deleted file may still have
    other names where the guest may not write; what has a name outside may be changed if the caller gave it.
    """
    link, status = os.readlink(b"/proc/self/fd/%d" % own), os.fstat(own)
    if link.endswith(b" (deleted)"):
        directory = task.ns.guest_path(link.rpartition(b"/")[0])
        if directory is None and status.st_nlink or directory is not None and task.ns.at(directory).mount.readonly:
            raise error(EROFS)
    elif link.startswith(b"/") and not task.machine.was_given(status):
        raise error(EROFS)


def _is_o_path(task, fd):
    import fcntl

    own = task.getfd(fd)
    try:
        if fcntl.fcntl(own, fcntl.F_GETFL) & os.O_PATH:
            raise error(EBADF)
    finally:
        os.close(own)
    return False


def _utime_open(fd, atime_ns, mtime_ns):
    if atime_ns == mtime_ns == _UTIME_NOW:
        os.utime(fd)                       # allowed to everybody who may write
        return
    if not {atime_ns, mtime_ns} & {_UTIME_NOW, None}:
        os.utime(fd, ns=(atime_ns, mtime_ns))
        return
    import time

    now, status = time.time_ns(), os.fstat(fd)
    times = [now if new == _UTIME_NOW else old if new is None else new
             for new, old in ((atime_ns, status.st_atime_ns), (mtime_ns, status.st_mtime_ns))]
    os.utime(fd, ns=tuple(times))


_OF_DESCRIPTOR = {
    "chmod": os.fchmod,
    "chown": os.fchown,
    "utime": _utime_open,
    "setxattr": os.setxattr,
    "removexattr": os.removexattr,
}
_IN_PLACE = frozenset(("chmod", "chown", "utime"))


# -- mode

def chmod(task, path: Path, mode: UInt):
    return _change(task, AT_FDCWD, path, 0, "chmod", mode & 0o7777)


def fchmod(task, fd: Fd, mode: UInt):
    return _change_open(task, fd, "chmod", mode & 0o7777)


def fchmodat(task, dirfd: Fd, path: Path, mode: UInt):
    return _change(task, dirfd, path, 0, "chmod", mode & 0o7777)


def fchmodat2(task, dirfd: Fd, path: Path, mode: UInt, flags: Int):
    if flags & AT_SYMLINK_NOFOLLOW and path and existing_at(task, dirfd, path, False).kind == _S_IFLNK:
        raise error(EOPNOTSUPP)
    return _change(task, dirfd, path, flags, "chmod", mode & 0o7777)


# -- owner

def chown(task, path: Path, uid: UInt, gid: UInt):
    return fchownat(task, AT_FDCWD, path, uid, gid, 0)


def lchown(task, path: Path, uid: UInt, gid: UInt):
    return fchownat(task, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)


def fchown(task, fd: Fd, uid: UInt, gid: UInt):
    return _change_open(task, fd, "chown", _owner(uid), _owner(gid))


def fchownat(task, dirfd: Fd, path: Path, uid: UInt, gid: UInt, flags: Int):
    return _change(task, dirfd, path, flags, "chown", _owner(uid), _owner(gid))


def _owner(identity):
    return -1 if identity == _KEEP else identity


# -- times

def utime(task, path: Path, times: Ptr):
    stamps = (_UTIME_NOW, _UTIME_NOW)
    if times:
        stamps = tuple(_exact(seconds * _NSEC) for seconds in struct.unpack("<2q", task.read(times, 16)))
    return _change(task, AT_FDCWD, path, 0, "utime", *stamps)


def utimes(task, path: Path, times: Ptr):
    return futimesat(task, AT_FDCWD, path, times)


def futimesat(task, dirfd: Fd, path: MaybePath, times: Ptr):
    stamps = (_UTIME_NOW, _UTIME_NOW)
    if times:
        numbers = struct.unpack("<4q", task.read(times, 32))
        if not (0 <= numbers[1] < 1000000 and 0 <= numbers[3] < 1000000):
            raise error(EINVAL)
        stamps = tuple(_exact(numbers[at] * _NSEC + numbers[at + 1] * 1000) for at in (0, 2))
    return _set_times(task, dirfd, path, stamps, 0)


def utimensat(task, dirfd: Fd, path: MaybePath, times: Ptr, flags: Int):
    if path is None and not flags and _may_change_itself(task, dirfd, "utime"):
        return NATIVE                      # futimens(3), which tar calls for each file
    stamps = (_UTIME_NOW, _UTIME_NOW)
    if times:
        numbers = struct.unpack("<4q", task.read(times, 32))
        stamps = tuple(_stamp(*numbers[at:at + 2]) for at in (0, 2))
        if stamps == (None, None):
            return 0
    return _set_times(task, dirfd, path, stamps, flags)


def _set_times(task, dirfd, path, stamps, flags):
    if path is not None:
        return _change(task, dirfd, path, flags, "utime", *stamps)
    if dirfd == AT_FDCWD:
        raise error(EFAULT)
    if flags & ~AT_EMPTY_PATH:
        raise error(EINVAL)
    return _change_open(task, dirfd, "utime", *stamps, o_path=bool(flags & AT_EMPTY_PATH))


def _stamp(seconds, nanoseconds):
    if nanoseconds == _UTIME_OMIT:
        return None
    if nanoseconds == _UTIME_NOW:
        return _UTIME_NOW
    if not 0 <= nanoseconds < _NSEC:
        raise error(EINVAL)
    return _exact(seconds * _NSEC + nanoseconds)


def _exact(stamp):
    """A time in nanoseconds that can't be mistaken for UTIME_NOW."""
    return stamp + 1 if stamp == _UTIME_NOW else stamp


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


# -- extended attributes

def setxattr(task, path: Path, name: Ptr, value: Ptr, size: U64, flags: Int):
    return _change(task, AT_FDCWD, path, 0, "setxattr", *_to_set(task, name, value, size, flags))


def lsetxattr(task, path: Path, name: Ptr, value: Ptr, size: U64, flags: Int):
    return _change(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, "setxattr", *_to_set(task, name, value, size, flags))


def fsetxattr(task, fd: Fd, name: Ptr, value: Ptr, size: U64, flags: Int):
    return _change_open(task, fd, "setxattr", *_to_set(task, name, value, size, flags))


def setxattrat(task, dirfd: Fd, path: Path, at_flags: UInt, name: Ptr, args: Ptr, args_size: U64):
    value, size, flags = _xattr_args(task, args, args_size)
    return _change(task, dirfd, path, at_flags, "setxattr", *_to_set(task, name, value, size, flags))


def removexattr(task, path: Path, name: Ptr):
    return _change(task, AT_FDCWD, path, 0, "removexattr", _xattr_name(task, name))


def lremovexattr(task, path: Path, name: Ptr):
    return _change(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, "removexattr", _xattr_name(task, name))


def fremovexattr(task, fd: Fd, name: Ptr):
    return _change_open(task, fd, "removexattr", _xattr_name(task, name))


def removexattrat(task, dirfd: Fd, path: Path, at_flags: UInt, name: Ptr):
    return _change(task, dirfd, path, at_flags, "removexattr", _xattr_name(task, name))


def getxattr(task, path: Path, name: Ptr, value: Ptr, size: U64):
    return _get_of_path(task, existing_at(task, AT_FDCWD, path), name, value, size)


def lgetxattr(task, path: Path, name: Ptr, value: Ptr, size: U64):
    return _get_of_path(task, existing_at(task, AT_FDCWD, path, False), name, value, size)


def fgetxattr(task, fd: Fd, name: Ptr, value: Ptr, size: U64):
    node = _open_node(task, fd)
    return NATIVE if node is None else _get(task, node, name, value, size)


def getxattrat(task, dirfd: Fd, path: Path, at_flags: UInt, name: Ptr, args: Ptr, args_size: U64):
    value, size, flags = _xattr_args(task, args, args_size)
    if flags:
        raise error(EINVAL)
    node = _xattr_node(task, dirfd, path, at_flags)
    return NATIVE if node is None else _get(task, node, name, value, size)


def listxattr(task, path: Path, names: Ptr, size: U64):
    return _list(task, existing_at(task, AT_FDCWD, path), names, size)


def llistxattr(task, path: Path, names: Ptr, size: U64):
    return _list(task, existing_at(task, AT_FDCWD, path, False), names, size)


def flistxattr(task, fd: Fd, names: Ptr, size: U64):
    node = _open_node(task, fd)
    return NATIVE if node is None else _list(task, node, names, size)


def listxattrat(task, dirfd: Fd, path: Path, at_flags: UInt, names: Ptr, size: U64):
    node = _xattr_node(task, dirfd, path, at_flags)
    return NATIVE if node is None else _list(task, node, names, size)


def _get_of_path(task, node, address, value, size):
    """The task may ask the host itself for what is the host's, if the file is simply one of the host."""
    name = _xattr_name(task, address)
    if name.startswith(b"user.") and not name.startswith(_PRIVATE) and not task.caller.virtual \
            and task.ns.plain_stat(task.caller, node):
        return Run({0: node.host})
    return _give(task, task.ns.getxattr(task.caller, node, name), value, size)


def _open_node(task, fd):
    """The node of an open file, or None: it has no name any more, or never had one, and the host answers."""
    node = node_of_descriptor(task, fd)
    return node if node is not None and node.kind else None


def _xattr_node(task, dirfd, path, flags):
    """The node, or None for an open file that has none: the host answers."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise error(EINVAL)
    if path or not flags & AT_EMPTY_PATH:
        return existing_at(task, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW)
    node = node_of_descriptor(task, dirfd)
    return node if node is not None and node.kind else None


def _get(task, node, name, value, size):
    return _give(task, task.ns.getxattr(task.caller, node, _xattr_name(task, name)), value, size)


def _list(task, node, names, size):
    return _give(task, b"".join(name + b"\0" for name in map(os.fsencode, task.ns.listxattr(task.caller, node))),
                 names, size)


def _give(task, data, address, size):
    """Write an answer of variable length; with size 0 only its length is asked for."""
    if size:
        if len(data) > size:
            raise error(ERANGE)
        task.write(address, data)
    return len(data)


def _to_set(task, name, value, size, flags):
    if flags & ~3:  # XATTR_CREATE, XATTR_REPLACE
        raise error(EINVAL)
    name = _xattr_name(task, name)
    if size > _XATTR_SIZE_MAX:
        raise error(E2BIG)
    return name, task.read(value, size) if size else b"", flags


def _xattr_name(task, address):
    name = Path(task, address)
    if not 0 < len(name) <= _XATTR_NAME_MAX:
        raise error(ERANGE)
    return name


def _xattr_args(task, address, size):
    """(value, size, flags) of a struct xattr_args; of a longer one than we know the rest must be zero."""
    if size < 16:
        raise error(EINVAL)
    if size > 4096:
        raise error(E2BIG)
    data = task.read(address, size)
    if any(data[16:]):
        raise error(E2BIG)
    return struct.unpack_from("<QII", data)


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
