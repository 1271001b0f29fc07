"""--stats: what the machine used of the host, which calls were intercepted, and what the fast path saved."""

import os
import resource
import struct
import time
from weakref import WeakKeyDictionary

from apppot import messages
from apppot.platform.layout import FAST_HITS, HITS
from apppot.syscalls import dispatch

_COUNTS = struct.Struct(f"<{HITS}I")
_NONE = (0,) * HITS
_IO = {b"rchar": "read", b"wchar": "written", b"read_bytes": "from disk", b"write_bytes": "to disk"}   # /proc/PID/io, proc(5)


class Stats:
    """Counts of calls by number: `counts`, intercepted; `missed`, those of them that came from a patched site; `hits`,
    answered by the stub, which counts them in its process's memory."""

    def __init__(self):
        self.counts, self.missed, self.hits = {}, {}, {}
        self._collected = WeakKeyDictionary()      # memory: what its counters said when they were last read
        self._io = dict.fromkeys(_IO, 0)
        self._start = time.monotonic()

    def count(self, number, missed):
        self.counts[number] = self.counts.get(number, 0) + 1
        if missed:
            self.missed[number] = self.missed.get(number, 0) + 1

    def ends(self, task):
        """The task stops for the last time."""
        self.collect(task)
        try:
            with open(f"/proc/{task.tgid}/task/{task.tid}/io", "rb", buffering=0) as file:
                fields = dict(line.split(b": ") for line in file.read().splitlines())
        except OSError:                    # a kernel without this accounting
            return
        for field in _IO:
            self._io[field] += int(fields.get(field, 0))

    def collect(self, task):
        """Add what the stub has counted in the memory of a stopped task, other threads of which may go on counting."""
        before = self._collected.get(task.memory, _NONE)
        now = self.begin(task)
        if now != before:
            for number, (count, former) in enumerate(zip(now, before)):
                if count != former:
                    self.hits[number] = self.hits.get(number, 0) + (count - former & 0xFFFFFFFF)

    def begin(self, task):
        """The counters as they are, from which is counted further: a new process has a copy of its parent's."""
        try:
            counts = _COUNTS.unpack(task.read(FAST_HITS, _COUNTS.size))
        except OSError:                    # not yet a guest's process
            return self._collected.get(task.memory, _NONE)
        self._collected[task.memory] = counts
        return counts

    def write(self, processes, memory, fast, off):
        """The summary, to standard error: the caller's standard output is the guest's. `memory`: the MemoryWatch; `off`: why
        there is no FastPath."""
        total = sum(self.counts.values())
        seconds = time.monotonic() - self._start
        lines = [f"apppot-start: {total} calls intercepted in {seconds:.2f} s, {processes} processes"]
        lines += self._usage(memory)
        lines += _by_number(self.counts)
        if fast is None:
            lines.append(f"fast path: off, {off}")
        else:
            lines.append(f"fast path: {sum(self.hits.values())} calls answered without a stop")
            lines += _by_number(self.hits)
            lines.append(f"fast path: {sum(self.missed.values())} calls of patched sites intercepted")
            lines += _by_number(self.missed)
            for host, sites, others in fast.counts():
                name = os.fsdecode(os.path.basename(host))
                lines.append(f"fast path: {name}: {sites} sites patched, {others} of no known form")
        messages.tell("\n".join(lines))

    def _usage(self, memory):
        """Lines about processor time, memory, input and output. A process's peak counts pages of files that it maps, too."""
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        memory.look()
        io = {name: self._io[field] / 1e6 for field, name in _IO.items()}
        return [f"processor: guest {_times(resource.RUSAGE_CHILDREN)}; supervisor {_times(resource.RUSAGE_SELF)}",
                f"memory: at most {largest >> 10} MiB in one process, {memory.peak >> 20} MiB seen in the machine without files",
                f"input and output: {io['read']:.1f} MB read and {io['written']:.1f} MB written by calls, {io['from disk']:.1f} MB "
                f"and {io['to disk']:.1f} MB of that from and to disks"]


def _times(who):
    used = resource.getrusage(who)
    return f"{used.ru_utime:.2f} s user, {used.ru_stime:.2f} s system"


def _by_number(counts):
    return [f"{count:10}  {dispatch.name(number)}" for number, count in sorted(counts.items(), key=lambda item: -item[1])]
