"""A control group of the machine's own (cgroup v2), where the user has been given a place to make one.

The kernel then counts the machine's memory exactly and enforces --mem. A group can be made in $APPPOT_CGROUP, and beside
one's own group, as below `systemd-run --user --scope`: a group that holds processes can't have limited groups in it.
See "Delegation" in Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

import fcntl
import os

_PREFIX = "apppot-"                                    # of the groups' names, with the supervisor's process number behind it
_TRIES = 3


def find_place():
    """A directory in which groups with a limit of memory can be made, or None."""
    given = os.environ.get("APPPOT_CGROUP")
    return next((place for place in ([given] if given else _beside_own()) if can_limit(place)), None)


def can_limit(place):
    """Whether this user may make groups in `place`, move processes there, and limit their memory."""
    try:
        with open(f"{place}/cgroup.subtree_control") as file:
            if "memory" not in file.read().split():
                return False
    except OSError:
        return False
    return os.access(place, os.W_OK | os.X_OK) and os.access(f"{place}/cgroup.procs", os.W_OK)


def _beside_own(own="/proc/self/cgroup", mounts="/proc/self/mountinfo"):
    """The parent of the group that this process is in."""
    try:
        with open(own) as file:
            path = next(line[3:].rstrip("\n") for line in file if line.startswith("0::"))
        with open(mounts) as file:
            mount = next(line.split() for line in file if " - cgroup2 " in line)
    except (OSError, StopIteration):
        return
    if path != "/":
        yield mount[4] + os.path.dirname(path)


class ControlGroup:
    """The group of one machine: made with its limit, entered by the first task, removed by close().

    Locked by the supervisor, for it may be empty while its machine lives: before the first task and between start hooks.
    """

    def __init__(self, place, memory):
        self.path, self._lock = f"{place}/{_PREFIX}{os.getpid()}", -1
        _remove_dead(place)
        os.mkdir(self.path)
        try:
            self._lock = _hold(self.path)
            self._write("memory.max", memory)
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

    def exceeded(self):
        """Whether the kernel has killed for memory here (memory.events)."""
        try:
            with open(f"{self.path}/memory.events") as file:
                return any(int(value) for name, value in map(str.split, file) if name in ("oom_kill", "oom_group_kill"))
        except (OSError, ValueError):
            return False

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
