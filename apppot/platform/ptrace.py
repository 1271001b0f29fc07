"""ptrace(2) as the supervisor uses it: one register buffer, no allocation for each stop.

Constants are those of <linux/ptrace.h>. A request that fails because the task is gone (killed by SIGKILL or a
thread's exec while it was stopped) raises TaskGone; the loop then waits for the task's exit status.
"""

import ctypes

from apppot.platform import registers

_PEEKUSER, _CONT, _SETREGS, _GETREGS, _SYSCALL = 3, 7, 13, 12, 24
_GETEVENTMSG, _GETSIGINFO, _SETSIGINFO, _SEIZE, _INTERRUPT, _LISTEN = 0x4201, 0x4202, 0x4203, 0x4206, 0x4207, 0x4208

EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_EXIT, EVENT_SECCOMP, EVENT_STOP = 1, 2, 3, 4, 6, 7, 128
_OPTIONS = (1 | 1 << EVENT_FORK | 1 << EVENT_VFORK | 1 << EVENT_CLONE | 1 << EVENT_EXEC | 1 << EVENT_SECCOMP
            | 1 << 20)             # TRACESYSGOOD, the events, EXITKILL

WALL = 0x40000000                  # __WALL of waitpid(2): children of every kind

# In struct user of <sys/user.h>, which begins with the registers.
_RIP_OFFSET, _ORIG_RAX_OFFSET = registers.RIP * 8, registers.ORIG_RAX * 8

# Without errno: a failing request on a task of ours means that it is gone, and swapping errno costs 0.2 µs a call.
_ptrace = ctypes.PyDLL(None).ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_void_p]
_ptrace.restype = ctypes.c_long


class TaskGone(Exception):
    """The task died while it was stopped."""


class Tracer:
    """Requests on stopped tasks. `regs` is the register buffer: get() fills it, set() writes it back."""

    def __init__(self):
        self._buffer = ctypes.create_string_buffer(registers.COUNT * 8)
        self._address = ctypes.addressof(self._buffer)
        self.regs = memoryview(self._buffer).cast("B").cast("Q")
        self._word = ctypes.c_ulong()
        self._word_address = ctypes.addressof(self._word)
        self._siginfo = ctypes.create_string_buffer(128)
        self._siginfo_address = ctypes.addressof(self._siginfo)

    def seize(self, pid, exits=False):
        """Attach to `pid` without stopping it. OSError when the host forbids it. exits: tasks also stop when they end."""
        with_errno = ctypes.CDLL(None, use_errno=True).ptrace
        with_errno.argtypes, with_errno.restype = _ptrace.argtypes, ctypes.c_long
        if with_errno(_SEIZE, pid, 0, _OPTIONS | (1 << EVENT_EXIT if exits else 0)) < 0:
            code = ctypes.get_errno()
            raise OSError(code, "ptrace")

    def get(self, tid):
        if _ptrace(_GETREGS, tid, 0, self._address) < 0:
            raise TaskGone(tid)

    def set(self, tid):
        if _ptrace(_SETREGS, tid, 0, self._address) < 0:
            raise TaskGone(tid)

    def instruction_pointer(self, tid):
        """Of a stopped task, at half the price of get(); of one that is gone -1, which no program has."""
        return _ptrace(_PEEKUSER, tid, _RIP_OFFSET, 0)

    def in_call(self, tid):
        """Whether a stopped task is in a system call, at the same price; of one that is gone False."""
        return _ptrace(_PEEKUSER, tid, _ORIG_RAX_OFFSET, 0) >= 0

    def cont(self, tid, signal=0):
        if _ptrace(_CONT, tid, 0, signal) < 0:
            raise TaskGone(tid)

    def cont_to_exit_stop(self, tid, signal=0):
        """Go on, and stop at the end of the system call under way or the next."""
        if _ptrace(_SYSCALL, tid, 0, signal) < 0:
            raise TaskGone(tid)

    def listen(self, tid):
        """Leave the task in its group stop until SIGCONT."""
        if _ptrace(_LISTEN, tid, 0, 0) < 0:
            raise TaskGone(tid)

    def interrupt(self, tid):
        if _ptrace(_INTERRUPT, tid, 0, 0) < 0:
            raise TaskGone(tid)

    def signal_code(self, tid):
        """si_code of the signal that is about to be delivered (sigaction(2)): positive when the kernel sends it."""
        if _ptrace(_GETSIGINFO, tid, 0, self._siginfo_address) < 0:
            raise TaskGone(tid)
        return int.from_bytes(self._siginfo[8:12], "little", signed=True)

    def event_message(self, tid):
        if _ptrace(_GETEVENTMSG, tid, 0, self._word_address) < 0:
            raise TaskGone(tid)
        return self._word.value
