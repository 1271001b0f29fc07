"""Copies of dynamic loaders, C libraries, static programs and programs in Go whose path calls jump to the stub's fast path.

The trampolines (platform/trampolines.py) are a segment of their own at the end of the file, so whoever loads the copy maps
them with it and the pages are shared by all processes. In a library its program header takes the place of a PT_NOTE
(elf(5)); of a file that the stub loads the headers stay as they are. Only the loader is given a copy, when it loads the
file; whoever reads the file otherwise reads the original.
"""

import os
import stat
import struct
import time
import zlib

from apppot.image import copies
from apppot.platform import trampolines
from apppot.platform.layout import FAST_CHECKED, FAST_ENTRY, FAST_LENT
from apppot.syscalls.elf import Segment, has_go_note
from apppot.syscalls.table import numbers

_CALLS = ("open", "stat", "lstat", "access", "readlink", "openat", "newfstatat", "readlinkat", "faccessat", "statx",
          "getdents64", "getcwd", "creat", "faccessat2", "mkdir", "mkdirat", "unlink", "unlinkat", "rename", "renameat",
          "renameat2", "link", "linkat", "fstat", "getxattr", "lgetxattr", "listxattr", "llistxattr",
          "fgetxattr", "flistxattr", "statfs", "execve", "uname", "getsockname", "getpeername")
NUMBERS = numbers(*_CALLS)
_FORMAT = 6                                # of what patch() makes: copies of other formats are not used
VERSION = zlib.crc32(repr((_FORMAT, sorted(NUMBERS), FAST_ENTRY, FAST_CHECKED, FAST_LENT)).encode())
_PAGE = 4096
_PT_LOAD, _PT_NOTE = 1, 4
_PF_R, _PF_X = 4, 1
_PHDR = struct.Struct("<IIQQQQQQ")
_LARGEST = 64 << 20
_ASKED = 1024                              # files of which it is remembered that they were asked for
_CLOCK_REALTIME_COARSE = 5                 # <linux/time.h>: what the kernel takes the time stamps of files from
_LIBRARY, _PROGRAM = range(2)              # who loads it: the guest's dynamic loader, or the stub


class _Known:
    """What was found for one state of a file: `copy` (a copies.Copy) and the descriptor of its lock, or None."""

    __slots__ = ("state", "copy", "lock")

    def __init__(self, state, copy=None, lock=None):
        self.state, self.copy, self.lock = state, copy, lock

    def close(self):
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


