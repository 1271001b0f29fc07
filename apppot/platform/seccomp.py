"""The seccomp filters, as classic BPF made from the table of system calls.

A filter looks at the architecture, then at the number by binary search, and lets native calls go without looking at
anything else: so the kernel (5.11 on) knows from its cache of constant answers that it need not run the filter for
them. Only then come arguments and the instruction pointer.
"""

import os
import struct

from apppot.platform import hows
from apppot.platform.layout import HOWS
from apppot.syscalls.table import (
    COUNTED, DENIED, HAS, IDENTITY, IS, IS_NOT, MASKED_IS, MASKED_IS_NOT, NATIVE, NO_NETWORK, ROWS, SET, STOPPED, STUB, TRACED,
    UPPER_IS, UPPER_IS_NOT,
)

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000
ENOSYS = 38

# linux/seccomp.h
RET_ERRNO = 0x00050000
RET_TRACE = 0x7FF00000
RET_ALLOW = 0x7FFF0000

# struct seccomp_data; the machine is little-endian
NUMBER = 0
ARCH = 4
POINTER = 8
ARGUMENTS = 16

# linux/bpf_common.h
LOAD = 0x20
AND = 0x54
JUMP = 0x05
JUMP_EQUAL = 0x15
JUMP_GREATER = 0x25
JUMP_AT_LEAST = 0x35
JUMP_BITS = 0x45
RETURN = 0x06

_OF_UPPER_HALF = {UPPER_IS: IS, UPPER_IS_NOT: IS_NOT}
_OF_MASK = {MASKED_IS: IS, MASKED_IS_NOT: IS_NOT}


def _cuts(argument):
    """The rule that open flags are such as hows.cuts_unseen() tells of."""
    return MASKED_IS, argument, (os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC | os.O_RDONLY, os.O_TRUNC | os.O_ACCMODE), STOPPED


#: How the stub may open files where Landlock does not see that one is cut off: to write is what it does see.
_BY_FLAGS = {
    "open": (_cuts(1),),
    "openat": (_cuts(2),),
    "openat2": ((UPPER_IS_NOT, 2, (HOWS >> 32,), STOPPED),
                (MASKED_IS_NOT, 2, (0xFFFFFFFF - (hows.COUNT - 1) * hows.SIZE, HOWS & 0xFFFFFFFF), STOPPED)),
}

MAX_SHORT_JUMP = 255
MAX_INSTRUCTIONS = 4096


def _allows_stub(row):
    return bool(row.flags & STUB)


