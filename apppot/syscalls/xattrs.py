"""Calls about extended attributes, access control lists among them, which the host keeps only in part."""

import os
import struct
from errno import E2BIG, EINVAL, ERANGE

from apppot.image import acl
from apppot.image.xattrs import PRIVATE
from apppot.syscalls.answer import NATIVE, Run
from apppot.syscalls.changing import change, change_open, may_change_itself, refuse_o_path
from apppot.syscalls.decode import Fd, Int, Path, Ptr, U64, UInt
from apppot.syscalls.paths import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, error, existing_at, node_of_descriptor

_XATTR_NAME_MAX, _XATTR_SIZE_MAX = 255, 65536           # <linux/limits.h>
_PRIVATE, _ACCESS = os.fsencode(PRIVATE), os.fsencode(acl.ACCESS)


# -- changing

def setxattr(task, path: Path, name: Ptr, value: Ptr, size: U64, flags: Int):
    return change(task, AT_FDCWD, path, 0, "setxattr", *_to_set(task, name, value, size, flags))


def lsetxattr(task, path: Path, name: Ptr, value: Ptr, size: U64, flags: Int):
    return change(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, "setxattr", *_to_set(task, name, value, size, flags))


def fsetxattr(task, fd: Fd, name: Ptr, value: Ptr, size: U64, flags: Int):
    arguments = _to_set(task, name, value, size, flags)
    if arguments[0] == _ACCESS and may_change_itself(task, fd, "chmod") and task.ns.sets_list_itself(task.fd_link(fd), arguments[1]):
        return NATIVE                      # cp -a and mv do it for each file
    return change_open(task, fd, "setxattr", *arguments)


def setxattrat(task, dirfd: Fd, path: Path, at_flags: UInt, name: Ptr, args: Ptr, args_size: U64):
    value, size, flags = _xattr_args(task, args, args_size)
    return change(task, dirfd, path, at_flags, "setxattr", *_to_set(task, name, value, size, flags))


def removexattr(task, path: Path, name: Ptr):
    return change(task, AT_FDCWD, path, 0, "removexattr", _xattr_name(task, name))


def lremovexattr(task, path: Path, name: Ptr):
    return change(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, "removexattr", _xattr_name(task, name))


def fremovexattr(task, fd: Fd, name: Ptr):
    return change_open(task, fd, "removexattr", _xattr_name(task, name))


def removexattrat(task, dirfd: Fd, path: Path, at_flags: UInt, name: Ptr):
    return change(task, dirfd, path, at_flags, "removexattr", _xattr_name(task, name))


# -- looking

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
    if node is None or not node.kind:
        return None
    refuse_o_path(task, fd)
    return node


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


# -- arguments

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
