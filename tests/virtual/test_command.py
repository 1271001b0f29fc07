"""The command itself; that it boots is seen by who uses it: python -m tests.virtual."""

import json
import os
import subprocess
import sys
import tarfile

import pytest

from tests.conftest import ROOT
from tests.virtual import computer, disk


def command(*words, **env):
    return subprocess.run([sys.executable, "-m", "tests.virtual", *words], cwd=ROOT, env=os.environ | env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)


def test_help_names_the_tests_that_are_there():
    done = command("--help")
    assert done.returncode == 0 and "tests/virtual/*_inside.py" in done.stdout
    assert list((disk.SOURCE / "tests/virtual").glob("*_inside.py"))


@pytest.mark.parametrize("option", ["--timeout", "--memory", "--cpus"])
@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_computer_of_nothing_is_wrong_usage(option, number, tmp_path):
    done = command(option, number, PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"python -m tests.virtual: error: {option}: at least 1"


def test_missing_programs_are_named(tmp_path):
    done = command(PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == ("tests.virtual: please run: apt-get install --no-install-recommends e2fsprogs mmdebstrap qemu-system-x86 "
                           "util-linux\n")


def test_what_goes_in(tmp_path):
    """The checkout as it is, owned by the user inside; nothing that was made by running it."""
    job = {"arguments": ["-k", "a b"], "environment": {}}
    computer.pack(tmp_path / "job.tar", job)
    with tarfile.open(tmp_path / "job.tar") as archive:
        assert json.load(archive.extractfile("job.json")) == job
        names = archive.getnames()
        assert archive.getmember("checkout/tests/virtual/inside.py").uid == disk.UID
    assert "checkout/apppot/stub/build.py" in names
    assert not [name for name in names if "/.git/" in name or "__pycache__" in name]


def test_the_status_is_the_tests_or_the_computers_end_is_told(tmp_path, capsys):
    (tmp_path / "status").write_text("5\r\n")
    assert computer.status(tmp_path, 0) == 5
    (tmp_path / "status").write_text("")
    (tmp_path / "console").write_text("".join(f"line {number}\n" for number in range(100)) + "Kernel panic\n")
    assert computer.status(tmp_path, 0) == 125
    said = capsys.readouterr().err
    assert "Kernel panic" in said and "line 99" in said and "line 50" not in said
