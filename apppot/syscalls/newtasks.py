"""New threads and processes: what they may be like and, with --pids, whether there may be one more."""

import struct
from errno import E2BIG, EACCES, EINVAL, EPERM

from apppot.syscalls.answer import NATIVE, Run, RunHere
from apppot.syscalls.decode import Ptr, U64
from apppot.syscalls.paths import error
from apppot.syscalls.table import CLONE_FS, CLONE_INTO_CGROUP, CLONE_NEW, CLONE_NEWTIME, CLONE_UNTRACED, NR_CLONE

_CLONE_ARGS_SIZE_VER0, _PAGE_SIZE = 64, 4096
_CLONE_ARGS = struct.Struct("<8Q")         # flags pidfd child_tid parent_tid exit_signal stack stack_size tls
_THREAD = 0x10000 | 0x800 | 0x100          # CLONE_THREAD, and what the kernel wants with it: CLONE_SIGHAND, CLONE_VM
# What both calls know and understand alike: all of <linux/sched.h> but namespaces, CLONE_PIDFD, _VFORK, _PARENT, _DETACHED
_KNOWN_FLAGS = _THREAD | 0x200 | 0x400 | 0x2000 | 0x40000 | 0x80000 | 0x100000 | 0x200000 | 0x1000000 | 0x80000000
_ADDRESSES = 1 << 47


def fork(task):
    """These three stop with --pids only; else the filter lets them pass."""
    return _counted(task, NATIVE)


def vfork(task):
    return _counted(task, NATIVE)


def clone(task):
    return _counted(task, NATIVE)


def _counted(task, answer):
    """`answer`, if the machine may have one more task, else OSError EAGAIN. A stop at the call's end tells what came of it."""
    count = task.machine.task_count
    if count is None:
        return answer
    count.claim(task.tid)
    return RunHere({} if answer is NATIVE else answer.args, count.settle, None if answer is NATIVE else answer.number)


def clone3(task, args: Ptr, size: U64):
    """The kernel gets the flags that were looked at, from where the guest can't change them.

    For a thread, which is frequent, clone(2) does the same with its arguments in registers and without a stop at the end.
    """
    if size < _CLONE_ARGS_SIZE_VER0:
        raise error(EINVAL)
    if size > _PAGE_SIZE:
        raise error(E2BIG)
    data = task.read(args, size)
    flags, = struct.unpack_from("<Q", data)
    if flags & (CLONE_NEW | CLONE_NEWTIME):
        raise error(EPERM)
    if flags & CLONE_UNTRACED:
        raise error(EINVAL)
    if flags & CLONE_INTO_CGROUP:          # control groups are the host's
        raise error(EACCES)
    thread = None if task.seccomp else _as_clone(flags, data)  # the guest's own filters may judge the two differently
    return _counted(task, RunHere({0: data}) if thread is None else Run(thread, NR_CLONE))


def _as_clone(flags, data):
    """{index: value} of the arguments of clone(2) that make the same thread as the struct clone_args; None: nothing does.

    What the kernel refuses is left to clone3 itself: see clone3_args_valid() in kernel/fork.c.
    """
    _, _, child_tid, parent_tid, exit_signal, stack, stack_size, tls = _CLONE_ARGS.unpack_from(data)
    if (flags & _THREAD != _THREAD or flags & ~_KNOWN_FLAGS or exit_signal or any(data[_CLONE_ARGS.size:])
            or not stack or not stack_size or stack + stack_size >= _ADDRESSES):
        return None
    return {0: flags, 1: stack + stack_size, 2: parent_tid, 3: child_tid, 4: tls}


def unshare(task, flags: U64):
    """Of what the filter lets come here, only the working directory is the supervisor's business."""
    shared = task.fs
    if flags & CLONE_FS and shared.users > 1:
        task.fs = shared.copy()
        task.fs.users = 1
        shared.users -= 1
    return NATIVE
