"""System V IPC and POSIX message queues: the host has one space of keys and names for all, a machine sees its own.

A key stands for an object that the machine has made; it is IPC_PRIVATE to the host. Only identifiers of the machine's
objects are let through. Names of message queues get a prefix. What is left at the end is removed (`Ipc.remove_all`).
"""

import os
from errno import EACCES, EEXIST, EINVAL, ENAMETOOLONG, ENOENT

from apppot.syscalls.answer import NATIVE, RunHere
from apppot.syscalls.decode import Int, Path, Ptr, U64, UInt
from apppot.syscalls.paths import error

_IPC_PRIVATE, _IPC_CREAT, _IPC_EXCL = 0, 0o1000, 0o2000
_IPC_RMID, _IPC_INFO = 0, 3
_SHM_REMAP = 0o40000
_SHM_DEST = 0o1000              # linux/shm.h
_SHM, _SEM, _MSG = "shm", "sem", "msg"
_ANY = {_SHM: (14,), _SEM: (19,), _MSG: (12,)}       # SHM_INFO, SEM_INFO, MSG_INFO: about no object; as IPC_INFO
_NAME_MAX = 255
_CALLS = {_SHM: (29, 31), _SEM: (64, 66), _MSG: (68, 71)}


class Ipc:
    """The objects of one machine. `prefix`: what the host's names of its message queues begin with."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.keys = {}                 # (kind, key) -> identifier
        self.objects = set()           # (kind, identifier)
        self.marked = set()            # identifiers of shared memory that goes with its last user; they may be given out again
        self.queues = set()            # names as the host knows them

    def made(self, kind, key, identifier):
        self.objects.add((kind, identifier))
        if key != _IPC_PRIVATE:
            self.keys[kind, key] = identifier

    def removed(self, kind, identifier):
        """Shared memory in use lives on, and can be attached by its number, until nobody has it: shmctl(2), IPC_RMID."""
        if kind == _SHM and _is_marked(identifier):
            self.marked.add(identifier)
        else:
            self.objects.discard((kind, identifier))
        for known, found in list(self.keys.items()):
            if known[0] == kind and found == identifier:
                del self.keys[known]

    def remove_all(self, syscall):
        """Remove what is left. syscall(name, number, *arguments) makes a system call or raises OSError."""
        for kind, identifier in self.objects:
            number = _CALLS[kind][1]
            arguments = (identifier, 0, _IPC_RMID, 0) if kind == _SEM else (identifier, _IPC_RMID, 0)
            try:
                syscall(kind + "ctl", number, *arguments)
            except OSError:            # gone already
                continue
        for name in self.queues:
            try:
                syscall("mq_unlink", 241, name)
            except OSError:
                continue


# -- by key

def shmget(task, key: Int, size: U64, flags: Int):
    return _get(task, _SHM, key, flags)


def semget(task, key: Int, count: Int, flags: Int):
    return _get(task, _SEM, key, flags)


def msgget(task, key: Int, flags: Int):
    return _get(task, _MSG, key, flags, 1)


def _get(task, kind, key, flags, flags_at=2):
    """The kernel always makes a new object for IPC_PRIVATE; what is known by a key is asked for again by its number."""
    ipc = task.machine.ipc
    if key != _IPC_PRIVATE:
        known = ipc.keys.get((kind, key))
        if known is not None:
            if flags & _IPC_CREAT and flags & _IPC_EXCL:
                raise error(EEXIST)
            return known
        if not flags & _IPC_CREAT:
            raise error(ENOENT)

    def remember(task, result):
        if result >= 0:
            ipc.made(kind, key, result)
        return result

    return RunHere({0: _IPC_PRIVATE, flags_at: flags & ~_IPC_EXCL}, remember)


# -- by identifier

def _check(task, kind, identifier):
    ipc = task.machine.ipc
    if kind == _SHM and identifier in ipc.marked and not _is_marked(identifier):
        ipc.marked.discard(identifier)
        ipc.objects.discard((kind, identifier))
    if (kind, identifier) not in ipc.objects:
        raise error(EINVAL)
    return NATIVE


def _is_marked(identifier):
    """Whether there is a segment of this number that is removed when its last user leaves it. The columns are proc(5)'s."""
    with open("/proc/sysvipc/shm", "rb") as file:
        for line in file:
            fields = line.split()
            if fields[1] == b"%d" % identifier:
                return bool(int(fields[2], 8) & _SHM_DEST)
    return False


def shmat(task, identifier: Int, address: Ptr, flags: Int):
    if flags & _SHM_REMAP and address < task.machine.window_range[1]:      # else it takes no place of another mapping
        raise error(EINVAL)
    return _check(task, _SHM, identifier)


def semop(task, identifier: Int):
    return _check(task, _SEM, identifier)


def semtimedop(task, identifier: Int):
    return _check(task, _SEM, identifier)


def msgsnd(task, identifier: Int):
    return _check(task, _MSG, identifier)


def msgrcv(task, identifier: Int):
    return _check(task, _MSG, identifier)


def shmctl(task, identifier: Int, command: Int):
    return _control(task, _SHM, identifier, command)


def msgctl(task, identifier: Int, command: Int):
    return _control(task, _MSG, identifier, command)


def semctl(task, identifier: Int, number: Int, command: Int):
    return _control(task, _SEM, identifier, command)


def _control(task, kind, identifier, command):
    """The commands that ask by index (SHM_STAT and its kin) find no object: their indices are the whole host's."""
    if command == _IPC_INFO or command in _ANY[kind]:
        return NATIVE
    _check(task, kind, identifier)
    if command != _IPC_RMID:
        return NATIVE

    def forget(task, result):
        if result == 0:
            task.machine.ipc.removed(kind, identifier)
        return result

    return RunHere({}, forget)


# -- message queues

def mq_open(task, name: Path, flags: Int, mode: UInt, attributes: Ptr):
    placed = _queue(task, name)

    def remember(task, result):
        if result >= 0 and flags & os.O_CREAT:
            task.machine.ipc.queues.add(placed)
        return result

    return RunHere({0: placed}, remember)


def mq_unlink(task, name: Path):
    placed = _queue(task, name)

    def forget(task, result):
        if result == 0:
            task.machine.ipc.queues.discard(placed)
        return result

    return RunHere({0: placed}, forget)


def _queue(task, name):
    """The C library has taken the "/" away. The kernel would refuse another one with EACCES."""
    if not name:
        raise error(ENOENT)
    if b"/" in name:
        raise error(EACCES)
    placed = task.machine.ipc.prefix + name
    if len(placed) > _NAME_MAX:
        raise error(ENAMETOOLONG)
    return placed
