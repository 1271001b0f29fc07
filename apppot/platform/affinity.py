"""Keeps the supervisor and the tasks it is serving on the same CPU, while only one of them runs at a time.

A stop costs a third when tracer and tracee share a CPU, because no idle processor has to be woken twice. The kernel's
scheduler spreads the two out, so while one task alone stops again and again, or a line of tasks each of which waits for the
child it made, as in a shell script, all of them are pinned to one CPU. They are let go as soon as another task stops, one
of them makes a thread or a second child or goes on beside its child, or asks for its affinity, and by the ticks of another
thread when they stop no more (they compute) or have been pinned for a while (so that the scheduler can balance machines).
"""

import ctypes
import os
import threading

TICK = 0.1                                 # seconds; a task that computes is pinned no longer than two of them

_FIRST = 4                                 # stops in a row before tasks are pinned
_LONGEST = 5                               # ticks
_HOLD = 5                                  # ticks without pinning after a guest asked for its mask, or ran several tasks
_MOST = 8                                  # tasks in a line
_BESIDE = 3                                # stops of a task while its child is there: it does not wait for that

_getcpu = ctypes.PyDLL(None).sched_getcpu
_getcpu.argtypes, _getcpu.restype = [], ctypes.c_int


class Affinity:
    """`stop(tid)` is called at every stop."""

    def __init__(self):
        self._me = os.getpid()             # the main thread: tick() runs in another
        self._own = os.sched_getaffinity(self._me)
        self._useful = len(self._own) > 1
        self._row = self._beside = self._ticks = 0
        self._line = []                    # tasks, each the child of the one before; the last stops have been theirs
        self._seen = self._stops = 0
        self._pinned = {}                  # task -> its own mask
        self._latest = {}                  # the same of those that were let go last
        self._cpu = 0                      # where
        self._held = 0                     # ticks during which nobody is pinned
        self._lock = threading.Lock()

    def stop(self, tid):
        self._stops += 1
        line = self._line
        if line and tid == line[-1]:
            self._row += 1
            if self._row >= _FIRST and not self._pinned and self._useful and not self._held:
                self._pin()
        elif tid in line:
            self._beside += 1
            if self._beside >= _BESIDE:
                self._let_run()
        else:
            self._start(tid)

    def _start(self, *line):
        """The stops of others begin."""
        self._line, self._row, self._beside = list(line), 0, 0
        if self._pinned:
            self.release()

    def _let_run(self):
        """Several tasks run at once."""
        self._held = _HOLD
        self._start()

    def _pin(self):
        with self._lock:
            self._cpu, self._ticks, self._seen = _getcpu(), 0, self._stops
            try:
                masks = {tid: os.sched_getaffinity(tid) for tid in self._line}
                if not all(self._cpu in mask for mask in masks.values()):
                    return
                os.sched_setaffinity(self._me, {self._cpu})
                for tid, mask in masks.items():
                    os.sched_setaffinity(tid, {self._cpu})
                    self._pinned[tid] = mask
            except OSError:
                self._let_go()

    def release(self):
        """Let the pinned tasks go."""
        with self._lock:
            if self._pinned:
                self._let_go()

    def _let_go(self):
        pinned, self._pinned = self._pinned, {}
        self._latest = pinned
        for tid, mask in ((self._me, self._own), *pinned.items()):
            try:
                os.sched_setaffinity(tid, mask)
            except OSError:                # gone; or who rules over this host has taken the processors away
                continue

    def leave_alone(self):
        """A guest asks for masks or sets them: it shall see the true ones, and nobody's is touched for a while."""
        self._held = _HOLD
        self.release()
        self._latest = {}

    def forked(self, parent, child, thread):
        """A new task has its maker's mask; another thread may have let the maker go since."""
        with self._lock:
            if parent in self._pinned:
                self._pinned[child] = self._pinned[parent]
            elif parent in self._latest:
                try:
                    if os.sched_getaffinity(child) == {self._cpu}:
                        os.sched_setaffinity(child, self._latest[parent])
                        self._latest[child] = self._latest[parent]
                except OSError:
                    return
        line = self._line
        if line and parent == line[-1] and not thread and len(line) < _MOST:
            line.append(child)
            self._beside = 0
        elif parent in line:
            self._let_run()

    def ended(self, tid):
        """A task is no more."""
        with self._lock:
            self._pinned.pop(tid, None)
            self._latest.pop(tid, None)
        line = self._line
        if line and tid == line[-1]:
            line.pop()
            self._beside = 0
        elif tid in line:
            self._start()

    def tick(self):
        """Called by another thread every TICK seconds."""
        if self._held:
            self._held -= 1
        if self._pinned:
            self._ticks += 1
            if self._stops == self._seen or self._ticks >= _LONGEST:
                self.release()
            self._seen = self._stops
