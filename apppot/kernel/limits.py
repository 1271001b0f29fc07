"""--mem and --cpus where the host lends no control group: rlimits for each process, accounting for all of them.

Also --end-with: batch systems may kill a job's script and know nothing of its children.
"""

import os
import resource
import signal

from apppot.errors import AppPotError

_PAGE = os.sysconf("SC_PAGE_SIZE")


def raise_descriptors():
    """Let the supervisor have as many descriptors as it may: it holds one for each guest process. The former limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass
    return soft, hard


def apply_in_child(machine, descriptors):
    """In the forked child of the first task. `descriptors`: the caller's limit of them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
    if machine.mem is not None:
        _lower(resource.RLIMIT_DATA, machine.mem)
    if machine.cpus is not None:
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, set(allowed[:machine.cpus]))


def _lower(limit, value):
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, value))


class MemoryWatch:
    """Ends the machine when its processes together use more than `limit` bytes of memory of their own."""

    def __init__(self, running, limit):
        self._running, self._limit = running, limit
        self.exceeded = False

    def look(self):
        """Called now and then by another thread than the supervisor's loop."""
        if self.exceeded:
            return
        used = {tgid: _private(tgid) for tgid in self._running.processes()}
        total = sum(used.values())
        if total <= self._limit:
            return
        self.exceeded = True
        largest = max(used, key=used.get)
        self._running.say(f"the machine uses {total >> 20} MiB of memory, more than --mem {self._limit >> 20} MiB allows; "
                          f"it is ended (process {largest}, {_name(largest)}, uses {used[largest] >> 20} MiB)")
        _kill_all(used)


class ProcessWatch:
    """Ends the machine when process `pid` of the host has ended; AppPotError when it has already."""

    def __init__(self, running, pid):
        self._running, self._pid = running, pid
        self._start = _start_time(pid)
        if self._start is None:
            raise AppPotError(f"--end-with {pid}: there is no such process, or it has ended")

    def look(self):
        """Called now and then by another thread than the supervisor's loop. Processes made meanwhile are met next time."""
        if _start_time(self._pid) != self._start:
            _kill_all(self._running.processes())


def _start_time(pid):
    """Start time of a process that has not ended, else None: numbers are used again. proc(5), /proc/PID/stat."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19]


def _kill_all(tgids):
    for tgid in tgids:
        try:
            os.kill(tgid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _private(tgid):
    """Bytes of resident memory that the process does not share with files, from /proc/PID/statm (proc(5))."""
    try:
        with open(f"/proc/{tgid}/statm", "rb", buffering=0) as file:
            fields = file.read().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE if len(fields) > 2 else 0


def _name(tgid):
    try:
        with open(f"/proc/{tgid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "ended"
