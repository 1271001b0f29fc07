"""What a signal finds of a task on the fast path: the task at its own call site, before the call or after it.

So handlers, unwinders and what compares the program counter (musl's cancellation points) never see trampolines or the
stub, and no task is in the stub while a handler of its runs.
"""

import struct

from apppot.platform import layout, trampolines
from apppot.platform.registers import (EFLAGS, ORIG_RAX, R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI,
                                       RDX, RIP, RSI, RSP)

MISSED = 1 << 32                           # set in the number's register by the stub
_MASK = (1 << 64) - 1
_FRAME = struct.Struct("<IIq16Q8x")        # struct frame of stub/fast.h; `taken` says nothing more than its place
_NOT_TAKEN = bytes(8)
_SAVED = (R15, R14, R13, R12, RBP, RBX, R9, R8, R10, RDX, RSI, RDI)      # the frame's order
_COMMITTED, _DONE = 1, 2                   # its member `committed`
_LEFT = frozenset((layout.FAST_LEFT, layout.FAST_GIVING, layout.FAST_GIVEN))
_RESTART = frozenset((-512, -513, -514, -516))   # -ERESTART... of linux/errno.h
_CF, _CF_TO_SF, _OF = 1, 0xD5, 0x800       # the carry flag; the flags that lahf loads; the overflow flag


def site_of(task, rip):
    """The address in the task's own code that it is put to when it is in a trampoline, at `rip`; else None."""
    start = rip - rip % trampolines.TRAMPOLINE_SIZE
    try:
        known = trampolines.read_trampoline(task.memory.read(start, trampolines.TRAMPOLINE_SIZE), start)
    except OSError:
        return None
    if known is None:
        return None
    site, copied = known
    done = rip - start
    if done < trampolines.JUMP_SIZE:             # the instructions that the jump displaced may be carried out again
        site -= copied
    elif done < copied:
        site += done - copied
    return site & _MASK                    # what looks like a trampoline may be anything that a guest has made up


def leave_stub(task, regs, made):
    """The task, with the registers `regs`, is in the stub. Whether it was on the fast path; then they were changed.
    made(number) is called when the call was made and is not made again.

    A fault there is not the guest's own, but one that the kernel will tell as EFAULT.
    """
    rip = regs[RIP]
    if rip < layout.FAST_CHECKED:
        return False
    if rip < layout.FAST_LENT:
        _leave_check(regs, rip)
    elif rip < layout.FAST_ENTRY:
        if rip == layout.FAST_ASKED and not regs[EFLAGS] & _CF:
            _give_back(task, regs[R11])
        regs[RIP] = regs[RCX]
    elif rip < layout.FAST_BODY:
        if rip == layout.FAST_SWITCHING:
            _give_back(task, regs[R11])
        elif rip > layout.FAST_SWITCHING:
            _give_back(task, regs[RSP])
            regs[RSP] = regs[R11]
        _to_site(regs, regs[RCX], regs[RAX])
    elif rip in _LEFT:
        if rip == layout.FAST_GIVING:
            _give_back(task, regs[R11])
        regs[RIP] = regs[RCX]
    else:
        return _leave_call(task, regs, rip, made)
    return True


def _give_back(task, place):
    """If `place` is in a lent stack, others may have it. The task's word is not needed: it could write there itself."""
    number, _ = divmod(place - layout.LENT_BASE, layout.LENT_SIZE)
    if not 0 <= number < layout.LENT_STACKS:
        return
    taken = layout.LENT_BASE + (number + 1) * layout.LENT_SIZE - layout.FRAME_SIZE + layout.FRAME_TAKEN
    try:
        task.memory.write(taken, _NOT_TAKEN)
    except OSError:                        # it is the guest's to unmap
        return


def _leave_check(regs, rip):
    """fast_checked: rax is in r11 after the first instruction, the flags in ah and al after the third."""
    if rip == layout.FAST_CHECKED:
        number = regs[RAX]
    else:
        number, flags = regs[R11], regs[RAX]
        if rip >= layout.FAST_CHECKED + 7 and flags != number:
            overflow = _OF if flags & 0xFF in (1, 0x80) else 0
            regs[EFLAGS] = regs[EFLAGS] & ~(_CF_TO_SF | _OF) | flags >> 8 & _CF_TO_SF | overflow
    regs[RIP], regs[RAX] = regs[RCX], number


def _leave_call(task, regs, rip, tell_made):
    """From fast_body on, where a frame holds the guest's registers. It lies in the guest's memory: nothing is believed."""
    body = rip < layout.FAST_END or rip >= layout.COMMIT
    place = regs[R15] if body else regs[RSP] + (8 if rip == layout.FAST_POPPING else 0)
    try:
        frame = _FRAME.unpack(task.memory.read(place & _MASK, _FRAME.size))
    except OSError:
        return False
    committed, hit, made, *saved, number, site, flags, stack = frame
    result = regs[RAX] - (1 << 64) if regs[RAX] >> 63 else regs[RAX]
    if body:
        restarting = not regs[ORIG_RAX] >> 63 and result in _RESTART
        if committed == _COMMITTED and layout.COMMIT_MADE <= rip < layout.FAST_CODE:
            committed, made = _DONE, result
        if not restarting and committed == _COMMITTED and not layout.COMMIT <= rip < layout.COMMIT_MADE:
            return False
        hit = committed == _DONE and made >= 0
    else:
        restarting = False
    for register, value in zip(_SAVED, saved):
        regs[register] = value
    _give_back(task, place)
    regs[RSP] = stack
    regs[EFLAGS] = flags
    if restarting:
        regs[RIP], regs[ORIG_RAX] = site + 2 & _MASK, number
        regs[RCX] = site
    elif hit:
        regs[RIP] = regs[RCX] = site + 2 & _MASK
        regs[RAX], regs[R11], regs[ORIG_RAX] = made & _MASK, flags, _MASK
        tell_made(number)
    else:
        _to_site(regs, site, number)
    return True


def _to_site(regs, site, number):
    regs[RIP] = regs[RCX] = site
    regs[RAX], regs[ORIG_RAX] = number | MISSED, _MASK
