"""Changing what belongs to a file and is not its content, by name or by descriptor: what the families of such calls share.

Landlock does not mediate these changes, so the supervisor makes them, on what it holds.
"""

import os
from errno import EBADF, EINVAL, EROFS

from apppot.syscalls.answer import NATIVE, Later
from apppot.syscalls.paths import (
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, error, existing_at, node_of_descriptor,
)
from apppot.syscalls.waiting import changed, long_work
from apppot.vfs.abi import UTIME_NOW

_S_IFMT, _S_IFREG = 0o170000, 0o100000


def change(task, dirfd, path, flags, method, *args):
    """Namespace method `method`, applied to the file that dirfd, path and AT_* flags name."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise error(EINVAL)
    if not path and flags & AT_EMPTY_PATH:
        return change_open(task, dirfd, method, *args, o_path=True)
    return changed(task, lambda: existing_at(task, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW),
                   lambda node: getattr(task.ns, method)(task.caller, node, *args))


def change_open(task, fd, method, *args, o_path=False, waited=False):
    """The same for an open file. One that has no name any more is changed through a duplicate of the descriptor."""
    if fd == AT_FDCWD and not o_path:
        raise error(EBADF)
    if not o_path and method in _IN_PLACE:
        if may_change_itself(task, fd, method):
            return NATIVE
        if _change_in_place(task, fd, method, args):
            return 0
    node = node_of_descriptor(task, fd)
    if node is not None and node.kind:
        if not o_path:
            refuse_o_path(task, fd)
        work = None if waited else long_work(task, node)
        if work is not None:
            return Later(work, lambda status: change_open(task, fd, method, *args, o_path=o_path, waited=True))
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


def may_change_itself(task, fd, method):
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


def refuse_o_path(task, fd):
    """EBADF for a descriptor that was opened with O_PATH: it is good for names alone."""
    import fcntl

    own = task.getfd(fd)
    try:
        if fcntl.fcntl(own, fcntl.F_GETFL) & os.O_PATH:
            raise error(EBADF)
    finally:
        os.close(own)


def _utime_open(fd, atime_ns, mtime_ns):
    if atime_ns == mtime_ns == UTIME_NOW:
        os.utime(fd)                       # allowed to everybody who may write
        return
    if not {atime_ns, mtime_ns} & {UTIME_NOW, None}:
        os.utime(fd, ns=(atime_ns, mtime_ns))
        return
    import time

    now, status = time.time_ns(), os.fstat(fd)
    times = [now if new == UTIME_NOW else old if new is None else new
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
