"""Call sites whose calls can go to the stub's fast path, by way of trampolines (platform/trampolines.py).

A site is instructions that do nothing but set registers, then `syscall`. Some of the former, five bytes or more, are
displaced by a jump to a trampoline; it carries out copies of them and of all up to the `syscall`, whose address it
hands to the stub. The `syscall` stays: a jump to it or to what stands before it works and traps as ever, and so does
the call that the stub can't answer. Four forms are known:

* `mov $NR, %eax` with a number that the fast path knows, then moves up to the `syscall`: the `mov` is displaced;
* functions that make any call, by the moves of their arguments, which every version of them has: the load of the sixth
  argument in glibc's syscall() and musl's __syscall_cp, the last two loads of musl's syscall();
* musl's __syscall_cp_asm, the store that is its last instruction before the `syscall`. A signal that interrupts the
  trampoline finds the task at the site (kernel/interrupted.py), so that the function's cancellation works as ever;
* Go's functions that make any call, written in assembly: from Go 1.19 on Syscall6 alone, by its moves (asm_linux_amd64.s in
  src/runtime/internal/syscall, later in src/internal/runtime/syscall); before that Syscall, Syscall6 and the Raw ones, which
  load the number last (src/syscall/asm_linux_amd64.s).

Go's system calls are made on a goroutine's stack, of which some 500 bytes are free (the linker's limit for chains of
nosplit functions is 800), and the fast path takes more than 2 KiB. So their trampolines lead to where the stub takes one
of its own stacks, and so do those of all sites in a file with code of Go's. That costs the flags, so a comparison must
follow the `syscall`.

Opcodes: Intel's Software Developer's Manual, volume 2.
"""

import re
import struct
from errno import ENOSYS

from apppot.platform.layout import FAST_CHECKED, FAST_ENTRY, FAST_LENT
from apppot.platform.trampolines import JUMP_SIZE, MOST_COPIED

_MOST = 4096                               # sites of a file; C libraries have some hundred. A file of nothing else would fill the memory
_SYSCALL = b"\x0f\x05"
_RAX, _RSP = 0, 4
_MOV_LOAD, _MOV_STORE, _XOR, _MOVSLQ, _LEA_OPCODE, _MOV_IMMEDIATE = 0x8B, 0x89, 0x31, 0x63, 0x8D, 0xC7

_MOVE = rb"[\x48\x49\x4c\x4d]\x89[\xc0-\xff]"        # a 64-bit register to another
_NUMBER_FIRST = rb"\x48\x89\xf8(?:%s){2,6}" % _MOVE     # mov %rdi, %rax
_ANY_CALL = [re.compile(pattern, re.DOTALL) for pattern in (
    _NUMBER_FIRST + rb"(\x4c\x8b\x4c\x24\x08)(?:%s){0,2}\x0f\x05" % _MOVE,    # mov 8(%rsp), %r9
    rb"\x48\x8b\x7a\x08\xc7\x04\x24\x08\x00\x00\x00(\x48\x8b\x72\x10\x48\x8b\x52\x18)\x0f\x05",
    rb"\x4c\x8b\x44\x24\x08\x4c\x8b\x4c\x24\x10(\x4c\x89\x5c\x24\x08)\x0f\x05",
)]
_COMPARISONS = (b"\x48\x3d", b"\x3d")       # cmp $imm32, %rax and %eax
# mov %rcx, %r8; mov $435, %eax; syscall; test %rax, %rax
_CLONE3 = re.compile(rb"\x49\x89\xc8(\xb8\xb3\x01\0\0\x0f\x05)(?=\x48\x85\xc0)", re.DOTALL)
_FAILED_CLONE3 = b"\x48\xc7\xc0" + struct.pack("<i", -ENOSYS)   # mov $-ENOSYS, %rax
_GO_FAILED = rb"\x0f\x05(?=\x48\x3d\x01\xf0\xff\xff)"    # syscall; cmp $-4095, %rax
_GO_MOVES = re.compile(rb"\x49\x89\xf2\x48\x89\xfa(\x48\x89\xce\x48\x89\xdf)" + _GO_FAILED, re.DOTALL)
_GO_LOADS = re.compile(rb"(?:\x4c\x8b\x4c\x24\x38|\x49\xc7\xc1\0\0\0\0)(\x48\x8b\x44\x24\x08)" + _GO_FAILED, re.DOTALL)


class Site:
    """`start`: offset of the displaced bytes; `displaced`: how many; `syscall`: offset of the `syscall`; `entry`: where
    the trampoline leads."""

    __slots__ = ("start", "displaced", "syscall", "entry")

    def __init__(self, start, displaced, syscall, entry):
        self.start, self.displaced, self.syscall, self.entry = start, displaced, syscall, entry


def without_clone3(code, start, end):
    """Change glibc's __clone3 in the machine code code[start:end], a bytearray, if it is there: what it calls isn't there."""
    for match in _CLONE3.finditer(code, start, end):
        code[match.start(1):match.end(1)] = _FAILED_CLONE3


