"""seccomp(2) for the guest's own use, as if the supervisor's filters weren't there.

The kernel adds a guest's filters to those of the supervisor; the strictest answer of all wins. Strict mode can't follow
filters, so it is played by one: what it forbids stops, and the supervisor kills the task (Task.seccomp).
"""

import os
import struct
from errno import EACCES, EINVAL

from apppot.syscalls.answer import NATIVE, RunHere, Structure
from apppot.syscalls.decode import Ptr, UInt

# linux/seccomp.h
MODE_STRICT, MODE_FILTER = 1, 2
_SET_MODE_STRICT, _SET_MODE_FILTER = 0, 1
_FLAG_TSYNC = 1
_CAP_SYS_ADMIN = 21

_NR_SECCOMP = 317
# read, write, exit, rt_sigreturn are allowed (linux/seccomp.h, mode1_syscalls in kernel/seccomp.c); all else stops.
_STRICT = b"".join(struct.pack("<HBBI", *step) for step in (
    (0x20, 0, 0, 0),               # load the number
    (0x15, 4, 0, 0),
    (0x15, 3, 0, 1),
    (0x15, 2, 0, 60),
    (0x15, 1, 0, 15),
    (0x06, 0, 0, 0x7FF00000),      # SECCOMP_RET_TRACE
    (0x06, 0, 0, 0x7FFF0000),      # SECCOMP_RET_ALLOW
))


def seccomp(task, operation: UInt, flags: UInt, args: Ptr):
    if operation == _SET_MODE_STRICT:
        if flags or args:
            raise OSError(EINVAL, os.strerror(EINVAL))
        return strict(task)
    return filters(task, args, flags)


def filters(task, program, flags=0):
    """Answer for the call under way, which adds a filter."""
    if not program:
        return NATIVE                      # EFAULT: how libseccomp asks which flags there are
    if not task.creds.no_new_privs and not task.creds.has(_CAP_SYS_ADMIN):
        raise OSError(EACCES, os.strerror(EACCES))
    return RunHere({}, lambda task, result: _added(task, result, flags))


def _added(task, result, flags):
    if result == 0:
        for tid in task.group.tasks if flags & _FLAG_TSYNC else (task.tid,):
            task.machine.tasks[tid].seccomp = MODE_FILTER
    return result


def strict(task):
    """Answer for the call under way, which enters strict mode."""
    if task.seccomp:
        raise OSError(EINVAL, os.strerror(EINVAL))
    program = Structure(struct.pack("<HxxxxxxQ", len(_STRICT) // 8, 0), {8: _STRICT})
    return RunHere({0: _SET_MODE_FILTER, 1: 0, 2: program}, _entered, _NR_SECCOMP)


def _entered(task, result):
    if result == 0:
        task.seccomp = MODE_STRICT
    return result


# -- through prctl

def get_mode(task, *args):
    return task.seccomp


def set_mode(task, mode, program, *args):
    if mode == MODE_STRICT:
        return strict(task)
    if mode == MODE_FILTER:
        return filters(task, program)
    raise OSError(EINVAL, os.strerror(EINVAL))
