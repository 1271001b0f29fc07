"""Limits of the whole machine that no rlimit knows: watched beside the supervisor's loop, by the attendant's thread."""

import os
import time

from apppot.errors import AppPotError
from apppot.kernel import usage
from apppot.platform import cgroup

_SHARE, _URGENT = 0.05, 0.5                # of the time, at most, is spent on looking; when a limit may be near
_MIB = 1 << 20
_LEAST = 4096                              # bytes that a file counts at least on disk: it takes an inode, if no more


def make(machine, running, cow, stack):
    """The `look` functions of all watches that the machine needs; its ControlGroup, if it gets one, is closed by the ExitStack."""
    looks = []
    if machine.mem is not None:
        running.control_group = cgroup.make(machine.mem)
        if running.control_group is not None:
            stack.callback(running.control_group.close)
    if machine.mem is not None or machine.stats:
        running.memory_watch = MemoryWatch(running, machine.mem, running.control_group)
        looks.append(running.memory_watch.look)
    if machine.disk is not None:
        looks.append(DiskWatch(running, cow, machine.disk).look)
    return looks + [ProcessWatch(running, pid).look for pid in machine.end_with]


class Pace:
    """Says when to look again, so that a look that takes long is not taken often."""

    def __init__(self):
        self._ended = self._took = 0.0

    def due(self, urgent):
        return time.monotonic() - self._ended >= self._took / (_URGENT if urgent else _SHARE)

    def took(self, since):
        self._ended = time.monotonic()
        self._took = self._ended - since


class MemoryWatch:
    """Ends the machine when its processes together use more than `limit` bytes of memory (None: only finds the peak).

    Counted is what no file on disk holds: private pages, shared memory, files in the machine's /dev/shm, memfds, and what
    of them is in swap. Files of the page cache, the window and the supervisor are not the guest's. `peak`: the most seen.
    """

    def __init__(self, running, limit=None, group=None):
        """`group`: the ControlGroup that enforces the limit, so that this one need not; it names the culprit only."""
        self._running, self._limit, self._group = running, limit, group
        self._window = usage.smaps_key(os.stat(running.window.path))
        self._run_dir = running.run_dir    # with the guest's /dev and /dev/shm
        self._devices = _memory_devices(running.run_dir)
        self._quick, self._thorough = Pace(), Pace()
        self._at_most = self._used = 0     # at the last thorough look
        self.peak = 0
        self.largest = None                # (bytes, process number, name) of the largest process at the peak

    def look(self):
        start = time.monotonic()
        if not self._quick.due(False):
            return
        processes = self._running.processes()
        at_most = sum(map(usage.most_memory, processes)) + self._in_files(processes)[0]
        self._quick.took(start)
        grown = self._used + at_most - self._at_most
        if at_most > self.peak and self._thorough.due(self._limit is not None and grown > self._limit):
            start = time.monotonic()
            self._count(processes)
            self._at_most = at_most
            self._thorough.took(start)

    def _count(self, processes):
        total, known = self._in_files(processes)
        used = {tgid: usage.share_of_memory(tgid, self._devices, known) for tgid in processes}
        self._used = total = total + sum(used.values())
        if total <= self.peak:
            return
        self.peak = total
        if used:
            largest = max(used, key=used.get)
            self.largest = used[largest], largest, usage.name(largest)
        if self._limit is not None and total > self._limit and self._group is None:
            self._running.end(f"the machine uses {total // _MIB} MiB of memory, more than --mem {self._limit // _MIB} MiB allows; "
                              f"it is ended ({self.culprit()})")

    def culprit(self):
        size, tgid, name = self.largest or (0, 0, "unknown")
        return f"process {tgid}, {name}, uses {size // _MIB} MiB"

    def _in_files(self, processes):
        """(bytes, their smaps keys) of files that only memory holds, and the window, which counts nothing."""
        total, known = 0, {self._window}
        for status in (usage.tree(self._run_dir) | usage.nameless_files(processes)).values():
            key = usage.smaps_key(status)
            if key[0] in self._devices and key not in known:
                total += usage.size(status)
                known.add(key)
        return total, known


def _memory_devices(run_dir):
    """Device numbers, as smaps writes them, of files in memory: the kernel's own mount of memfds and shared mappings, and
    the tmpfs of the run directory, if it is on one."""
    memfd = os.memfd_create("apppot", os.MFD_CLOEXEC)
    try:
        devices = {usage.smaps_key(os.fstat(memfd))[0]}
    finally:
        os.close(memfd)
    from apppot.platform.storage import file_system
    if file_system(os.fsdecode(run_dir)) == "tmpfs":
        devices.add(usage.smaps_key(os.stat(run_dir))[0])
    return devices


class DiskWatch:
    """Ends the machine when its COW takes more than `limit` bytes of disk.

    Nothing tells of every write, so the upper layer is measured again and again: at once when the file system has lost
    half of what is left to the machine since the last time, else as often as the pace allows. Removed files that a process
    still has open count too.
    """

    def __init__(self, running, cow, limit):
        self._running, self._cow, self._limit = running, cow, limit
        self._pace = Pace()
        self._used = self._free = 0
        self._measure(())
        if self._used > limit:
            raise AppPotError(f"the COW {os.fsdecode(cow.path)} takes {self._used // _MIB} MiB already, more than --disk "
                              f"{limit // _MIB} MiB allows")

    def look(self):
        start = time.monotonic()
        lost = self._free - _free(self._cow.upper)
        if not self._pace.due(lost >= (self._limit - self._used) // 2):
            return
        self._measure(self._running.processes())
        self._pace.took(start)
        if self._used > self._limit:
            self._running.end(f"the machine's changes take {self._used // _MIB} MiB of disk, more than --disk "
                              f"{self._limit // _MIB} MiB allows; it is ended")

    def _measure(self, processes):
        self._free = _free(self._cow.upper)
        device = os.stat(self._cow.upper).st_dev
        files = usage.tree(self._cow.upper) | usage.nameless_files(processes)
        self._used = sum(max(usage.size(status), _LEAST) for status in files.values() if status.st_dev == device)


def _free(path):
    status = os.statvfs(path)
    return status.f_bfree * status.f_frsize


class ProcessWatch:
    """Ends the machine when process `pid` of the host has ended; AppPotError when it has already.

    Batch systems may kill a job's script and know nothing of its children.
    """

    def __init__(self, running, pid):
        self._running, self._pid = running, pid
        self._start = _start_time(pid)
        if self._start is None:
            raise AppPotError(f"--end-with {pid}: there is no such process, or it has ended")

    def look(self):
        """Processes made meanwhile are met next time."""
        if _start_time(self._pid) != self._start:
            self._running.kill_all()


def _start_time(pid):
    """Start time of a process that has not ended, else None: numbers are used again. proc(5), /proc/PID/stat."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19]
