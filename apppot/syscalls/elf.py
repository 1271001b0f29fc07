"""What exec needs to know of an ELF file: read by hand, because exec is too frequent for a full parser.

Layout and names: elf(5). Tests compare it with pyelftools.
"""

import os
import struct
from errno import EIO, ENOEXEC

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")

EI_CLASS, ELFCLASS32, ELFCLASS64 = 4, 1, 2
ET_EXEC, ET_DYN = 2, 3
EM_386, EM_X86_64 = 3, 62
PT_LOAD, PT_INTERP, PT_NOTE, PT_PHDR, PT_GNU_STACK = 1, 3, 4, 6, 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4

HEADER_SIZE = 4096                 # read at once; program headers nearly always lie within
_MAX_PHDRS = 4096 // _PHDR.size * 16
_GO_NOTE = b"\4\0\0\0Go\0\0"       # type and name: ELF_NOTE_GOBUILDID_TAG of src/cmd/link/internal/ld/elf.go
_NOTES = 4096                      # bytes of a PT_NOTE that are looked at


class WrongMachine(OSError):
    """ENOEXEC for a program of another architecture or word size; `kind` says which."""

    def __init__(self, kind):
        super().__init__(ENOEXEC, kind)
        self.kind = kind


class Segment:
    """A PT_LOAD: addresses and sizes in bytes, `protection` as for mmap(2)."""

    __slots__ = ("address", "offset", "file_size", "memory_size", "protection", "align")

    def __init__(self, address, offset, file_size, memory_size, flags, align):
        self.address, self.offset, self.file_size, self.memory_size = address, offset, file_size, memory_size
        self.align = max(align, 4096)
        self.protection = (flags & PF_R and 1) | (flags & PF_W and 2) | (flags & PF_X and 4)


class Elf:
    """`interpreter` is the PT_INTERP path or None; `headers` the address of the program headers before relocation.

    `exec_stack`: the stack is to be executable; a file that does not say so has none, as in Linux 5.8 and later.
    `of_go`: Go's linker made it.
    """

    __slots__ = ("position_independent", "entry", "headers", "header_count", "segments", "interpreter", "exec_stack",
                 "of_go")

    def span(self):
        """(lowest page, size) of what the segments cover."""
        low = min(segment.address for segment in self.segments) & ~4095
        high = max(segment.address + segment.memory_size for segment in self.segments)
        return low, (high - low + 4095) & ~4095

    def with_segment(self, segment):
        """The same and one more Segment, of which its own program headers say nothing."""
        other = Elf()
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.segments = self.segments + [segment]
        return other


def parse(fd, start):
    """The Elf behind descriptor `fd`, whose first HEADER_SIZE bytes are `start`. OSError ENOEXEC when it isn't one."""
    if len(start) < _EHDR.size or start[:4] != b"\x7fELF":
        raise OSError(ENOEXEC, os.strerror(ENOEXEC))
    if start[EI_CLASS] == ELFCLASS32:
        raise WrongMachine("a 32-bit program")
    ident, kind, machine, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _ = _EHDR.unpack_from(start)
    if machine != EM_X86_64:
        raise WrongMachine(f"a program for another processor (ELF machine {machine})")
    if kind not in (ET_EXEC, ET_DYN) or phentsize != _PHDR.size or not 0 < phnum <= _MAX_PHDRS:
        raise OSError(ENOEXEC, os.strerror(ENOEXEC))
    table = start[phoff:phoff + phnum * phentsize]
    if len(table) < phnum * phentsize:
        table = os.pread(fd, phnum * phentsize, phoff) if phoff < 1 << 62 else b""
        if len(table) < phnum * phentsize:
            raise OSError(ENOEXEC, os.strerror(ENOEXEC))
    elf = Elf()
    elf.position_independent = kind == ET_DYN
    elf.entry, elf.header_count = entry, phnum
    elf.segments, elf.interpreter, elf.exec_stack, elf.headers = [], None, False, 0
    elf.of_go = False
    for index in range(phnum):
        _read_header(elf, fd, start, phoff, _PHDR.unpack_from(table, index * phentsize))
    if not elf.segments or any(s.address + s.memory_size >= 1 << 47 or s.offset >= 1 << 62 for s in elf.segments):
        raise OSError(ENOEXEC, os.strerror(ENOEXEC))
    return elf


def has_go_note(data, offset, size):
    """Whether a PT_NOTE, `size` bytes at data[offset], tells Go's identification of a build."""
    return data.find(_GO_NOTE, offset, offset + min(size, _NOTES)) >= 0


def _read_header(elf, fd, start, phoff, header):
    kind, flags, offset, address, _, file_size, memory_size, align = header
    if kind == PT_LOAD and memory_size:
        if file_size > memory_size or (address - offset) % 4096:
            raise OSError(ENOEXEC, os.strerror(ENOEXEC))
        elf.segments.append(Segment(address, offset, file_size, memory_size, flags, align))
        if offset <= phoff < offset + file_size:
            elf.headers = address + phoff - offset
    elif kind == PT_INTERP:
        if not 2 <= file_size <= 4096:
            raise OSError(ENOEXEC, os.strerror(ENOEXEC))
        name = start[offset:offset + file_size]
        if len(name) < file_size:
            name = os.pread(fd, file_size, offset)
        if len(name) < file_size:
            raise OSError(EIO, os.strerror(EIO))
        if name[-1]:
            raise OSError(ENOEXEC, os.strerror(ENOEXEC))
        elf.interpreter = name.split(b"\0", 1)[0]
    elif kind == PT_GNU_STACK:
        elf.exec_stack = bool(flags & PF_X)
    elif kind == PT_NOTE:
        elf.of_go = elf.of_go or has_go_note(start, offset, file_size)     # linkers put it next to the headers
