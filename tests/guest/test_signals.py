"""Signals: the same program natively and in a machine prints the same."""

import pytest

from .test_processes import both  # noqa: F401: a fixture


@pytest.mark.parametrize("section", ["fifo", "storms", "kinds", "threads"])
def test_signals_that_interrupt_translated_calls(both, section):  # noqa: F811
    both("interrupts", section)


@pytest.mark.parametrize("timer", [[], ["prof"]], ids=["real", "prof"])
def test_registers_under_a_rain_of_signals(both, timer):  # noqa: F811
    lines = both("registers", *timer).splitlines()
    assert all(": wrong 0, " in line for line in lines[:-1])


def test_signals_of_every_kind(both):  # noqa: F811
    both("signals")
