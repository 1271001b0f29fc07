"""--stats: which calls were intercepted, and what the fast path saved."""

import os
import struct
import sys
import time

from apppot.platform.layout import FAST_HITS, HITS
from apppot.syscalls import dispatch

_COUNTS = struct.Struct(f"<{HITS}I")
_NONE = bytes(_COUNTS.size)


class Stats:
    """Counts of calls by number: `counts`, intercepted; `missed`, those of them that came from a patched site; `hits`,
    answered by the stub, which counts them in its process's memory."""

    def __init__(self):
        self.counts, self.missed, self.hits = {}, {}, {}
        self._start = time.monotonic()

    def count(self, number, missed):
        self.counts[number] = self.counts.get(number, 0) + 1
        if missed:
            self.missed[number] = self.missed.get(number, 0) + 1

    def collect(self, task):
        """Add what the stub counted in the memory of a stopped task, and let it begin again: at exec and at the end."""
        try:
            counts = task.read(FAST_HITS, _COUNTS.size)
            if counts != _NONE:
                task.write(FAST_HITS, _NONE)
        except OSError:                    # not yet a guest's process
            return
        if counts != _NONE:
            for number, count in enumerate(_COUNTS.unpack(counts)):
                if count:
                    self.hits[number] = self.hits.get(number, 0) + count

    def forget(self, task):
        """A new process has a copy of its parent's counts."""
        try:
            task.write(FAST_HITS, _NONE)
        except OSError:
            return

    def write(self, processes, fast, off):
        """The summary, to standard error: the caller's standard output is the guest's. `off`: why there is no FastPath."""
        total = sum(self.counts.values())
        seconds = time.monotonic() - self._start
        lines = [f"apppot-start: {total} calls intercepted in {seconds:.2f} s, {processes} processes"]
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
        sys.stderr.write("\n".join(lines) + "\n")


def _by_number(counts):
    return [f"{count:10}  {dispatch.name(number)}" for number, count in sorted(counts.items(), key=lambda item: -item[1])]
