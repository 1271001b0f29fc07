"""A machine that something is done to, and what is left of it on the host afterwards."""

import os
import signal
import subprocess
import time
import uuid

from tests.guest.conftest import environment, start_command

PATIENCE = 60


class Machine:
    """A machine in a job directory of its own, which all of its processes can be told by. Its standard error is a file."""

    def __init__(self, place, image, *words, options=(), **more):
        self.place = place
        self.mark = f"APPPOT_FAULT_{uuid.uuid4().hex}"
        for name in ("job", "tmp"):
            (place / name).mkdir(exist_ok=True)
        self.errors = place / "errors"
        command = start_command(*words, image=image, options=["--env", f"{self.mark}=1", *options])
        with open(self.errors, "wb") as errors:
            given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": errors, "start_new_session": True} | more
            self.process = subprocess.Popen(command, cwd=place / "job", env=environment(TMPDIR=str(place / "tmp")), **given)

    def said(self):
        return self.errors.read_text(errors="replace")

    def guests(self):
        """Numbers of the guest's processes."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/environ", "rb") as file:
                        if f"{self.mark}=1".encode() in file.read().split(b"\0") and int(entry) != self.process.pid:
                            found.append(int(entry))
                except OSError:
                    continue
        return found

    def run_directory(self):
        """The machine's private directory, known from the window that the supervisor has mapped; None: not yet."""
        try:
            with open(f"/proc/{self.process.pid}/maps") as file:
                return next((os.path.dirname(line.split()[-1]) for line in file if line.rstrip().endswith("/window")), None)
        except OSError:
            return None

    def wait_for_guests(self):
        """Until the supervisor has started the guest."""
        until(lambda: self.guests() or self.process.poll() is not None)

    def send(self, signum):
        self.process.send_signal(signum)

    def kill(self):
        """Kill the supervisor, and wait until all of the guest is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)
        until(lambda: not self.guests())

    def end(self):
        """The exit status and what it wrote to standard output."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output

    def left_over(self, run_directory=None):
        """Names of what is left in its temporary directory, and of its run directory."""
        found = os.listdir(self.place / "tmp")
        if run_directory is not None and os.path.exists(run_directory):
            found.append(run_directory)
        return found


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it does not happen")
        time.sleep(0.01)
