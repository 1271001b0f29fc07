"""Copies of the dynamic loader and the C library whose path calls jump to the stub's fast path.

In a copy the `mov $NR, %eax` before a `syscall` is replaced by a jump to a trampoline; the `syscall` stays, so a jump to
it, and a miss, still trap. The trampolines are a segment of their own at the end of the file, for which a PT_NOTE
header is given up (elf(5)); so the loader maps them with the library and the pages are shared by all processes. Only
the loader is given a copy, when it loads the library; whoever reads the file otherwise reads the original.

The copies lie in the cache, named by what the original's inode says, and are made once.
"""

import os
import re
import struct
import zlib

from apppot.platform.layout import FAST_ENTRY
from apppot.syscalls.table import by_name

_CALLS = ("open", "stat", "lstat", "access", "readlink", "openat", "newfstatat", "readlinkat", "faccessat", "statx",
          "getdents64", "getcwd")
_NUMBERS = [by_name[name].number for name in _CALLS]
NUMBERS = frozenset(_NUMBERS)
_SITE = re.compile(b"\xb8(?:" + b"|".join(re.escape(struct.pack("<I", number)) for number in _NUMBERS) + b")\x0f\x05",
                   re.DOTALL)
_VERSION = 2                               # of what patch() makes: copies of older versions are not used
_TRAMPOLINE_SIZE = 32
_PAGE = 4096
_PT_LOAD, _PT_NOTE = 1, 4
_PF_R, _PF_X = 4, 1
_PHDR = struct.Struct("<IIQQQQQQ")
_LARGEST = 64 << 20


class PatchedLibraries:
    """`directory`: host directory of the copies; `cached`: what host paths in the cache begin with: such a path tells
    the image, while inodes of removed trees come again; `known`: {host path of a copy: host path of the original}."""

    def __init__(self, directory, cached=()):
        self.directory = directory
        self.cached = tuple(cached)
        self.known = {}
        self._copies = {}

    def copy_of(self, host):
        """Host path of the patched copy of library `host`, or None when there is nothing to patch."""
        if host not in self._copies:
            try:
                self._copies[host] = self._make(host)
            except (OSError, struct.error):
                self._copies[host] = None
        return self._copies[host]

    def _make(self, host):
        status = os.stat(host)
        if status.st_size > _LARGEST:
            return None
        name = b"%x-%x-%x-%x-%x-%d" % (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, FAST_ENTRY,
                                       _VERSION)
        if host.startswith(self.cached):
            name += b"-%08x" % zlib.crc32(host)
        path = self.directory + b"/" + name
        if not os.path.exists(path):
            with open(host, "rb") as file:
                image = patch(bytearray(file.read()))
            if image is None:
                return None
            os.makedirs(self.directory, 0o700, exist_ok=True)
            new = b"%s.%d" % (path, os.getpid())
            with open(new, "wb") as file:
                file.write(image)
            os.chmod(new, 0o755)
            os.rename(new, path)
        self.known[path] = host
        return path


def patch(image):
    """The patched file, or None: no sites, or no header to spare."""
    phoff, = struct.unpack_from("<Q", image, 32)
    phnum, = struct.unpack_from("<H", image, 56)
    headers = [_PHDR.unpack_from(image, phoff + index * _PHDR.size) for index in range(phnum)]
    loads = [header for header in headers if header[0] == _PT_LOAD]
    last_load = max(index for index, header in enumerate(headers) if header[0] == _PT_LOAD)
    spare = [index for index, header in enumerate(headers) if header[0] == _PT_NOTE and index > last_load]
    sites = [(match.start(), load) for load in loads if load[1] & _PF_X
             for match in _SITE.finditer(image, load[2], load[2] + load[5])]
    if not spare or not sites:
        return None
    offset = len(image) + _PAGE - 1 & -_PAGE
    address = max(load[3] + load[6] for load in loads) + _PAGE - 1 & -_PAGE
    image += bytes(offset - len(image))
    for number, (site, load) in enumerate(sites):
        site_address = site - load[2] + load[3]
        place = address + number * _TRAMPOLINE_SIZE
        image += _trampoline(image[site:site + 5], place, site_address + 5)
        image[site:site + 5] = b"\xe9" + struct.pack("<i", place - site_address - 5)
    size = len(sites) * _TRAMPOLINE_SIZE
    _PHDR.pack_into(image, phoff + spare[-1] * _PHDR.size, _PT_LOAD, _PF_R | _PF_X, offset, address, address, size, size,
                    _PAGE)
    return image


def _trampoline(mov, place, syscall):
    """mov $NR, %eax; lea the site's `syscall`, %rcx; movabs $fast_entry, %r11; jmp *%r11"""
    lea = b"\x48\x8d\x0d" + struct.pack("<i", syscall - place - 12)
    return (bytes(mov) + lea + b"\x49\xbb" + struct.pack("<Q", FAST_ENTRY) + b"\x41\xff\xe3").ljust(_TRAMPOLINE_SIZE, b"\xcc")