def find(code, start, end, numbers, of_go=False):
    """([Site], offsets of `mov $NR, %eax` that no known form follows) in code[start:end], machine code.

    numbers: the calls that the fast path knows; of_go: whether there is code of Go's in it, where it may not be seen from
    that itself. ValueError: more sites than a program has that somebody wrote.
    """
    found, others = [], []
    for at, syscall in _numbered(code, start, end, numbers):
        if syscall is None:
            others.append(at)
        else:
            found.append(Site(at, JUMP_SIZE, syscall, FAST_ENTRY))
        _check_count(found, others)
    for pattern in _ANY_CALL:
        _add(found, others, pattern.finditer(code, start, end), FAST_CHECKED)
    if of_go or _GO_MOVES.search(code, start, end):
        others += [site.start for site in found if not _compares(code, site)]
        found = [Site(site.start, site.displaced, site.syscall, FAST_LENT) for site in found if _compares(code, site)]
    for pattern in _GO_MOVES, _GO_LOADS:
        _add(found, others, pattern.finditer(code, start, end), FAST_LENT)
    return found, others


def _numbered(code, start, end, numbers):
    """(offset, offset of the `syscall` if only moves come before that, else None) of each call's `mov $NR, %eax`."""
    pattern = re.compile(b"\xb8(?:" + b"|".join(re.escape(struct.pack("<I", number)) for number in sorted(numbers)) + b")",
                         re.DOTALL)
    for match in pattern.finditer(code, start, end):
        at = match.start()
        if at > start and code[at - 1] & 0xF0 == 0x40:     # a prefix: the move of another register
            continue
        syscall = _moves_to_syscall(code, match.end(), min(end, at + MOST_COPIED))
        if syscall is not None or _number_of_syscall(code, match.end(), min(end, at + MOST_COPIED)):
            yield at, syscall


def _add(found, others, matches, entry):
    """The Sites whose displaced bytes are the first group, and whose `syscall` is at the end."""
    for match in matches:
        found.append(Site(match.start(1), match.end(1) - match.start(1), match.end() - len(_SYSCALL), entry))
        _check_count(found, others)


def _check_count(found, others):
    if len(found) + len(others) > _MOST:
        raise ValueError("too many sites")


def _compares(code, site):
    """Whether a comparison follows the `syscall`, so that nothing needs the flags from before it."""
    return code.startswith(_COMPARISONS, site.syscall + len(_SYSCALL))


def _number_of_syscall(code, at, end):
    """Whether a `syscall` comes soon, and no other `mov $NR, %eax` before it."""
    syscall = code.find(_SYSCALL, at, end)
    return syscall >= 0 and code.find(b"\xb8", at, syscall) < 0


def _moves_to_syscall(code, at, end):
    """Offset of the `syscall` that follows `at` with nothing but moves before it, else None."""
    while at + 2 <= end:
        if code[at:at + 2] == _SYSCALL:
            return at
        length = move_length(code, at)
        if not length:
            return None
        at += length
    return None


def move_length(code, at):
    """Length of the instruction at code[at] if it only sets a register other than rax and rsp, and means the same
    anywhere: a move or sign extension of a register, xor of a register with itself, a constant, a load or lea with a
    base register. 0: it is none of these."""
    prefix = 0
    position = at
    if code[position] & 0xF0 == 0x40:      # REX
        prefix = code[position]
        position += 1
    opcode, modrm = code[position], code[position + 1]
    extend_reg, extend_base = (prefix & 4) << 1, (prefix & 1) << 3
    if opcode & 0xF8 == 0xB8:              # mov $imm32, %r32
        return position + 5 - at if not prefix & 8 and _may_be_set(opcode & 7 | extend_base) else 0
    mode, register, base = modrm >> 6, modrm >> 3 & 7 | extend_reg, modrm & 7 | extend_base
    if mode == 3:
        if opcode == _MOV_IMMEDIATE and not modrm >> 3 & 7:
            return position + 6 - at if _may_be_set(base) else 0
        if opcode == _MOV_STORE or opcode == _XOR and register == base:
            return position + 2 - at if _may_be_set(base) else 0
        if opcode == _MOV_LOAD or opcode == _MOVSLQ:
            return position + 2 - at if _may_be_set(register) else 0
        return 0
    if opcode not in (_MOV_LOAD, _LEA_OPCODE, _MOVSLQ) or not _may_be_set(register):
        return 0
    length = _address_length(code, position + 1)
    return position + 1 + length - at if length else 0


def _may_be_set(register):
    return register not in (_RAX, _RSP)


def _address_length(code, at):
    """Length of a ModRM byte with base register and displacement and what belongs to it; 0: another address."""
    mode, base = code[at] >> 6, code[at] & 7
    length = 1
    if base == 4:
        if code[at + 1] != 0x24:           # anything but (%rsp) or (%r12) without an index
            return 0
        length = 2
    elif mode == 0 and base == 5:          # relative to rip
        return 0
    return length + (0, 1, 4)[mode]
