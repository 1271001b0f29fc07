"""The window: a file mapped read-only into every guest process, into which only the supervisor writes.

It holds the seccomp programs the stub installs, areas for long argument vectors of scripts, and an argument slot for
each task that makes translated calls. A slot starts with the save area from which the stub's gadget restores the
registers; strings and structures follow.

The file is sparse. Where the file system has no room for a page that is touched, the toucher gets SIGBUS: so each part is
reserved before the supervisor uses it. Guests only read, and a fault of theirs in the stub is a miss.
"""

import mmap
import os
import struct
from errno import EFBIG, ENOMEM

from apppot.errors import AppPotError
from apppot.platform.layout import WINDOW_BASE

SLOT_SIZE = 0x4000
SAVE_AREA = 64
SLOTS, FEW_SLOTS = 4096, 256
_PROGRAMS = 0x1000
_PROGRAMS_SIZE = 0xF000
_VECTORS = 0x100000
VECTOR_SIZE = 0x400000             # a quarter of the usual stack limit (8 MiB) bounds argv and envp; 2 vectors
VECTORS = 4
_SLOTS_START = 0x2000000
SIZE = _SLOTS_START + SLOTS * SLOT_SIZE    # with all of them

_LIMITS = {EFBIG: "file sizes (ulimit -f)", ENOMEM: "address space (ulimit -v)"}

_SAVE = struct.Struct("8Q")


class Window:
    """`path` is the file's host path; it lives as long as the machine's run directory. `size`: bytes that are mapped."""

    def __init__(self, path, slots=SLOTS):
        self.path, self._slots = path, slots
        self.size = _SLOTS_START + slots * SLOT_SIZE
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, self.size)
            self._map = mmap.mmap(fd, self.size)
        except OSError as error:
            os.close(fd)
            limit = _LIMITS.get(error.errno)
            if limit is None:
                raise
            raise AppPotError(f"the caller's limit of {limit} is too low: a machine takes {self.size >> 20} MiB of it") from None
        self._fd = fd
        if not self.reserve(_PROGRAMS, _PROGRAMS_SIZE):
            raise AppPotError(f"{os.fsdecode(path)}: no room on the file system; set TMPDIR to a directory that has some")
        self._free_slots = []
        self._slots_made = 0
        self._free_vectors = list(range(VECTORS))
        self._programs_used = 0

    def reserve(self, offset, size):
        """Whether there is room for this part, which can then be written and read."""
        try:
            os.posix_fallocate(self._fd, offset, size)
        except OSError:
            return False
        return True

    @property
    def memory(self):
        """The window's own map, for the translation cache."""
        return self._map

    # -- argument slots

    def new_slot(self):
        """Offset of a free slot, or None when every one is taken, or memory is."""
        if self._free_slots:
            return self._free_slots.pop()
        if self._slots_made == self._slots:
            return None
        slot = _SLOTS_START + self._slots_made * SLOT_SIZE
        if not self.reserve(slot, SLOT_SIZE):
            return None
        self._slots_made += 1
        return slot

    def free_slot(self, slot):
        self._free_slots.append(slot)

    def save(self, slot, *words):
        """rdi rsi rdx r10 r8 r9 rbx rip: what the gadget restores."""
        _SAVE.pack_into(self._map, slot, *words)

    def saved(self, slot):
        return _SAVE.unpack_from(self._map, slot)

    def put(self, offset, data):
        """Write `data` and a NUL at `offset`; its address in the guest."""
        self._map[offset:offset + len(data) + 1] = data + b"\0"
        return WINDOW_BASE + offset

    # -- argument vectors of scripts and of sudo

    def new_vector(self):
        if not self._free_vectors or not self.reserve(_VECTORS + self._free_vectors[-1] * VECTOR_SIZE, VECTOR_SIZE):
            return None
        return _VECTORS + self._free_vectors.pop() * VECTOR_SIZE

    def free_vector(self, vector):
        try:
            self._map.madvise(mmap.MADV_REMOVE, vector, VECTOR_SIZE)
        except OSError:                        # a file system without holes
            pass
        self._free_vectors.append((vector - _VECTORS) // VECTOR_SIZE)

    # -- seccomp programs

    def put_program(self, instructions):
        """Store a classic BPF program (8 bytes an instruction) and its struct sock_fprog; the latter's address."""
        offset = _PROGRAMS + self._programs_used
        if self._programs_used + len(instructions) + 16 > _PROGRAMS_SIZE:
            raise ValueError("seccomp programs exceed their place in the window")
        self._programs_used += (len(instructions) + 16 + 15) & ~15
        header = struct.pack("HxxxxxxQ", len(instructions) // 8, WINDOW_BASE + offset + 16)
        self._map[offset:offset + 16 + len(instructions)] = header + instructions
        return WINDOW_BASE + offset

    def close(self):
        self._map.close()
        os.close(self._fd)