class Patched:
    """The patched copies that a machine hands out, in host directory `directory`.

    `room`: bytes that all may take, or None: then each is to stay for later machines. With `room` a file that was made or
    changed since is copied only when it is asked for the second time: many programs that users compile run once, as those of
    configure scripts do. A copy goes when its file was changed. `cached`: what host paths in the
    cache begin with: such a path tells the image, while inodes of removed trees come again.
    """

    def __init__(self, directory, room=None, cached=()):
        self.directory, self.room, self.cached = directory, room, tuple(cached)
        self._known = {}
        self._asked = {}
        self._begun = time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
        self._place = _identity(directory)

    def library(self, host):
        """Host path of the copy of shared library `host`; None when there is nothing to patch or it can't be."""
        copy = self._copy_of(host, _LIBRARY)
        return None if copy is None else copy.path

    def program(self, host):
        """(host path, Segment of the trampolines) of the copy of `host`, which the stub loads, or None."""
        copy = self._copy_of(host, _PROGRAM)
        if copy is None:
            return None
        size = copy.sites * trampolines.TRAMPOLINE_SIZE
        return copy.path, Segment(copy.address, copy.contents - size, size, size, _PF_R | _PF_X, _PAGE)

    def counts(self):
        """[(host path of the original, sites patched, sites that can't be)] of the files that were asked for."""
        return sorted((host, known.copy.sites, known.copy.others) for (host, _), known in self._known.items()
                      if known.copy is not None)

    def close(self):
        """The copies may be removed."""
        for known in self._known.values():
            known.close()
        self._known.clear()

    def _copy_of(self, host, kind):
        try:
            status = os.stat(host)
        except OSError:
            return None
        key, state = (host, kind), copies.name(status, self._version(host, kind))
        known = self._known.get(key)
        if known is None or known.state != state:
            known = self._find(key, status, state, known)
            if known is None:
                return None
            self._known[key] = known
        copy = known.copy
        if copy is None or not copy.contents:
            return None
        if not copy.there:                 # somebody emptied the cache by hand
            known.close()
            del self._known[key]
            return None
        return copy

    def _check_place(self):
        """ValueError when another directory has taken the place of ours: Landlock shows it to no guest of this machine."""
        now = _identity(self.directory)
        self._place = self._place or now
        if now is not None and now != self._place:
            raise ValueError("another directory")

    def _version(self, host, kind):
        return zlib.crc32(host, VERSION + kind) if host.startswith(self.cached) else VERSION + kind

    def _find(self, key, status, state, former):
        """The _Known of a file that was not asked for in this state; None: not yet."""
        if self.room is not None and status.st_ctime_ns >= self._begun and self._asked.get(key) != state:
            if len(self._asked) == _ASKED:
                self._asked.clear()
            self._asked[key] = state
            return None
        if former is not None:
            self._drop(former)
        path = self.directory + b"/" + state
        try:
            try:
                self._check_place()
                return _Known(state, *copies.hold(path))
            except OSError:
                self._make(*key, status, path)
                held = _Known(state, *copies.hold(path))
        except (OSError, struct.error, ValueError, IndexError):
            return _Known(state)           # no space, no permission, no ELF file
        if self.room is not None:
            self.room -= held.copy.size
            held.close()                   # nobody else frees what is in the run directory
        return held

    def _drop(self, former):
        former.close()
        if self.room is None or former.copy is None:
            return
        self.room += former.copy.size
        try:
            os.unlink(former.copy.path)
        except FileNotFoundError:          # the same file under two names
            return

    def _make(self, host, kind, status, path):
        if status.st_size > (_LARGEST if self.room is None else min(self.room, _LARGEST)):
            raise ValueError("too large")
        fd = os.open(host, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            now = os.fstat(fd)
            if copies.name(now, 0) != copies.name(status, 0) or not stat.S_ISREG(now.st_mode):
                raise ValueError("no regular file, or being written")
            image = bytearray(file.read(status.st_size))
        os.makedirs(self.directory, 0o700, exist_ok=True)
        self._check_place()
        copies.store(path, host, *patch(image, kind == _PROGRAM))


def _identity(directory):
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def patch(image, by_stub=False):
    """(the patched file, address of its trampolines, how many sites, how many others it has).

    The file is empty when no site is known or there is no place for them. by_stub: whether the stub loads the file, else
    the guest's own dynamic loader does, for which a program header is written.
    """
    from apppot.platform import sites      # its patterns take time, and most files were patched long ago
    phoff, = struct.unpack_from("<Q", image, 32)
    phnum, = struct.unpack_from("<H", image, 56)
    headers = [_PHDR.unpack_from(image, phoff + index * _PHDR.size) for index in range(phnum)]
    loads = [header for header in headers if header[0] == _PT_LOAD]
    of_go = any(header[0] == _PT_NOTE and has_go_note(image, header[2], header[5]) for header in headers)
    found, others, scanned = [], 0, 0
    for load in loads:
        if load[1] & _PF_X:
            if load[2] < scanned:
                raise ValueError("segments overlap")
            scanned = min(load[2] + load[5], len(image))
            known, unknown = sites.find(image, load[2], scanned, NUMBERS, of_go)
            found += [(site, load[3] - load[2]) for site in known]
            others += len(unknown)
            sites.without_clone3(image, load[2], scanned)
    spare = _spare_header(headers)
    offset = len(image) + _PAGE - 1 & -_PAGE
    address = max(load[3] + load[6] for load in loads) + _PAGE - 1 & -_PAGE
    if not found or (spare is None and not by_stub):
        return b"", 0, 0, others + len(found)
    image += bytes(offset - len(image))
    for number, (site, shift) in enumerate(found):
        place = address + number * trampolines.TRAMPOLINE_SIZE
        image += trampolines.trampoline(image, site, place, site.syscall + shift)
        image[site.start:site.start + site.displaced] = trampolines.jump(site, site.start + shift, place)
    if not by_stub:
        size = len(image) - offset
        _PHDR.pack_into(image, phoff + spare * _PHDR.size, _PT_LOAD, _PF_R | _PF_X, offset, address, address, size, size,
                        _PAGE)
    return image, address, len(found), others


def _spare_header(headers):
    """Index of a PT_NOTE behind the last PT_LOAD, since these have to be in the order of their addresses; or None."""
    last = max(index for index, header in enumerate(headers) if header[0] == _PT_LOAD)
    return max((index for index, header in enumerate(headers) if header[0] == _PT_NOTE and index > last), default=None)
