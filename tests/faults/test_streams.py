"""Standard streams that are closed, full, or a terminal that goes away."""

import os
import signal
import subprocess

import pytest

from tests.faults.machines import Machine, until
from tests.guest.conftest import environment, start_command


def shell(redirections, job, image, *words, options=()):
    """apppot-start under a shell's redirections."""
    command = start_command(*words, image=image, options=options)
    return subprocess.run(["bash", "-c", f'"$@" {redirections}', "bash", *command], cwd=job, env=environment(), timeout=60,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(debian_tree, job, closed):
    done = shell(closed, job, debian_tree, "sh", "-c", "cat /etc/hostname >f; ls /proc/self/fd >fds; exit 7")
    assert done.returncode == 7 and done.stderr == ""
    assert (job / "f").read_text() == "image\n"


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_what_the_supervisor_says_has_nowhere_to_go(debian_tree, job, closed):
    """A limit that is said, a summary, a trace, and what is wrong."""
    assert shell(closed, job, debian_tree, "sleep", "60", options=["--timeout", "1"]).returncode == 124
    assert shell(closed, job, debian_tree, "sh", "-c", "exit 7", options=["--stats"]).returncode == 7
    assert shell(closed, job, debian_tree, "sh", "-c", "exit 7", options=["--trace"]).returncode == 7
    assert shell(closed, job, debian_tree, "nothing-of-this-name").returncode == 127


def test_full_streams_are_the_guests_to_notice(debian_tree, job):
    done = shell(">/dev/full", job, debian_tree, "cat", "/etc/hostname")
    assert done.returncode == 1 and "No space left" in done.stderr
    done = shell("| true", job, debian_tree, "sh", "-c", "trap '' PIPE; while echo x; do :; done 2>/dev/null; echo ended >f")
    assert (job / "f").read_text() == "ended\n"


def on_terminal(tmp_path, image, *words, options=()):
    """(Machine, the terminal's other side): the machine leads a session on a terminal of its own."""
    ours, theirs = os.openpty()

    def control():
        import fcntl
        import termios
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    machine = Machine(tmp_path, image, *words, options=options, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=control)
    os.close(theirs)
    return machine, ours


def test_a_terminal_that_goes_away_ends_the_machine(debian_tree, tmp_path):
    machine, terminal = on_terminal(tmp_path, debian_tree, "bash", "-c", "sleep 1000 & cat")
    until(lambda: len(machine.guests()) > 2)
    directory = machine.run_directory()
    os.close(terminal)
    assert machine.process.wait(60) == 128 + signal.SIGHUP
    assert not machine.guests() and not machine.left_over(directory)


def test_who_ignores_that_goes_on_without_a_terminal(debian_tree, tmp_path):
    """Its reads and writes fail; so do the supervisor's, which has a limit to tell of."""
    script = "trap '' HUP; echo ready; while echo x; do sleep 0.05; done; touch failed; sleep 100"
    machine, terminal = on_terminal(tmp_path, debian_tree, "sh", "-c", script, options=["--timeout", "3", "--stats"])
    assert os.read(terminal, 5) == b"ready"
    os.close(terminal)
    assert machine.process.wait(60) == 124
    assert (tmp_path / "job" / "failed").exists() and not machine.left_over()
