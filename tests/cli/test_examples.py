"""The jobs in examples/ give what they promise."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FIRST = Path(__file__).parents[2] / "examples" / "first-job"


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
