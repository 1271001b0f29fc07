"""Signals: the same program natively and in a machine prints the same."""

import subprocess

import pytest

from .test_processes import both  # noqa: F401: a fixture


@pytest.mark.parametrize("section", ["fifo", "storms", "kinds", "threads", "births"])
def test_signals_that_interrupt_translated_calls(both, section):  # noqa: F811
    both("interrupts", section)


@pytest.mark.parametrize("timer", [[], ["prof"]], ids=["real", "prof"])
def test_registers_under_a_rain_of_signals(both, timer):  # noqa: F811
    lines = both("registers", *timer).splitlines()
    assert all(": wrong 0, " in line for line in lines[:-1])


def test_signals_of_every_kind(both):  # noqa: F811
    both("signals")


def test_kill_9_of_anything_inside(shell):
    assert shell("""
        sleep 100 & kill -9 $!; wait $!; echo $?
        sh -c 'sleep 100 & sleep 100 & kill -9 $$'; echo $?
        pkill -9 sleep; sleep 0.2; pgrep -c sleep
        (while :; do /bin/true; done) & sleep 0.5; kill -9 $!; wait $!; echo $?
    """) == "137\n137\n0\n137\n"


def test_a_process_cannot_signal_outside(run_guest):
    """Another process of the same user, which natively could be signalled."""
    outside = subprocess.Popen(["sleep", "100"])
    try:
        done = run_guest("bash", "-c", f"kill -TERM {outside.pid} 2>&1 || echo refused; kill -0 {outside.pid} 2>/dev/null"
                         " || echo unseen")
        assert outside.poll() is None
        assert "refused" in done.stdout and "unseen" in done.stdout
    finally:
        outside.kill()
        outside.wait()
