"""Keeps the supervisor and the one task it is serving on the same CPU.

A stop costs a third when tracer and tracee share a CPU, because no idle processor has to be woken twice. The kernel's
scheduler spreads the two out, so while one task alone stops again and again both are pinned to one CPU. They are let
go as soon as another task stops, the task makes a child or asks for its affinity, and by the ticks of another thread
when it stops no more (it computes) or has been pinned for a while (so that the scheduler can balance machines).
"""

import ctypes
import os
import threading

TICK = 0.1                                 # seconds; a task that computes is pinned no longer than two of them

_FIRST = 4                                 # stops of one task in a row before it is pinned
_LONGEST = 5                               # ticks
_HOLD = 5                                  # ticks without pinning after a guest asked for its mask

_getcpu = ctypes.PyDLL(None).sched_getcpu
_getcpu.argtypes, _getcpu.restype = [], ctypes.c_int


class Affinity:
    """`stop(tid)` is called at every stop. `pinned`: the pinned task's number, or 0."""

    def __init__(self):
        self._me = os.getpid()             # the main thread: tick() runs in another
        self._own = os.sched_getaffinity(self._me)
        self._useful = len(self._own) > 1
        self._row = self._ticks = 0
        self._last = self._seen = 0
        self._stops = 0
        self._mask = None
        self._cpu = self._latest = 0       # where, and who was pinned last
        self._held = 0                     # ticks during which nobody is pinned
        self._lock = threading.Lock()
        self.pinned = 0

    def stop(self, tid):
        self._stops += 1
        if tid == self._last:
            self._row += 1
            if self._row == _FIRST and self._useful and not self._held:
                self._pin(tid)
        else:
            self._last, self._row = tid, 0
            if self.pinned:
                self.release()

    def _pin(self, tid):
        with self._lock:
            if self.pinned:
                return
            cpu = _getcpu()
            try:
                mask = os.sched_getaffinity(tid)
                if cpu in mask:
                    os.sched_setaffinity(self._me, {cpu})
                    os.sched_setaffinity(tid, {cpu})
                    self.pinned, self._mask, self._ticks, self._seen = tid, mask, 0, self._stops
                    self._latest, self._cpu = tid, cpu
            except OSError:
                os.sched_setaffinity(self._me, self._own)

    def release(self):
        """Let the pinned task go."""
        with self._lock:
            if not self.pinned:
                return
            pinned, self.pinned, self._row = self.pinned, 0, 0
            os.sched_setaffinity(self._me, self._own)
            try:
                os.sched_setaffinity(pinned, self._mask)
            except OSError:
                return

    def leave_alone(self):
        """A guest asks for masks or sets them: it shall see the true ones, and nobody's is touched for a while."""
        self._held = _HOLD
        self.release()
        self._latest = 0

    def forked(self, parent, child):
        """A new task has its maker's mask; a thread may have let the maker go since."""
        if self.pinned:
            self.release()
        if parent == self._latest:
            try:
                if os.sched_getaffinity(child) == {self._cpu}:
                    os.sched_setaffinity(child, self._mask)
            except OSError:
                return

    def tick(self):
        """Called by another thread every TICK seconds."""
        if self._held:
            self._held -= 1
        if self.pinned:
            self._ticks += 1
            if self._stops == self._seen or self._ticks >= _LONGEST:
                self.release()
            self._seen = self._stops
