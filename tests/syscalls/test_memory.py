"""The window stays where it is."""

from errno import EINVAL, EPERM

import pytest

from apppot.platform.layout import WINDOW_BASE
from apppot.platform.window import SIZE
from apppot.syscalls import memory, table
from apppot.syscalls.answer import NATIVE
from tests.syscalls.fake_task import FakeTask, call, fails

END = WINDOW_BASE + SIZE
FIXED, PRIVATE = 0x10, 2


@pytest.fixture
def task():
    made = FakeTask()
    assert made.machine.window_range == (WINDOW_BASE, END)
    return made


def test_the_filter_knows_where_the_window_is():
    assert table.NEAR_WINDOW == (WINDOW_BASE - 1 >> 32, END >> 32)


@pytest.mark.parametrize("address, length", [
    (WINDOW_BASE, 4096), (WINDOW_BASE - 4096, 8192), (END - 1, 1), (0x10000, 1 << 47), (WINDOW_BASE - 1, 1),
    (0x400000, (1 << 64) - 0x400000), ((1 << 64) - 4096, 8192),
])
def test_nothing_takes_its_place(task, address, length):
    fails(EPERM, task, memory.munmap, address, length)
    fails(EPERM, task, memory.mmap, address, length, 3, FIXED | PRIVATE, -1, 0)
    fails(EPERM, task, memory.mmap, address, length, 3, PRIVATE, -1, 0)      # a hint is followed where nothing is
    fails(EPERM, task, memory.mremap, address, max(length, 1), 4096, 1, 0)
    fails(EPERM, task, memory.mremap, 0x400000, 4096, max(length, 1), 3, address)
    fails(EINVAL, task, memory.madvise, address, length, 10)


def test_elsewhere_the_kernel_decides(task):
    for address, length in ((0, 1 << 40), (END + 4096, 4096), (WINDOW_BASE - 4096, 4096)):
        assert call(task, memory.mmap, address, length, 3, PRIVATE, -1, 0) is NATIVE
    assert call(task, memory.munmap, 0x400000, 1 << 33) is NATIVE
    assert call(task, memory.mremap, 0x400000, 4096, 1 << 33, 1, 0) is NATIVE
    assert call(task, memory.madvise, 0x400000, 4096, 10) is NATIVE


def test_the_loader_maps_it_once(task, monkeypatch):
    task.memory.has_window = False
    wanted = (WINDOW_BASE, SIZE, 1, FIXED | 1, 3, 0)
    fails(EPERM, task, memory.mmap, *wanted)                                # another file
    monkeypatch.setattr(task.machine, "is_window", lambda task, fd: fd == 3)
    for at, wrong in ((1, SIZE - 4096), (2, 3), (3, FIXED | PRIVATE), (4, 4), (5, 4096)):
        fails(EPERM, task, memory.mmap, *wanted[:at], wrong, *wanted[at + 1:])
    assert call(task, memory.mmap, *wanted) is NATIVE and task.memory.has_window
    fails(EPERM, task, memory.mmap, *wanted)
