"""Calls that name processes: only those of the machine exist."""

import os
import struct
from errno import EBADF, EINVAL, EPERM, ESRCH

from apppot.syscalls.answer import NATIVE, RunHere
from apppot.syscalls.decode import Int, Ptr, UInt, U64

_SIGNALS = 64
_NR_KILL, _NR_RT_SIGQUEUEINFO = 62, 129
_PRIO_PROCESS, _PRIO_PGRP, _PRIO_USER = 0, 1, 2
_IOPRIO_WHO_PROCESS, _IOPRIO_WHO_PGRP = 1, 2
_F_OWNER_PGRP = 2
_F_SETOWN, _F_SETOWN_EX = 8, 15
_MADV_DONTFORK = 10
_MASK_SIZE = 1024                          # bytes: the 8192 processors of CONFIG_MAXSMP


def _error(code):
    return OSError(code, os.strerror(code))


# -- who is in the machine

def _check(task, pid):
    """NATIVE if process or thread `pid` (0: the caller) is in the machine, else ESRCH."""
    machine = task.machine
    if pid == 0 or pid == task.tgid or machine.has_process(pid) or machine.has_task(pid) or _is_zombie(machine, pid):
        return NATIVE
    raise _error(ESRCH)


def _is_zombie(machine, pid):
    """Whether it is the dead child of a process in the machine: such a one still has its number."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent = file.read().rpartition(b") ")[2].split()[:2]
    except (OSError, ValueError):
        return False
    return state == b"Z" and machine.has_process(int(parent))


def _members(task, pgid):
    """The machine's processes in process group `pgid`."""
    found = []
    for tgid in list(task.machine.processes()):
        try:
            if os.getpgid(tgid) == pgid:
                found.append(tgid)
        except ProcessLookupError:
            continue
    return found


def _group(task, pgid):
    return pgid or os.getpgid(task.tgid)


# -- signals

def kill(task, pid: Int, signal: Int):
    if pid > 0:
        return _check(task, pid)
    if pid == -1:
        targets = [tgid for tgid in task.machine.processes() if tgid != task.tgid]
    else:
        pgid = _group(task, -pid)
        if task.machine.process_group_is_ours(pgid):
            return NATIVE
        targets = _members(task, pgid)
    return _send(targets, signal)


def _send(targets, signal):
    if not 0 <= signal <= _SIGNALS:
        raise _error(EINVAL)
    sent = 0
    for tgid in targets:
        try:
            os.kill(tgid, signal)
            sent += 1
        except ProcessLookupError:
            continue
    if not sent:
        raise _error(ESRCH)
    return 0


def tkill(task, tid: Int, signal: Int):
    if tid <= 0:
        raise _error(EINVAL)
    return _check(task, tid)


def tgkill(task, tgid: Int, tid: Int, signal: Int):
    if tgid <= 0 or tid <= 0:
        raise _error(EINVAL)
    return NATIVE if tgid == task.tgid else _check(task, tgid)


def rt_sigqueueinfo(task, tgid: Int, signal: Int, info: Ptr):
    return _positive(task, tgid)


def rt_tgsigqueueinfo(task, tgid: Int, tid: Int, signal: Int, info: Ptr):
    if tid <= 0:
        raise _error(EINVAL)
    return _positive(task, tgid)


def _positive(task, pid):
    if pid <= 0:
        raise _error(EINVAL)
    return _check(task, pid)


def pidfd_open(task, pid: Int, flags: UInt):
    return _positive(task, pid)


def pidfd_send_signal(task, pidfd: Int, signal: Int, info: Ptr, flags: UInt):
    """Made as kill(2) or rt_sigqueueinfo(2): a number can't be changed on the way. The kernel also takes /proc/PID for a pidfd."""
    if flags:
        raise _error(EINVAL)
    pid = _pid_of(task, pidfd)
    _check(task, pid)
    return RunHere({0: pid, 1: signal}, None, _NR_RT_SIGQUEUEINFO if info else _NR_KILL)


def _pid_of(task, pidfd):
    """The process that a pidfd, or a directory /proc/PID, stands for."""
    link = task.fd_link(pidfd)
    if link.startswith(b"/proc/") and link[6:].isdigit():
        return int(link[6:])
    with open(b"/proc/%d/fdinfo/%d" % (task.tid, pidfd), "rb") as file:
        for line in file:
            if line.startswith(b"Pid:"):
                pid = int(line[4:])
                if pid <= 0:
                    raise _error(ESRCH)
                return pid
    raise _error(EBADF)


