"""The system calls of names that Python's os module lacks, through ctypes. Numbers are those of all 64-bit tables."""

import ctypes
from errno import ENOSYS
import os

_libc = ctypes.PyDLL(None, use_errno=True)  # none of these waits, so the interpreter's lock is kept
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_long = ctypes.c_long

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20

O_PATH = os.O_PATH
O_TMPFILE = os.O_TMPFILE
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2


class OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_int64), ("nsec", ctypes.c_int64)]


def check(result):
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def beneath(flags):
    """A function (directory fd, relative path) -> (fd, 0) or (-1, errno) that opens below a directory.

    No symlink is followed on the way, and a symlink at the end is opened itself.
    """
    how = OpenHow(flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    address, size, number = ctypes.byref(how), _long(ctypes.sizeof(how)), _long(437)

    def open_beneath(directory, path, _hold=how):
        fd = _syscall(number, directory, path, address, size)
        if fd >= 0:
            return fd, 0
        code = ctypes.get_errno()
        if code == ENOSYS:
            return _component_wise(directory, path, flags)
        return -1, code

    return open_beneath


def pin(host):
    """(descriptor, 0) or (-1, errno): O_PATH of an absolute path that holds no symlink."""
    top = os.open(b"/", O_PATH | os.O_CLOEXEC)
    try:
        return beneath(O_PATH)(top, host.lstrip(b"/"))
    finally:
        os.close(top)


def _component_wise(directory, path, flags):
    """What openat2 does, one component at a time, for kernels before 5.6."""
    from errno import ELOOP
    from stat import S_ISLNK
    fd = os.dup(directory)
    names = path.split(b"/")
    try:
        for index, name in enumerate(names):
            last = index == len(names) - 1
            below = os.open(name, (flags if last else O_PATH) | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = below
            if not last and S_ISLNK(os.fstat(fd).st_mode):
                os.close(fd)
                return -1, ELOOP
    except OSError as error:
        os.close(fd)
        return -1, error.errno
    return fd, 0


def renameat2(old_fd, old, new_fd, new, flags):
    check(_syscall(_long(316), _long(old_fd), old, _long(new_fd), new, _long(flags)))


def utimensat(path, atime_ns, mtime_ns):
    """Set times of `path`, not followed. None keeps one, UTIME_NOW is the present."""
    if atime_ns == UTIME_NOW and mtime_ns == UTIME_NOW:
        times = None  # allowed to everyone who may write
    else:
        times = ctypes.byref((Timespec * 2)(_timespec(atime_ns), _timespec(mtime_ns)))
    check(_libc.utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW))


def _timespec(nanoseconds):
    if nanoseconds is None:
        return Timespec(0, UTIME_OMIT)
    if nanoseconds == UTIME_NOW:
        return Timespec(0, UTIME_NOW)
    return Timespec(*divmod(nanoseconds, 1000000000))


def faccess(path, amode):
    """access(2) with the effective ids; a symlink is not followed."""
    result = _syscall(_long(439), _long(AT_FDCWD), path, _long(amode), _long(AT_SYMLINK_NOFOLLOW | AT_EACCESS))
    if result == -1 and ctypes.get_errno() == ENOSYS:
        result = _libc.faccessat(AT_FDCWD, path, amode, AT_SYMLINK_NOFOLLOW | AT_EACCESS)
    check(result)


def chmod(path, mode):
    """Change the mode of `path`; a symlink is not followed."""
    if _syscall(_long(452), _long(AT_FDCWD), path, _long(mode), _long(AT_SYMLINK_NOFOLLOW)) == 0:   # fchmodat2, Linux 6.6
        return
    code = ctypes.get_errno()
    if code != ENOSYS:
        raise OSError(code, os.strerror(code))
    fd = os.open(path, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.chmod(b"/proc/self/fd/%d" % fd, mode)
    finally:
        os.close(fd)


def truncate(path, size):
    """Change the size of the regular file `path`; a symlink is not followed."""
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
