"""--mem, --cpus, --pids, --nice: what a process can be given at its start, and the count of tasks."""

import os
import resource
from errno import EAGAIN

from apppot.platform.window import FEW_SLOTS, SIZE, SLOTS

_MUCH_SPACE = 1 << 30


def raise_descriptors():
    """Let the supervisor have as many descriptors as it may: it holds one for each guest process. The former limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass
    return soft, hard


def window_slots():
    """Argument slots of the window: it counts in full for limits of address space and of file sizes (ulimit -v, -f)."""
    for limit, enough in ((resource.RLIMIT_AS, _MUCH_SPACE), (resource.RLIMIT_FSIZE, SIZE)):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and soft < enough:
            return FEW_SLOTS
    return SLOTS


def apply(machine):
    """To the supervisor, from which all guests inherit it."""
    if machine.nice:
        os.nice(machine.nice)
    if machine.cpus is not None:
        os.sched_setaffinity(0, _processors(machine.cpus))


def _processors(count):
    """So many neighbouring ones of those we may use, from anywhere: else all machines of a host would share the first."""
    allowed = sorted(os.sched_getaffinity(0))
    start = int.from_bytes(os.urandom(4), "little") % len(allowed)
    return set((allowed[start:] + allowed[:start])[:count])


def apply_in_child(machine, descriptors, group):
    """In the forked child of the first task. `descriptors`: the caller's limit of them; `group`: a ControlGroup or None.

    RLIMIT_DATA (setrlimit(2)) bounds the private memory of one process: it gets ENOMEM before the watch must end it.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
    if group is not None:
        group.enter()
    elif machine.mem is not None:
        _lower(resource.RLIMIT_DATA, machine.mem)


def _lower(limit, value):
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, value))


class TaskCount:
    """Allows a machine `most` tasks: threads, and ended processes that nobody has waited for yet.

    A task that is about to make another one has a claim on a place until its call is over.
    """

    def __init__(self, running, most):
        self._tasks, self._most = running.tasks, most
        self._claims, self._zombies = set(), set()

    def claim(self, tid):
        """OSError EAGAIN when there is no place."""
        self._claims.discard(tid)
        if self._used() >= self._most:
            self._zombies = {tgid for tgid in self._zombies if _is_zombie(tgid)}
            if self._used() >= self._most:
                raise OSError(EAGAIN, os.strerror(EAGAIN))
        self._claims.add(tid)

    def _used(self):
        return len(self._tasks) + len(self._claims) + len(self._zombies)

    def settle(self, task, result):
        """The `after` of a call that makes a task."""
        self._claims.discard(task.tid)

    def made(self, parent):
        """Task number `parent` has made the one that it claimed a place for."""
        self._claims.discard(parent)

    def ended(self, tid, tgid=None):
        """A task has ended, and with it process `tgid`."""
        self._claims.discard(tid)
        if tgid is not None:
            self._zombies.add(tgid)


def _is_zombie(tgid):
    try:
        with open(f"/proc/{tgid}/stat", "rb", buffering=0) as file:
            return file.read().rpartition(b") ")[2][:1] == b"Z"
    except OSError:
        return False
