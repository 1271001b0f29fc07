"""Identity calls write what the credentials say."""

import struct
from errno import EFAULT, EINVAL, EPERM, ESRCH

import pytest

from apppot.kernel.credentials import ALL_CAPS
from apppot.syscalls import ids
from apppot.syscalls.answer import NATIVE
from tests.syscalls.fake_task import GROUPS, UID, FakeTask, call, fails


@pytest.fixture
def task():
    return FakeTask(root=True)


def test_root_sees_itself_as_root(task):
    assert [call(task, get) for get in (ids.getuid, ids.geteuid, ids.getgid, ids.getegid)] == [0] * 4


def test_three_ids_are_written(task):
    call(task, ids.setresuid, 1, 2, 3)
    where = [task.put(bytes(4)) for _ in range(3)]
    assert call(task, ids.getresuid, *where) == 0
    assert [task.ints(at, 1)[0] for at in where] == [1, 2, 3]
    call(task, ids.getresgid, *where)
    assert [task.ints(at, 1)[0] for at in where] == [0, 0, 0]
    fails(EFAULT, task, ids.getresuid, where[0], 0, where[2])


def test_minus_one_is_read_as_an_id_to_keep(task):
    assert call(task, ids.setreuid, -1, 5) == 0
    assert (task.creds.ruid, task.creds.euid, task.creds.suid) == (0, 5, 5)


def test_groups():
    task = FakeTask()
    assert call(task, ids.getgroups, 0, 0) == 2
    where = task.put(bytes(8))
    assert call(task, ids.getgroups, 2, where) == 2
    assert task.ints(where, 2) == GROUPS
    fails(EINVAL, task, ids.getgroups, 1, where)
    fails(EINVAL, task, ids.getgroups, -1, where)
    fails(EPERM, task, ids.setgroups, 0, 0)


def test_root_sets_groups(task):
    assert call(task, ids.setgroups, 2, task.put(struct.pack("<2I", 9, 7))) == 0
    assert task.creds.groups == (7, 9)
    assert call(task, ids.setgroups, 0, 0) == 0
    assert task.creds.groups == ()
    fails(EINVAL, task, ids.setgroups, 65537, 0)
    fails(EFAULT, task, ids.setgroups, 1, 0)


def test_file_system_ids_tell_the_former_one(task):
    assert call(task, ids.setfsuid, UID) == 0
    assert call(task, ids.setfsuid, -1) == UID
    assert call(task, ids.setfsgid, 5) == 0


def test_capget(task):
    header, data = task.put(struct.pack("<Ii", 0x20080522, 0)), task.put(bytes(24))
    assert call(task, ids.capget, header, data) == 0
    words = task.ints(data, 6)
    assert words[0] | words[3] << 32 == words[1] | words[4] << 32 == ALL_CAPS
    assert words[2] == words[5] == 0


def test_capget_of_others(task):
    data = task.put(bytes(24))
    task.machine.creds[77] = FakeTask().creds
    assert call(task, ids.capget, task.put(struct.pack("<Ii", 0x20080522, 77)), data) == 0
    assert task.ints(data, 6) == (0,) * 6
    fails(ESRCH, task, ids.capget, task.put(struct.pack("<Ii", 0x20080522, 78)), data)


def test_an_unknown_version_is_answered_with_the_newest(task):
    header = task.put(struct.pack("<Ii", 0, 0))
    assert call(task, ids.capget, header, 0) == 0
    assert task.ints(header, 1) == (0x20080522,)
    task.write(header, bytes(4))
    fails(EINVAL, task, ids.capget, header, task.put(bytes(24)))


def test_capset(task):
    header = task.put(struct.pack("<Ii", 0x20080522, 0))
    assert call(task, ids.capset, header, task.put(struct.pack("<6I", 1 << 7, 1 << 7, 0, 1, 1, 0))) == 0
    assert task.creds.effective == task.creds.permitted == 1 << 7 | 1 << 32
    fails(EPERM, task, ids.capset, header, task.put(struct.pack("<6I", 0, 0xFF, 0, 0, 0, 0)))
    fails(EPERM, task, ids.capset, task.put(struct.pack("<Ii", 0x20080522, 1)), 0)


def test_prctl_records(task):
    assert call(task, ids.prctl, 4, 0) == 0
    assert call(task, ids.prctl, 3) == 0
    assert task.group.dumpable == 0
    assert call(task, ids.prctl, 39) == 0
    assert call(task, ids.prctl, 38, 1) == 0
    assert call(task, ids.prctl, 39) == 1
    fails(EINVAL, task, ids.prctl, 38, 0)
    fails(EINVAL, task, ids.prctl, 4, 2)
    assert call(task, ids.prctl, 0x59616D61, 5) == 0
    assert call(task, ids.prctl, 15, 0x1000) is NATIVE


def test_prctl_capabilities(task):
    assert call(task, ids.prctl, 23, 7) == 1
    assert call(task, ids.prctl, 24, 7) == 0
    assert call(task, ids.prctl, 23, 7) == 0
    fails(EINVAL, task, ids.prctl, 23, 99)
    assert call(task, ids.prctl, 8, 1) == 0
    assert call(task, ids.prctl, 7) == 1
    assert call(task, ids.prctl, 27) == 0x10
    assert call(task, ids.prctl, 28, 0x11) == 0
    assert call(task, ids.prctl, 47, 1, 3) == 0
    assert call(task, ids.prctl, 47, 4, 0) == 0
    fails(EPERM, task, ids.prctl, 47, 2, 3)
    fails(EINVAL, task, ids.prctl, 47, 9, 3)
    fails(EPERM, FakeTask(), ids.prctl, 24, 7)
