"""--stats: how many calls were intercepted."""

import sys
import time

from apppot.syscalls import dispatch


class Stats:
    """Counts of intercepted calls by number."""

    def __init__(self):
        self.counts = {}
        self._start = time.monotonic()

    def count(self, number):
        self.counts[number] = self.counts.get(number, 0) + 1

    def write(self, processes):
        """The summary, to standard error: the caller's standard output is the guest's."""
        total = sum(self.counts.values())
        seconds = time.monotonic() - self._start
        lines = [f"apppot-start: {total} calls intercepted in {seconds:.2f} s, {processes} processes"]
        for number, count in sorted(self.counts.items(), key=lambda item: -item[1]):
            lines.append(f"{count:10}  {dispatch.name(number)}")
        sys.stderr.write("\n".join(lines) + "\n")
