"""Processes outside the machine do not exist."""

import os
import signal
import struct
import subprocess
import sys
from errno import E2BIG, EACCES, EAGAIN, EINVAL, EPERM, ESRCH

import pytest

from apppot.kernel.task import FsState
from apppot.syscalls import newtasks, processes, system
from apppot.syscalls.answer import NATIVE, Run, RunHere
from tests.syscalls.fake_task import FakeTask, call, fails

OUTSIDE = os.getppid()
INSIDE, THREAD = 5000001, 5000002


@pytest.fixture
def task():
    task = FakeTask()
    task.machine.tasks.update({INSIDE: INSIDE, THREAD: INSIDE})
    return task


@pytest.fixture
def child(task):
    """A real process, in its own group, that belongs to the machine."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, process_group=0)
    task.machine.tasks[process.pid] = process.pid
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("handler", [
    processes.kill, processes.tkill, processes.rt_sigqueueinfo, processes.pidfd_open, processes.prlimit64,
    processes.sched_setaffinity, processes.process_vm_readv, processes.move_pages, processes.kcmp,
], ids=lambda handler: handler.__name__)
def test_one_process(task, handler):
    for pid in (INSIDE, THREAD, task.tgid):
        assert call(task, handler, pid, 0) is NATIVE
    fails(ESRCH, task, handler, OUTSIDE, 0)
    fails(ESRCH, task, handler, 1, 0)


def test_advice_for_other_processes(task):
    """MADV_DONTFORK (10) never, MADV_COLD (20) where Landlock knows which processes are the machine's."""
    task.machine.wall.version = 6
    assert call(task, processes.process_madvise, 3, 0, 1, 20) is NATIVE
    fails(EINVAL, task, processes.process_madvise, 3, 0, 1, 10)
    task.machine.wall.version = 0
    fails(EPERM, task, processes.process_madvise, 3, 0, 1, 20)
    fails(EINVAL, task, processes.process_madvise, 3, 0, 1, 10)


@pytest.mark.parametrize("handler", [processes.tkill, processes.rt_sigqueueinfo, processes.pidfd_open])
def test_numbers_that_nobody_has(task, handler):
    fails(EINVAL, task, handler, 0)
    fails(EINVAL, task, handler, -5)


def test_tgkill(task):
    assert call(task, processes.tgkill, task.tgid, task.tid, 6) is NATIVE
    assert call(task, processes.tgkill, INSIDE, THREAD, 6) is NATIVE
    fails(ESRCH, task, processes.tgkill, OUTSIDE, OUTSIDE, 6)
    fails(EINVAL, task, processes.tgkill, 0, 5, 6)


def test_zombies_can_be_signalled(task):
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        fails(ESRCH, task, processes.kill, pid, 0)
        task.machine.tasks[os.getpid()] = os.getpid()
        assert call(task, processes.kill, pid, 0) is NATIVE
    finally:
        os.waitpid(pid, 0)


def test_a_group_of_our_own_is_signalled_natively(task, child):
    assert call(task, processes.kill, -child.pid, 15) is NATIVE


def test_of_a_mixed_group_only_ours_are_signalled(task, child):
    task.machine.process_group_is_ours = lambda pgid: False
    assert call(task, processes.kill, -child.pid, signal.SIGTERM) == 0
    assert child.wait() == -signal.SIGTERM
    fails(ESRCH, task, processes.kill, -os.getpgid(OUTSIDE) or -1, 0)
    fails(EINVAL, task, processes.kill, -child.pid, 65)


def test_kill_all_means_the_machine(task, child):
    del task.machine.tasks[INSIDE], task.machine.tasks[THREAD]
    assert call(task, processes.kill, -1, signal.SIGTERM) == 0
    assert child.wait() == -signal.SIGTERM
    fails(ESRCH, FakeTask(), processes.kill, -1, 0)


def test_priorities(task, child):
    assert call(task, processes.setpriority, 0, INSIDE, 5) is NATIVE
    fails(ESRCH, task, processes.setpriority, 0, OUTSIDE, 5)
    assert call(task, processes.setpriority, 1, child.pid, 5) is NATIVE
    task.machine.process_group_is_ours = lambda pgid: False
    wanted = max(5, os.getpriority(os.PRIO_PROCESS, 0))        # the tests may run under nice(1) themselves
    assert call(task, processes.setpriority, 1, child.pid, wanted) == 0
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == wanted
    assert call(task, processes.setpriority, 2, 0, 100) == 0
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == 19
    assert call(task, processes.getpriority, 1, child.pid) == 20 - 19


def test_io_priorities(task):
    assert call(task, processes.ioprio_set, 1, INSIDE, 0) is NATIVE
    assert call(task, processes.ioprio_get, 2, INSIDE) is NATIVE
    fails(ESRCH, task, processes.ioprio_set, 1, OUTSIDE, 0)
    fails(EPERM, task, processes.ioprio_set, 3, 0, 0)