def base_filter(stub_start, stub_end, network="host", trusts=_allows_stub, counted=False, by_flags=False):
    """The filter of every task, an array of `struct sock_filter`. `counted`: calls that make tasks stop.

    Calls whose row `trusts` the stub pass when the instruction pointer, which stands behind the `syscall`, is in
    [stub_start, stub_end]; files are opened from there only as said in _BY_FLAGS when `by_flags`.
    """
    answers = {}
    for row in ROWS:
        rules = row.rules + (NO_NETWORK.get(row.name, ()) if network == "none" else ())
        if by_flags and trusts(row):
            rules += _BY_FLAGS.get(row.name, ())
        action = row.error if row.action == DENIED else TRACED if counted and row.flags & COUNTED else row.action
        answers[row.number] = (rules, action, trusts(row))
    unknown = ((), TRACED, False)
    body = _search(_segments(answers, unknown))
    head = [
        (LOAD, 0, 0, ARCH),
        (JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        (RETURN, 0, 0, RET_ERRNO | ENOSYS),
        (LOAD, 0, 0, NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, RET_ERRNO | ENOSYS),
    ]
    return _assemble(head + body, stub_start, stub_end)


def identity_filter(stub_start, stub_end, trusts=_allows_stub, flag=IDENTITY):
    """What a task with a virtual identity gets on top: the calls that show or change identities stop too.

    flag: OWNERS for a task without one, where files have ownership records: only calls that show those stop.
    """
    answers = {row.number: ((), TRACED, trusts(row)) for row in ROWS if row.flags & flag}
    body = _search(_segments(answers, ((), NATIVE, False)))
    head = [
        (LOAD, 0, 0, ARCH),
        (JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        (RETURN, 0, 0, RET_ALLOW),
        (LOAD, 0, 0, NUMBER),
    ]
    return _assemble(head + body, stub_start, stub_end)


def _segments(answers, otherwise):
    """[(first number, answer), ...] in order, neighbours of one answer joined."""
    segments = []
    for number in range(max(answers) + 2):
        answer = answers.get(number, otherwise)
        if not segments or segments[-1][1] != answer:
            segments.append((number, answer))
    return segments


def _search(segments):
    """The code that finds the number's segment: halves, the lower one first."""
    if len(segments) == 1:
        return _leaf(*segments[0][1])
    middle = len(segments) // 2
    lower, upper = _search(segments[:middle]), _search(segments[middle:])
    first = segments[middle][0]
    if len(lower) <= MAX_SHORT_JUMP:
        return [(JUMP_AT_LEAST, len(lower), 0, first)] + lower + upper
    return [(JUMP_AT_LEAST, 0, 1, first), (JUMP, 0, 0, len(lower))] + lower + upper


def _leaf(rules, action, stub):
    code = []
    for test, argument, value, verdict in rules:
        code += _rule(test, ARGUMENTS + 8 * argument, value, _verdict(verdict, stub))
    return code + [_verdict(action, stub)]


def _rule(test, offset, value, verdict):
    """Answer `verdict` if the test holds, else go on behind."""
    if test == SET:
        return [
            (LOAD, 0, 0, offset),
            (JUMP_EQUAL, 0, 2, 0),
            (LOAD, 0, 0, offset + 4),
            (JUMP_EQUAL, 1, 0, 0),
            verdict,
        ]
    if test in _OF_UPPER_HALF:
        test, offset = _OF_UPPER_HALF[test], offset + 4
    code = [(LOAD, 0, 0, offset)]
    if test == HAS:
        return code + [(JUMP_BITS, 0, 1, value), verdict]
    if test in _OF_MASK:
        code.append((AND, 0, 0, value[0]))
        test, value = _OF_MASK[test], value[1:]
    count = len(value)
    for index, candidate in enumerate(value):
        behind = count - 1 - index  # comparisons that are left
        if test == IS:
            # fits: on to the verdict; the last one that does not steps over it
            code.append((JUMP_EQUAL, behind, 0 if behind else 1, candidate))
        elif test == IS_NOT:
            code.append((JUMP_EQUAL, behind + 1, 0, candidate))
        else:
            raise ValueError(f"unknown test: {test}")
    return code + [verdict]


_STUB_BLOCK = "stub"  # in place of an instruction: to be replaced by a jump to the block at the end


def _verdict(action, stub):
    if action == NATIVE:
        return (RETURN, 0, 0, RET_ALLOW)
    if action == TRACED:
        return _STUB_BLOCK if stub else (RETURN, 0, 0, RET_TRACE)
    if action == STOPPED:
        return (RETURN, 0, 0, RET_TRACE)
    return (RETURN, 0, 0, RET_ERRNO | action)


def _assemble(code, stub_start, stub_end):
    high, low_start, low_end = stub_start >> 32, stub_start & 0xFFFFFFFF, stub_end & 0xFFFFFFFF
    if high != stub_end >> 32 or stub_start > stub_end:
        raise ValueError(f"the stub's range {stub_start:#x}..{stub_end:#x} crosses a 4 GiB boundary")
    block = [
        (LOAD, 0, 0, POINTER + 4),
        (JUMP_EQUAL, 0, 4, high),
        (LOAD, 0, 0, POINTER),
        (JUMP_AT_LEAST, 0, 2, low_start),
        (JUMP_GREATER, 1, 0, low_end),
        (RETURN, 0, 0, RET_ALLOW),
        (RETURN, 0, 0, RET_TRACE),
    ]
    end = len(code)
    program = [(JUMP, 0, 0, end - at - 1) if step is _STUB_BLOCK else step for at, step in enumerate(code)] + block
    if len(program) > MAX_INSTRUCTIONS:
        raise ValueError(f"a filter of {len(program)} instructions")
    return b"".join(struct.pack("<HBBI", *step) for step in program)
