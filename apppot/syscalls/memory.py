"""Calls that could take the window out of a process's memory, or put something else in its place.

What the supervisor has checked, the kernel must use: so the addresses at which the window stands are the supervisor's for as
long as the process lives. The filter lets calls pass whose arguments say that they are far away.
"""

from errno import EINVAL, EPERM

from apppot.syscalls.answer import NATIVE
from apppot.syscalls.decode import Int, Ptr, U64
from apppot.syscalls.paths import error

_PAGE = 4096
_TOP = 1 << 64
_PROT_READ, _MAP_SHARED, _MAP_FIXED = 1, 1, 0x10
_MREMAP_FIXED = 2
_MADV_DONTFORK = 10


def touches(task, address, length):
    """Whether pages of [address, address + length) are the window's. A hint of mmap is rounded up, all else down."""
    start, end = task.machine.window_range
    behind = _pages(address) + _pages(length)
    return address < end and behind > start or behind >= _TOP


def _pages(size):
    """Rounded up to whole pages."""
    return size + _PAGE - 1 & -_PAGE


def mmap(task, address: Ptr, length: U64, protection: Int, flags: Int, fd: Int, offset: U64):
    if not address and not flags & _MAP_FIXED or not touches(task, address, length):
        return NATIVE
    start, end = task.machine.window_range
    memory = task.memory
    if not memory.has_window and (address, length, protection, flags, offset) == (
            start, end - start, _PROT_READ, _MAP_SHARED | _MAP_FIXED, 0) and task.machine.is_window(task, fd):
        memory.has_window = True               # the stub's own call in a new process
        return NATIVE
    raise error(EPERM)


def munmap(task, address: Ptr, length: U64):
    if touches(task, address, length):
        raise error(EPERM)
    return NATIVE


def mremap(task, address: Ptr, length: U64, new_length: U64, flags: Int, new_address: Ptr):
    # Where a mapping grows in its place it never takes anything that is there; length 0 maps shared memory once more.
    if touches(task, address, max(length, _PAGE)):
        raise error(EPERM)
    if flags & _MREMAP_FIXED and touches(task, new_address, new_length):
        raise error(EPERM)
    return NATIVE


def madvise(task, address: Ptr, length: U64, advice: Int):
    if advice == _MADV_DONTFORK and touches(task, address, length):
        raise error(EINVAL)
    return NATIVE