def test_owners_of_descriptors(task):
    assert call(task, processes.fcntl, 3, 8, INSIDE) is NATIVE
    assert call(task, processes.fcntl, 3, 8, -INSIDE) is NATIVE
    fails(ESRCH, task, processes.fcntl, 3, 8, OUTSIDE)
    owner = struct.pack("<2i", 1, INSIDE)
    assert call(task, processes.fcntl, 3, 15, task.put(owner)) == RunHere({2: owner})
    fails(ESRCH, task, processes.fcntl, 3, 15, task.put(struct.pack("<2i", 1, OUTSIDE)))
    who = struct.pack("<i", INSIDE)
    assert call(task, processes.ioctl, 3, 0x8901, task.put(who)) == RunHere({2: who})
    task.machine.process_group_is_ours = lambda pgid: False
    fails(EPERM, task, processes.ioctl, 3, 0x8902, task.put(struct.pack("<i", -INSIDE)))


def test_clone3(task):
    data = struct.pack("<Q", 0x100) + bytes(80)
    args = task.put(data)
    assert call(task, newtasks.clone3, args, 88) == RunHere({0: data})
    fails(EINVAL, task, newtasks.clone3, args, 8)
    fails(E2BIG, task, newtasks.clone3, args, 5000)
    for flags, error in ((0x10000000, EPERM), (0x80, EPERM), (0x800000, EINVAL), (0x200000000, EACCES)):
        task.write(args, struct.pack("<Q", flags))
        fails(error, task, newtasks.clone3, args, 88)


def test_clone3_of_a_thread_is_made_by_clone(task):
    def thread(flags=0x3D0F00, pidfd=0, exit_signal=0, stack=0x10000, size=0x8000, more=bytes(24)):
        args = task.put(struct.pack("<8Q", flags, pidfd, 1, 2, exit_signal, stack, size, 3) + more)
        return call(task, newtasks.clone3, args, 64 + len(more))

    assert thread() == Run({0: 0x3D0F00, 1: 0x18000, 2: 2, 3: 1, 4: 3}, 56)
    assert thread(pidfd=4) == thread()                     # looked at with CLONE_PIDFD only
    for different in ({"flags": 0x3D0F00 & ~0x100}, {"flags": 0x3D0F00 | 0x1000}, {"flags": 0x3D0F00 | 17}, {"exit_signal": 17},
                      {"flags": 0x1003D0F00}, {"flags": 0x3D0F00 | 0x400000}, {"stack": 0}, {"size": 0}, {"stack": -0x8000 % 2 ** 64},
                      {"more": b"\1" + bytes(23)}):
        assert thread(**different).number is None, different
    task.seccomp = 2
    assert thread().number is None


def test_unshare_gives_an_own_working_directory(task):
    task.fs = shared = FsState(b"/", b"/tmp", 0o022)
    shared.users = 2
    assert call(task, newtasks.unshare, 0x400) is NATIVE
    assert task.fs is shared
    assert call(task, newtasks.unshare, 0x200) is NATIVE
    assert task.fs is not shared
    assert (task.fs.cwd(task), task.fs.users, shared.users) == (b"/tmp", 1, 1)


# the host name


def fields(task, buffer):
    return [field.rstrip(b"\0") for field in (task.read(buffer + 65 * at, 65) for at in range(6))]


def test_uname(task):
    buffer = task.put(bytes(390))
    assert call(task, system.uname, buffer) is NATIVE
    task.machine.hostname = b"pot"
    assert call(task, system.uname, buffer) == 0
    shown, real = fields(task, buffer), os.uname()
    assert shown[:2] == [b"Linux", b"pot"]
    assert shown[2] == os.fsencode(real.release) and shown[4] == b"x86_64"
    assert shown[5] == domain()


def domain():
    with open("/proc/sys/kernel/domainname", "rb") as file:
        return file.read().strip()


def test_only_root_names_the_machine(task):
    name = task.put(b"newname")
    fails(EPERM, task, system.sethostname, name, 3)
    root = FakeTask(root=True)
    name = root.put(b"newname")
    assert call(root, system.sethostname, name, 3) == 0
    assert root.machine.hostname == b"new"
    assert call(root, system.setdomainname, name, 7) == 0
    fails(EINVAL, root, system.sethostname, name, 65)
    buffer = root.put(bytes(390))
    call(root, system.uname, buffer)
    assert fields(root, buffer)[5] == b"newname"


def test_processors_that_the_machine_may_not_use_are_left_out(task):
    task.machine.processors = 0b0110
    mask = task.put((0b1100).to_bytes(16, "little"))
    assert call(task, processes.sched_setaffinity, INSIDE, 16, mask) == RunHere({1: 1024, 2: (0b0100).to_bytes(1024, "little")})
    fails(EINVAL, task, processes.sched_setaffinity, INSIDE, 16, task.put((0b1001).to_bytes(16, "little")))


class Count:
    def __init__(self, free):
        self.free = free

    def claim(self, tid):
        if not self.free:
            raise BlockingIOError(EAGAIN, "full")
        self.free -= 1

    def settle(self, task, result):
        self.free += 1


def test_new_tasks_are_counted(task):
    assert call(task, newtasks.fork) is NATIVE
    task.machine.task_count = count = Count(2)
    for handler in (newtasks.fork, newtasks.clone):
        answer = call(task, handler)
        assert isinstance(answer, RunHere) and (answer.args, answer.number) == ({}, None)
    fails(EAGAIN, task, newtasks.vfork)
    fails(EAGAIN, task, newtasks.clone3, task.put(bytes(88)), 88)
    answer.after(task, -1)
    assert count.free == 1
