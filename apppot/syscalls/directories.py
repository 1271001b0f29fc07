"""getdents: listings of directories that exist in several layers, hold mount points, or are /proc.

The position lives where the kernel keeps it, in the open file description, as a cookie: so dup, fork, lseek and
rewinddir work as everywhere.
"""

import os
import struct
from errno import EINVAL

from apppot.syscalls.answer import NATIVE
from apppot.syscalls.decode import Fd, Ptr, UInt
from apppot.syscalls.paths import error, node_of_descriptor

_S_IFDIR = 0o040000
_DIRENT64 = struct.Struct("<QqHB")         # struct linux_dirent64, getdents(2)
_DIRENT = struct.Struct("<QQH")            # struct linux_dirent


def getdents64(task, fd: Fd, buffer: Ptr, size: UInt):
    return _getdents(task, fd, buffer, size, _entry64)


def getdents(task, fd: Fd, buffer: Ptr, size: UInt):
    return _getdents(task, fd, buffer, size, _entry)


def _entry64(name, inode, kind, cookie):
    length = _DIRENT64.size + len(name) + 1 + 7 & ~7
    return (_DIRENT64.pack(inode, cookie, length, kind) + name).ljust(length, b"\0")


def _entry(name, inode, kind, cookie):
    length = _DIRENT.size + len(name) + 2 + 7 & ~7
    return (_DIRENT.pack(inode, cookie, length) + name).ljust(length - 1, b"\0") + bytes([kind])


def _getdents(task, fd, buffer, size, encode):
    node = node_of_descriptor(task, fd)
    if node is None or node.kind != _S_IFDIR:
        return NATIVE
    if task.ns.plain_directory(node) and task.fd_link(fd) == node.host:     # else it was copied up and renamed
        return NATIVE
    description = task.getfd(fd)
    try:
        position = os.lseek(description, 0, os.SEEK_CUR)
        data = bytearray()
        for name, inode, kind, cookie in task.ns.readdir(task.caller, node, position):
            entry = encode(name, inode, kind, cookie)
            if len(data) + len(entry) > size:
                if not data:
                    raise error(EINVAL)
                break
            data += entry
            position = cookie
        task.write(buffer, bytes(data))
        os.lseek(description, position, os.SEEK_SET)
        return len(data)
    finally:
        os.close(description)
