"""The few C functions that Python's os module lacks, through ctypes.

They are called with the interpreter's lock held (PyDLL): none blocks, and handing the lock over would cost more than
the calls do. Errors are OSError with the call's name.
"""

import ctypes
import errno
import os

_libc = ctypes.PyDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

SYS_EXECVEAT = 322
AT_FDCWD, AT_EXECVE_CHECK = -100, 0x10000
_words = (ctypes.c_char_p * 2)(b"", None)  # an argv of one word; its end is an empty environment

SYS_PIDFD_OPEN = 434
SYS_PIDFD_GETFD = 438

PROCESS_VM_READV, PROCESS_VM_WRITEV = _libc.process_vm_readv, _libc.process_vm_writev
for _function in (PROCESS_VM_READV, PROCESS_VM_WRITEV):
    _function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    _function.restype = ctypes.c_ssize_t

_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def syscall(name, number, *args):
    """The result of system call `number`; `name` is for the error."""
    result = _syscall(ctypes.c_long(number), *[arg if isinstance(arg, bytes) else ctypes.c_long(arg) for arg in args])
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def prctl(option, *args):
    return syscall("prctl", 157, option, *(args + (0,) * (4 - len(args))))


def pidfd_open(pid):
    return syscall("pidfd_open", SYS_PIDFD_OPEN, pid, 0)


def pidfd_getfd(pidfd, fd):
    """A duplicate of descriptor `fd` of the process behind `pidfd` (Linux 5.6)."""
    return syscall("pidfd_getfd", SYS_PIDFD_GETFD, pidfd, fd, 0)


def being_written(path):
    """Whether exec of `path` would fail with ETXTBSY; False where the kernel can't tell (before Linux 6.14)."""
    try:
        syscall("execveat", SYS_EXECVEAT, AT_FDCWD, path, ctypes.addressof(_words), ctypes.addressof(_words) + 8,
                AT_EXECVE_CHECK)
    except OSError as error:
        return error.errno == errno.ETXTBSY
    return False


def drop_capabilities():
    """Give up every capability for good (capset(2), version 3): the host's root is root only inside the machine."""
    for capability in range(64):
        try:
            prctl(24, capability)          # PR_CAPBSET_DROP; EINVAL past the last one
        except OSError:
            break
    header = ctypes.create_string_buffer(b"\x22\x05\x08\x20" + bytes(4))   # _LINUX_CAPABILITY_VERSION_3, pid 0
    none = ctypes.create_string_buffer(24)
    syscall("capset", 126, ctypes.addressof(header), ctypes.addressof(none))
