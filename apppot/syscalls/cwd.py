"""Where a task stands: current directory, root directory, umask."""

import os
from errno import ENOTDIR, EPERM, ERANGE

from apppot.syscalls.answer import NATIVE, Run
from apppot.syscalls.decode import Fd, Path, Ptr, U64, UInt
from apppot.syscalls.paths import AT_FDCWD, error, existing_at, in_removed_directory

_S_IFDIR = 0o040000
_X_OK = 1
_CAP_SYS_CHROOT = 18


def chdir(task, path: Path):
    """The host's current directory follows the guest's, so that the kernel keeps it through fork, rename and rmdir."""
    if path in (b".", b"..") and in_removed_directory(task):
        task.fs.forget_cwd()
        return NATIVE
    node = _directory(task, path)
    host = task.ns.open(task.caller, node, os.O_PATH | os.O_DIRECTORY)
    task.fs.forget_cwd((host, node.path))
    return Run({0: host})


def fchdir(task, fd: Fd):
    task.fs.forget_cwd()
    return NATIVE


def getcwd(task, buffer: Ptr, size: U64):
    path, root = task.caller.cwd, task.caller.root
    if root != b"/":
        if path == root:
            path = b"/"
        else:
            path = path[len(root):] if path.startswith(root + b"/") else b"(unreachable)" + path
    if size < len(path) + 1:
        raise error(ERANGE)
    task.write(buffer, path + b"\0")
    return len(path) + 1


def chroot(task, path: Path):
    node = _directory(task, path)
    if not task.creds.has(_CAP_SYS_CHROOT):
        raise error(EPERM)
    task.fs.root = node.path
    return 0


def umask(task, mask: UInt):
    """The kernel's umask serves the files that the guest creates itself, this one those that we create for it."""
    task.fs.umask = mask & 0o777
    return NATIVE


def _directory(task, path):
    node = existing_at(task, AT_FDCWD, path)
    if node.kind != _S_IFDIR:
        raise error(ENOTDIR)
    task.ns.access(task.caller, node, _X_OK)
    return node
