"""What blocks for ever blocks the process that asked, and neither the supervisor nor its end."""

import os
import signal
import subprocess
import sys

import pytest

from tests.faults.machines import Machine, until
from tests.guest.conftest import environment

WAYS = {
    "reading a fifo of the machine": "mkfifo /tmp/p; (cat /tmp/p; echo woken >>log) &",
    "writing to a fifo of the machine": "mkfifo /tmp/p; (echo >/tmp/p; echo woken >>log) &",
    "a fifo of the job directory": "mkfifo p; (cat p; echo woken >>log) &",
    "running a fifo": "mkfifo p; chmod +x p; (sh p; echo woken >>log) &",
    "a lock": "(flock 9; sleep 1000) 9>/tmp/l & sleep 0.3; (flock 9; echo woken >>log) 9>/tmp/l &",
    "a record lock": "python3 -S -c 'import fcntl, os, time\nf = open(\"l\", \"w\")\nfcntl.lockf(f, fcntl.LOCK_EX)\n"
                     "if os.fork(): time.sleep(1000)\nfcntl.lockf(f, fcntl.LOCK_EX)' &",
}


@pytest.mark.parametrize("how", WAYS)
def test_others_go_on_and_the_end_comes(debian_tree, tmp_path, how):
    script = f"{WAYS[how]} sleep 0.5; cat /etc/hostname; touch /tmp/x; ls -l /tmp/x >/dev/null; echo on; sleep 1000"
    machine = Machine(tmp_path, debian_tree, "bash", "-c", script)
    directory = machine.run_directory()
    assert machine.process.stdout.readline() == b"image\n"
    assert machine.process.stdout.readline() == b"on\n"
    machine.send(signal.SIGTERM)
    assert machine.end()[0] == 128 + signal.SIGTERM
    until(lambda: not machine.guests())
    assert not machine.left_over(directory) and not (tmp_path / "job" / "log").exists()


def test_copying_up_what_blocks(debian_tree, tmp_path):
    """chmod, rename and the like of a fifo do not open it."""
    machine = Machine(tmp_path, debian_tree, "sh", "-c", "mkfifo p && chmod 600 p && mv p q && stat -c %F q && rm q && echo done")
    assert machine.end() == (0, b"fifo\ndone\n")


@pytest.mark.parametrize("option", ["--image", "--changes", "--cow"])
def test_a_fifo_is_no_image_archive_or_cow(debian_tree, job, option):
    os.mkfifo(job / "p")
    more = [] if option == "--image" else ["--image", debian_tree]
    done = subprocess.run([sys.executable, "-m", "apppot.cli.start", *map(str, more), option, "p", "true"], cwd=job, env=environment(),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1 and "p" in done.stderr, done


def test_a_guest_that_is_stopped_for_ever(debian_tree, tmp_path):
    machine = Machine(tmp_path, debian_tree, "sh", "-c", "kill -STOP $$; echo never", options=["--timeout", "2"])
    assert machine.end() == (124, b"")
    assert not machine.guests()
