"""A control group of the machine's own (cgroup v2), where the user has been given a place to make one.

The kernel then counts the machine's memory exactly and enforces --mem. A group can be made in $APPPOT_CGROUP, and beside
one's own group, as below `systemd-run --user --scope`: a group that holds processes can't have limited groups in it.
See "Delegation" in Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

import fcntl
import os

_PREFIX = "apppot-"                                    # of the groups' names, with the supervisor's process number behind it
_TRIES = 3
# Limits of the caller's own group besides memory.max: a machine beside it must not be free of them.
_KEPT = ("memory.high", "pids.max", "cpu.max", "cpuset.cpus", "io.max")


def find_place():
    """A directory in which groups with a limit of memory can be made, or None."""
    given = os.environ.get("APPPOT_CGROUP")
    if given:
        return given if can_limit(given) else None
    own = own_group()
    return os.path.dirname(own) if own is not None and can_limit(os.path.dirname(own)) else None


def can_limit(place):
    """Whether this user may make groups in `place`, move processes there, and limit their memory."""
    try:
        with open(f"{place}/cgroup.subtree_control") as file:
            if "memory" not in file.read().split():
                return False
    except OSError:
        return False
    own = own_group()
    common = None if own is None else os.path.commonpath([own, os.path.realpath(place)])
    if common in (None, "/"):                          # it isn't where our own group is shown: entering it will tell
        common = place
    return os.access(place, os.W_OK | os.X_OK) and all(os.access(f"{where}/cgroup.procs", os.W_OK) for where in (place, common))


def own_group(own="/proc/self/cgroup", mounts="/proc/self/mountinfo"):
    """The directory of the group that this process is in; None: in none, or in the root of what is shown here."""
    try:
        with open(own) as file:
            path = next(line[3:].rstrip("\n") for line in file if line.startswith("0::"))
        with open(mounts) as file:
            mount = next(line.split() for line in file if " - cgroup2 " in line)
    except (OSError, StopIteration):
        return None
    return mount[4] + path if path != "/" else None


class ControlGroup:
    """The group of one machine: made with its limit, entered by the first task, removed by close().

    Beside the caller's own group it gets that one's limits as well, and the lesser one of memory. Locked by the supervisor, for it
    may be empty while its machine lives: before the first task and between start hooks.
    """

    def __init__(self, place, memory):
        self.path, self._lock = f"{place}/{_PREFIX}{os.getpid()}", -1
        own = own_group()
        self._beside = own if own is not None and os.path.dirname(own) == os.path.realpath(place) else None
        self._memory = memory
        self._limit = min(memory, self._own_limit())
        _remove_dead(place)
        os.mkdir(self.path)
        try:
            self._lock = _hold(self.path)
            self._write("memory.max", self._limit)
            for name in _KEPT:
                for line in self._own(name).splitlines():
                    self._write(name, line)
            if os.path.exists(f"{self.path}/memory.swap.max"):
                self._write("memory.swap.max", 0)
            self._write("memory.oom.group", 1)         # the machine as a whole, not one process of it
        except OSError:
            self.close()
            raise

    def _write(self, name, value):
        with open(f"{self.path}/{name}", "w") as file:
            file.write(f"{value}\n")

    def enter(self):
        """Move the calling process there."""
        self._write("cgroup.procs", 0)

    def _own(self, name):
        """The text of a file of the caller's own group; empty: it has none, or the machine's is not beside it."""
        if self._beside is None:
            return ""
        try:
            with open(f"{self._beside}/{name}") as file:
                return file.read()
        except OSError:
            return ""

    def _own_limit(self):
        said = self._own("memory.max").strip()
        return int(said) if said.isdigit() else self._memory

    def exceeded(self):
        """What had too little memory when the kernel killed here, in words; None: it has not (memory.events)."""
        try:
            with open(f"{self.path}/memory.events") as file:
                events = {name: int(value) for name, value in map(str.split, file)}
        except (OSError, ValueError):
            return None
        if not events.get("oom_kill") and not events.get("oom_group_kill"):
            return None
        if not events.get("oom"):                      # only of this group's own limit and those of groups in it
            return "a control group above the machine's, or the host, had no memory left"
        who = "--mem" if self._limit == self._memory else "the control group of its caller"
        return f"the machine used more than the {self._limit >> 20} MiB of memory that {who} allows"

    def close(self):
        try:
            os.rmdir(self.path)
        except OSError:                                # a process is not gone entirely: the next machine removes it
            pass
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def make(memory):
    """The ControlGroup of a machine with so many bytes of memory, or None where the host lends no place for one."""
    place = find_place()
    if place is None:
        return None
    for _ in range(_TRIES):
        try:
            return ControlGroup(place, memory)
        except FileNotFoundError:                      # removed by another start before it was locked
            continue
        except OSError:
            return None
    return None


def _hold(path):
    """Lock a group: a descriptor that does until it is closed. BlockingIOError: another supervisor holds it."""
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove_dead(place):
    """Groups that killed supervisors left: one with processes in it can't be removed."""
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                try:
                    lock = _hold(entry.path)
                except OSError:
                    continue
                try:
                    os.rmdir(entry.path)
                except OSError:
                    continue
                finally:
                    os.close(lock)
