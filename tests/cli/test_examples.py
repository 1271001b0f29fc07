"""The jobs in examples/ give what they promise."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "examples" / "first-job"
# What bin/set-up.sh gives to ./try-it, with the AppPot and the Python that run the tests.
SET_UP = r"""
base=$PWD/base source=$PWD account=nobody packages_to_run=
set_up() { mkdir -p "$base"; }
am_root() { false; }
die() { echo "$*" >&2; exit 1; }
run_as() { program=$1; shift; "$PYTHON" -m "$(case $program in apppot) echo apppot.cli.main ;; *) echo apppot.cli.start ;; esac)" "$@"; }
"""


@pytest.fixture
def job(tmp_path):
    shutil.copytree(FIRST, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_both_programs_of_the_first_job_agree(job):
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", "fit", "fit.c", "-lm"], cwd=job, check=True)
    expected = (job / "expected.txt").read_text()
    assert subprocess.check_output(["./fit", "cooling.txt"], cwd=job, text=True) == expected
    assert subprocess.check_output(["awk", "-f", "fit.awk", "cooling.txt"], cwd=job, text=True) == expected


def test_the_first_job_on_the_hosts_own_root(command, job):
    done = command("start", cwd=job)
    assert (done.returncode, done.stderr) == (0, "")
    who = "user" if os.getuid() else "root"        # the host's root is root inside
    assert done.stdout.startswith(f"job runs as {who} in /home/user/job\n")
    assert (job / "result.txt").read_text() == (job / "expected.txt").read_text()


def test_try_it_with_what_is_installed_already(tmp_path):
    """The script of README.md to its last line; what it needs is not installed once more."""
    checkout = tmp_path / "checkout"
    (checkout / "bin").mkdir(parents=True)
    (checkout / "bin" / "set-up.sh").write_text(SET_UP)
    shutil.copy(ROOT / "try-it", checkout)
    shutil.copytree(FIRST, checkout / "examples" / "first-job")
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([checkout / "try-it"], cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "inside:  changed: /etc/apppot-was-here" in done.stdout
    assert "nowhere" in done.stdout and done.stdout.splitlines()[-1].startswith("outside: ")
