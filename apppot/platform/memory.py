"""The memory of guest processes, read through /proc/PID/mem and written with process_vm_writev.

/proc/PID/mem would let us write where the guest itself may not; process_vm_writev respects page protections, so that
a read-only buffer gives EFAULT as natively. A read through an open /proc/PID/mem takes less than half the time of
process_vm_readv, but opening it takes five times as long: it pays after a few reads, which short-lived processes don't make.
"""

import ctypes
import errno
import os

from apppot.platform import libc

PATH_MAX = 4096                    # <linux/limits.h>, with the final NUL
_FIRST_READ = 256                  # most paths are shorter

_iovec = (ctypes.c_ulong * 4)()    # local {base, length}, remote {base, length}: two struct iovec
_local = ctypes.addressof(_iovec)
_remote = _local + 16
_FIRST_READS = 4                   # made without opening /proc/PID/mem
_STAGED = 8192                     # what is written is mostly short: it goes through a buffer whose address is known
_buffer = ctypes.create_string_buffer(_STAGED)
_stage, _stage_address = memoryview(_buffer).cast("B"), ctypes.addressof(_buffer)


def _fault():
    return OSError(errno.EFAULT, os.strerror(errno.EFAULT))


class Memory:
    """One address space (the kernel's mm): shared by threads and by a vfork child and its parent.

    `tid`: a task that lives in it. The supervisor sets it to the one that stopped last: others may have ended.
    `has_window`: the window was mapped in it, and so it stays there (syscalls/memory.py).
    """

    __slots__ = ("tid", "fd", "has_window", "_reads", "__weakref__")

    def __init__(self, tid, has_window=False):
        self.tid, self.has_window = tid, has_window
        self.fd = -1
        self._reads = 0

    def __del__(self):
        if self.fd >= 0:
            os.close(self.fd)

    def _open(self):
        try:
            self.fd = os.open(f"/proc/{self.tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            raise _fault() from None

    def _first_reads(self, address, length):
        """read_some() while /proc/PID/mem is not open."""
        self._reads += 1
        if self._reads > _FIRST_READS or length > _STAGED:
            self._open()
            return self.read_some(address, length)
        _iovec[0] = _stage_address
        _iovec[1] = _iovec[3] = length
        _iovec[2] = address & 0xFFFFFFFFFFFFFFFF
        got = libc.PROCESS_VM_READV(self.tid, _local, 1, _remote, 1, 0)
        return _stage[:got].tobytes() if got > 0 else b""

    def read_some(self, address, length):
        """Up to `length` bytes: fewer when the mapping ends; b"" at a bad address."""
        fd = self.fd
        if fd < 0:
            return self._first_reads(address, length)
        try:
            return os.pread(fd, length, address)
        except (OSError, OverflowError):
            return b""

    def read(self, address, length):
        """Exactly `length` bytes, else OSError EFAULT."""
        data = self.read_some(address, length)
        if len(data) != length:
            raise _fault()
        return data

    def read_path(self, address):
        """The NUL-terminated string at `address`: EFAULT, or ENAMETOOLONG from PATH_MAX on."""
        data = self.read_some(address, _FIRST_READ)
        end = data.find(0)
        if end >= 0:
            return data[:end]
        data += self.read_some(address + len(data), PATH_MAX - len(data))
        end = data.find(0)
        if end >= 0:
            return data[:end]
        if len(data) >= PATH_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        raise _fault()

    def read_string(self, address, limit):
        """Like read_path() with another limit: E2BIG when no NUL comes before it."""
        data = b""
        while len(data) < limit:
            more = self.read_some(address + len(data), min(4096, limit - len(data)))
            if not more:
                raise _fault()
            end = more.find(0)
            if end >= 0:
                return data + more[:end]
            data += more
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))

    def write(self, address, data):
        """Write where the guest itself could, else OSError EFAULT."""
        length = len(data)
        if not length:
            return
        if length <= _STAGED:
            _stage[:length] = data
            _iovec[0] = _stage_address
        else:
            data = bytes(data)
            _iovec[0] = ctypes.cast(data, ctypes.c_void_p).value
        _iovec[1] = _iovec[3] = length
        _iovec[2] = address & 0xFFFFFFFFFFFFFFFF
        if libc.PROCESS_VM_WRITEV(self.tid, _local, 1, _remote, 1, 0) != length:
            raise _fault()
