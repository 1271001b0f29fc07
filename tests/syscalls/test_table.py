"""The table against the kernel's headers, and against the handlers there are."""

import re

import pytest
from ptrace.syscall.linux.x86_64 import SYSCALL_NAMES

from apppot import syscalls
from apppot.syscalls import table
from apppot.syscalls.decode import decoders_of

HEADER = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"


def header_numbers():
    try:
        with open(HEADER, encoding="ascii") as header:
            text = header.read()
    except FileNotFoundError:
        pytest.skip(f"{HEADER}: not there (Debian package linux-libc-dev)")
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)}


def test_every_number_of_the_kernel_headers_is_classified():
    numbers = header_numbers()
    assert len(numbers) > 300
    known = {row.name: row.number for row in table.ROWS}
    assert {name: number for name, number in numbers.items() if known.get(name) != number} == {}


def test_python_ptrace_agrees():
    other = {number: name for number, name in SYSCALL_NAMES.items() if number in table.by_number}
    differing = {number: (name, table.by_number[number].name) for number, name in other.items()
                 if name != table.by_number[number].name}
    assert set(differing) <= {283}, "it has an old name for timerfd_create"


def test_numbers_ascend_and_names_are_unique():
    numbers = [row.number for row in table.ROWS]
    assert numbers == sorted(set(numbers))
    assert len(table.by_name) == len(table.by_number) == len(table.ROWS)
    assert [number for number in range(335) if number not in table.by_number] == []
    assert [number for number in range(424, 470) if number not in table.by_number] == []


@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: row.name)
def test_a_row_is_well_formed(row):
    assert row.action in (table.NATIVE, table.TRACED, table.DENIED)
    assert bool(row.error) == (row.action == table.DENIED)
    assert row.reason or row.action == table.NATIVE and not row.rules and not row.flags
    if row.flags & table.IDENTITY:
        assert row.action == table.NATIVE, "a traced call stops already"
    for test, argument, value, verdict in row.rules:
        assert test in (table.IS, table.IS_NOT, table.HAS, table.SET, table.UPPER_IS, table.UPPER_IS_NOT) and argument in range(6)
        assert (value is None) == (test == table.SET)
        assert verdict in (table.TRACED, table.NATIVE) or verdict > 0


def test_every_call_that_stops_has_a_handler_and_no_other():
    stopping = {row.name for row in table.ROWS if row.stops}
    handlers = set(syscalls.handlers())
    assert sorted(stopping - handlers) == [], "no handler"
    assert sorted(handlers - stopping) == [], "never called"


def test_every_handler_can_be_decoded():
    for name, handler in syscalls.handlers().items():
        assert handler.__name__ == name
        assert handler.__code__.co_varnames[0] == "task"
        assert len(decoders_of(handler)) <= 6


def test_two_handlers_for_one_call_are_refused():
    class Module:
        def __init__(self, name):
            def read(task):
                pass

            self.__name__ = read.__module__ = name
            self.read = read

    assert list(syscalls.collect([Module("one")])) == ["read"]
    with pytest.raises(ValueError, match="read"):
        syscalls.collect([Module("one"), Module("two")])
