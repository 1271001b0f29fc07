"""What the families of path calls share: from (dirfd, path) to a Node."""

import os
from errno import EBADF, ENOENT

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_REMOVEDIR = 0x200
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000


def error(code):
    """The OSError of an errno."""
    return OSError(code, os.strerror(code))


def node_at(task, dirfd, path, follow=True, resolve_flags=0):
    """The Node that `path` names, relative to descriptor `dirfd`; kind 0 when only its last component is missing."""
    if dirfd == AT_FDCWD or path[:1] == b"/":
        return task.ns.resolve(task.caller, path, None, follow, resolve_flags)
    if not path:
        raise error(ENOENT)
    return task.ns.resolve(task.caller, path, task.directory(dirfd), follow, resolve_flags)


def existing_at(task, dirfd, path, follow=True):
    node = node_at(task, dirfd, path, follow)
    if not node.kind:
        raise error(ENOENT)
    return node


def in_removed_directory(task):
    """Whether the task's current directory was removed: "." and ".." still lead somewhere, which the kernel knows."""
    return task.host_cwd().endswith(b" (deleted)")


def node_of_descriptor(task, fd):
    """The Node a descriptor has a name for, or None (pipes, sockets, deleted files); see Namespace.named. OSError EBADF."""
    if fd == AT_FDCWD:
        return task.ns.at(task.caller.cwd)
    if fd < 0:
        raise error(EBADF)
    return task.ns.named(task.fd_link(fd))
