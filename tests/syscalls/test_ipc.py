"""Keys, identifiers and names of IPC objects are the machine's own."""

import os
from errno import EACCES, EEXIST, EINVAL, ENAMETOOLONG, ENOENT

import pytest

from apppot.platform import libc
from apppot.syscalls import ipc
from apppot.syscalls.answer import NATIVE, RunHere
from tests.syscalls.fake_task import FakeTask, call, fails

CREATE, EXCLUSIVE = 0o1000, 0o2000


@pytest.fixture
def task():
    return FakeTask()


@pytest.mark.parametrize("get, at", [(ipc.shmget, 2), (ipc.semget, 2), (ipc.msgget, 1)])
def test_a_key_is_the_machines(task, get, at):
    def ask(key, flags):
        return call(task, get, key, *([8] if at == 2 else []), flags)

    for key in (77, -5):
        with pytest.raises(OSError) as refused:
            ask(key, 0o600)
        assert refused.value.errno == ENOENT
        answer = ask(key, CREATE | EXCLUSIVE | 0o600)
        assert answer == RunHere({0: 0, at: CREATE | 0o600})
        assert answer.after(task, 40 + key) == 40 + key
        assert ask(key, 0o600) == 40 + key
        with pytest.raises(OSError) as refused:
            ask(key, CREATE | EXCLUSIVE)
        assert refused.value.errno == EEXIST
    answer = ask(0, 0o600)
    assert answer.after(task, -12) == -12 and len(task.machine.ipc.objects) == 2


def test_only_identifiers_of_the_machine_are_known(task):
    task.machine.ipc.made("shm", 7, 1)
    assert call(task, ipc.shmat, 1, 0, 0) is NATIVE
    fails(EINVAL, task, ipc.shmat, 1, task.machine.window_range[0], 0o40000)
    for handler, args in ((ipc.shmat, (2,)), (ipc.semop, (1,)), (ipc.semtimedop, (1,)), (ipc.msgsnd, (1,)), (ipc.msgrcv, (1,)),
                          (ipc.shmctl, (2, 0)), (ipc.shmctl, (2, 13)), (ipc.msgctl, (1, 0)),
                          (ipc.semctl, (1, 0, 0))):
        fails(EINVAL, task, handler, *args)
    assert call(task, ipc.shmctl, 1, 2) is NATIVE and call(task, ipc.shmctl, 0, 14) is NATIVE
    removing = call(task, ipc.shmctl, 1, 0)
    assert removing.after(task, 0) == 0
    fails(EINVAL, task, ipc.shmat, 1)
    assert task.machine.ipc.keys == {}


def test_names_of_message_queues_have_a_prefix(task):
    answer = call(task, ipc.mq_open, task.path(b"queue"), os.O_CREAT, 0o600, 0)
    assert answer == RunHere({0: b"test.queue"})
    assert answer.after(task, 3) == 3 and task.machine.ipc.queues == {b"test.queue"}
    assert call(task, ipc.mq_unlink, task.path(b"queue")).after(task, 0) == 0
    assert task.machine.ipc.queues == set()
    fails(EACCES, task, ipc.mq_open, task.path(b"../queue"), 0)
    fails(ENOENT, task, ipc.mq_open, task.path(b""), 0)
    fails(ENAMETOOLONG, task, ipc.mq_open, task.path(b"q" * 254), 0)


def test_shared_memory_that_was_removed_while_it_is_in_use(task):
    """It can be attached until its last user has left it; then its number may be somebody else's."""
    made = libc.syscall("shmget", 29, 0, 4096, CREATE | 0o600)
    address = libc.syscall("shmat", 30, made, 0, 0)
    try:
        task.machine.ipc.made("shm", 5, made)
        removing = call(task, ipc.shmctl, made, 0)
        libc.syscall("shmctl", 31, made, 0, 0)
        assert removing.after(task, 0) == 0
        assert ("shm", 5) not in task.machine.ipc.keys
        assert call(task, ipc.shmat, made, 0, 0) is NATIVE
    finally:
        libc.syscall("shmdt", 67, address)
    fails(EINVAL, task, ipc.shmat, made, 0, 0)


def test_what_is_left_is_removed(task):
    made = libc.syscall("shmget", 29, 0, 4096, CREATE | 0o600)
    task.machine.ipc.made("shm", 0, made)
    task.machine.ipc.made("sem", 0, (1 << 31) - 1)                          # gone by itself
    task.machine.ipc.remove_all(libc.syscall)
    with pytest.raises(OSError):
        libc.syscall("shmctl", 31, made, 2, 0)