def pidfd_getfd(task, pidfd: Int, fd: Int, flags: UInt):
    """Landlock lets tasks look into those of their own domain only; a filter or we could not see which one a pidfd means."""
    if not task.machine.wall.version:
        raise _error(EPERM)
    return NATIVE


def process_madvise(task, pidfd: Int, ranges: Ptr, count: U64, advice: Int):
    """As with pidfd_getfd. MADV_DONTFORK would leave the window out of a child; the kernel takes none that discards anything."""
    if advice == _MADV_DONTFORK:
        raise _error(EINVAL)
    if not task.machine.wall.version:
        raise _error(EPERM)
    return NATIVE


# -- one process, given by number

def prlimit64(task, pid: Int):
    return _check(task, pid)


def sched_setparam(task, pid: Int):
    return _check(task, pid)


def sched_setscheduler(task, pid: Int):
    return _check(task, pid)


def sched_setaffinity(task, pid: Int, size: UInt, mask: Ptr):
    answer = _affinity(task, pid)
    if task.machine.processors is None:
        return answer
    wanted = int.from_bytes(task.read(mask, min(size, _MASK_SIZE)), "little") & task.machine.processors
    if not wanted:
        raise _error(EINVAL)               # --cpus: as when a control group has no such processor
    return RunHere({1: _MASK_SIZE, 2: wanted.to_bytes(_MASK_SIZE, "little")})


def sched_getaffinity(task, pid: Int):
    return _affinity(task, pid)


def _affinity(task, pid):
    _check(task, pid)
    task.machine.affinity.leave_alone()
    return NATIVE


def sched_setattr(task, pid: Int):
    return _check(task, pid)


def get_robust_list(task, pid: Int):
    return _check(task, pid)


def migrate_pages(task, pid: Int):
    return _check(task, pid)


def move_pages(task, pid: Int):
    return _check(task, pid)


def process_vm_readv(task, pid: Int):
    return _check(task, pid)


def process_vm_writev(task, pid: Int):
    return _check(task, pid)


def kcmp(task, pid1: Int, pid2: Int):
    _check(task, pid1)
    return _check(task, pid2)


# -- priorities: of a process, a group, or all processes of a user, which here are those of the machine

def getpriority(task, which: Int, who: Int):
    targets = _targets(task, which, who)
    return NATIVE if targets is None else 20 - min(_each(targets, os.getpriority))


def setpriority(task, which: Int, who: Int, nice: Int):
    targets = _targets(task, which, who)
    if targets is None:
        return NATIVE
    _each(targets, os.setpriority, max(-20, min(nice, 19)))
    return 0


def _targets(task, which, who):
    """The processes meant, or None if the call may be made as it stands."""
    if which == _PRIO_PROCESS:
        _check(task, who)
    elif which == _PRIO_PGRP:
        if not task.machine.process_group_is_ours(_group(task, who)):
            return _members(task, _group(task, who))
    elif which == _PRIO_USER:
        return list(task.machine.processes())
    return None


def _each(targets, function, *args):
    results = []
    for tgid in targets:
        try:
            results.append(function(_PRIO_PROCESS, tgid, *args))
        except ProcessLookupError:
            continue
    if not results:
        raise _error(ESRCH)
    return results


def ioprio_get(task, which: Int, who: Int):
    return _ioprio(task, which, who)


def ioprio_set(task, which: Int, who: Int):
    return _ioprio(task, which, who)


def _ioprio(task, which, who):
    if which == _IOPRIO_WHO_PROCESS:
        return _check(task, who)
    if which == _IOPRIO_WHO_PGRP and task.machine.process_group_is_ours(_group(task, who)):
        return NATIVE
    raise _error(EPERM)


# -- who gets a descriptor's signals

def fcntl(task, fd: Int, command: Int, argument: U64):
    if command == _F_SETOWN:
        _owner(task, Int(task, argument))
        return NATIVE
    if command == _F_SETOWN_EX:
        data = task.read(argument, 8)
        kind, pid = struct.unpack("<2i", data)
        _owner(task, -pid if kind == _F_OWNER_PGRP else pid)
        return RunHere({2: data})
    return NATIVE


def ioctl(task, fd: Int, request: UInt, argument: Ptr):
    """FIOSETOWN and SIOCSPGRP; no other request stops."""
    data = task.read(argument, 4)
    _owner(task, *struct.unpack("<i", data))
    return RunHere({2: data})


def _owner(task, who):
    """A process, or a process group as a negative number."""
    if who >= 0:
        _check(task, who)
    elif not task.machine.process_group_is_ours(-who):
        raise _error(EPERM)
