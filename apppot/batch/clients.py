"""The commands of ARC and Slurm that are installed here."""

import shutil
import subprocess

from apppot.errors import AppPotError

PACKAGES = {"arc": "install ARC's client (Debian: nordugrid-arc-client and nordugrid-arc-plugins-arcrest)",
            "slurm": "run this where Slurm's commands are, or install them (Debian: slurm-client)"}


class SiteDown(AppPotError):
    """The site could not be asked, so nothing is known."""


def require(kind, program):
    if shutil.which(program) is None:
        raise AppPotError(f"{program}: command not found; {PACKAGES[kind]}")


def run(kind, program, *words, cwd=None):
    """CompletedProcess of a client; what it says are text."""
    require(kind, program)
    return subprocess.run([program, *words], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="surrogateescape")


def said(done):
    """The line of a client's complaints that says most: the first error, else the last line."""
    lines = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines[-1:] or [f"status {done.returncode}"])[0]
