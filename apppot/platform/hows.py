"""The ways to open files that the stub may take where the filter must know them: a table of `struct open_how` in the window.

Before its ABI 3 Landlock does not see that a file is cut off, which open(2) does also for who only reads. A filter sees the flags
of openat2(2) nowhere but in memory that guests can't write: so it lets the stub make that call with a structure of this
table alone. Nothing in it is ever changed, as a task may be about to use it; when it is full, other ways stop.
"""

import os
import struct

from apppot.platform.layout import HOWS, WINDOW_BASE
from apppot.platform.registers import R10, RDX, RSI
from apppot.syscalls.table import by_name

COUNT, SIZE, PROBES = 64, 32, 8            # of stub/fast.h
_HOW = struct.Struct("<QQQQ")              # flags, mode, resolve of <linux/openat2.h>; whether it is there
_KNOWN = 0o37777703                        # O_KNOWN of stub/abi.h
_RESOLVE_NO_SYMLINKS = 4
_GOLDEN, _MASK = 0x9E3779B97F4A7C15, 0xFFFFFFFFFFFFFFFF
_CREAT = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
_ARGUMENTS = {by_name["open"].number: (RSI, RDX), by_name["openat"].number: (RDX, R10), by_name["creat"].number: (None, RSI)}


def cuts_unseen(flags):
    """Whether open(2) with these flags may cut off a file that it does not open to write. The mode 3 is neither way."""
    return bool(flags & os.O_TRUNC) and flags & os.O_ACCMODE not in (os.O_WRONLY, os.O_RDWR)


class Hows:
    """Fills the table; `memory` is the window's map."""

    def __init__(self, memory):
        self._memory, self._known = memory, set()
        _HOW.pack_into(memory, HOWS - WINDOW_BASE, os.O_CREAT, 0, _RESOLVE_NO_SYMLINKS, 1)     # all_plain() of stub/below.c

    def learn(self, number, regs):
        """System call `number` with these registers has missed: if it opens a file, the stub may do so next time."""
        where = _ARGUMENTS.get(number)
        if where is not None:
            flags, mode = where
            self._put(_CREAT if flags is None else regs[flags] & _KNOWN, regs[mode] & 0o7777)

    def _put(self, flags, mode):
        how = flags, mode if flags & os.O_CREAT else 0
        if how in self._known or cuts_unseen(flags) or len(self._known) > COUNT:
            return
        self._known.add(how)
        first = (how[0] * 31 + how[1]) * _GOLDEN & _MASK
        for probe in range(PROBES):
            place = HOWS - WINDOW_BASE + ((first >> 58) + probe) % COUNT * SIZE
            if not _HOW.unpack_from(self._memory, place)[3]:
                _HOW.pack_into(self._memory, place, *how, _RESOLVE_NO_SYMLINKS, 0)
                _HOW.pack_into(self._memory, place, *how, _RESOLVE_NO_SYMLINKS, 1)
                return
