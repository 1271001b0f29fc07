"""The code that a patched call site (platform/sites.py) jumps to, and that hands its calls to the stub.

Opcodes: Intel's Software Developer's Manual, volume 2.
"""

import struct

from apppot.platform.layout import FAST_CHECKED, FAST_ENTRY, FAST_LENT

JUMP_SIZE = 5
TRAMPOLINE_SIZE = 64
_TAIL = struct.Struct("<3si2sQ3s")         # lea the site's `syscall`, %rcx; movabs $entry, %r11; jmp *%r11
_LEA, _MOVABS, _JUMP = b"\x48\x8d\x0d", b"\x49\xbb", b"\x41\xff\xe3"
MOST_COPIED = TRAMPOLINE_SIZE - _TAIL.size # bytes of a site's instructions


def trampoline(code, site, place, syscall):
    """The trampoline of `site` at address `place`; `syscall`: address of the site's `syscall`. TRAMPOLINE_SIZE bytes."""
    copied = bytes(code[site.start:site.syscall])
    distance = syscall - place - len(copied) - len(_LEA) - 4
    return (copied + _TAIL.pack(_LEA, distance, _MOVABS, site.entry, _JUMP)).ljust(TRAMPOLINE_SIZE, b"\xcc")


def jump(site, address, place):
    """What displaces the site's bytes: a jump from `address` to `place`."""
    return (b"\xe9" + struct.pack("<i", place - address - JUMP_SIZE)).ljust(site.displaced, b"\x90")


def read_trampoline(code, place):
    """(address of the site's `syscall`, length of the copied instructions) of the trampoline `code` at `place`, or None."""
    end = code.find(_JUMP)
    at = end + len(_JUMP) - _TAIL.size
    if end < 0 or at < 0:
        return None
    lea, distance, movabs, entry, _ = _TAIL.unpack_from(code, at)
    if lea != _LEA or movabs != _MOVABS or entry not in (FAST_ENTRY, FAST_CHECKED, FAST_LENT):
        return None
    return place + at + len(_LEA) + 4 + distance, at
