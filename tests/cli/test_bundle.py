"""apppot bundle: one file that runs machines where nothing is installed but Python."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PLAIN = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "apppot.pyz"
    source = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-m", "apppot.cli.main", "bundle", "-o", path], check=True,
                   env=os.environ | {"PYTHONPATH": str(source)})
    return path


@pytest.fixture
def run(made, tmp_path):
    """run("start", ..., cache=directory) → CompletedProcess of the bundle, in a directory that is not the cache's."""
    python = tmp_path / "path"
    python.mkdir()
    (python / "python3").symlink_to("/usr/bin/python3")
    job = tmp_path / "job"
    job.mkdir()

    def call(*words, bundle=made, **variables):
        environment = PLAIN | {"PATH": f"{python}:{PLAIN['PATH']}", "HOME": str(tmp_path / "home")} | variables
        return subprocess.run([bundle, *words], cwd=job, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120)
    call.job, call.home, call.tmp = job, tmp_path / "home", tmp_path
    return call


def unpacked(directory):
    """Directories of bundles below; nothing else may be left there."""
    return sorted((directory / "bundles").iterdir())


def test_a_machine(run):
    done = run("start", "--root", "sh", "-c", "pwd; echo changed >/etc/hostname; cat /etc/hostname; cat; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "/home/user/job\nchanged\n", "")
    found = unpacked(run.home / ".cache" / "apppot")
    assert len(found) == 1 and found[0].parent.stat().st_mode & 0o077 == 0
    before = found[0].stat().st_ino
    assert run("--version").stdout.startswith("apppot ")
    assert unpacked(run.home / ".cache" / "apppot")[0].stat().st_ino == before      # used as it is


def test_where_it_can_not_be_written(command, tmp_path):
    done = command("main", "bundle", "-o", "no/x.pyz")
    assert (done.returncode, done.stderr) == (125, f"apppot bundle: {tmp_path}/no: no such directory; make it first\n")
    (tmp_path / "place").mkdir()
    done = command("main", "bundle", "-o", "place")
    assert (done.returncode, done.stderr) == (125, f"apppot bundle: {tmp_path}/place exists and is not a file; name a new one\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["place"]


def test_the_same_by_other_names(run, made):
    (run.tmp / "apppot-start").symlink_to(made)
    done = run("--version", bundle=run.tmp / "apppot-start")
    assert done.stdout.startswith("apppot-start ")


def test_it_holds_the_licences_and_can_bundle_itself(run, made):
    assert run("bundle", "-o", run.tmp / "again.pyz").returncode == 0
    names = [set(zipfile.ZipFile(path).namelist()) for path in (made, run.tmp / "again.pyz")]
    assert names[0] == names[1]
    for wanted in ("licences/apppot/LICENSE", "licences/python-ptrace/COPYING", "apppot/stub/apppot-stub", "apppot/rc/boot"):
        assert wanted in names[0]
    assert (run.tmp / "again.pyz").read_bytes() == made.read_bytes()


def test_many_first_starts_at_once(run, made):
    command = [made, "start", "echo", "ok"]
    environment = PLAIN | {"APPPOT_CACHE": str(run.tmp / "cache")}
    started = [subprocess.Popen(command, cwd=run.job, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for _ in range(8)]
    assert [process.communicate(timeout=120)[0] for process in started] == ["ok\n"] * 8
    assert len(unpacked(run.tmp / "cache")) == 1


def test_what_a_cleaner_took_is_made_again(run):
    run("--version")
    directory, = unpacked(run.home / ".cache" / "apppot")
    (directory / "apppot" / "errors.py").unlink()
    assert run("--version").returncode == 0
    assert unpacked(run.home / ".cache" / "apppot") == [directory]


def test_a_home_that_can_not_be_written(run):
    (run.tmp / "scratch").mkdir()
    done = run("--version", HOME="/proc", TMPDIR=str(run.tmp / "scratch"))
    assert done.returncode == 0
    assert len(unpacked(run.tmp / "scratch" / f"apppot-bundles-{os.getuid()}")) == 1


def test_never_in_the_jobs_directory(run):
    """A guest writes there, and what it writes must not run outside."""
    (run.tmp / "scratch").mkdir()
    done = run("start", "ls", "-A", HOME=str(run.job), TMPDIR=str(run.tmp / "scratch"))
    assert done.returncode == 0
    assert not list(run.job.rglob("bundles"))
    assert unpacked(run.tmp / "scratch" / f"apppot-bundles-{os.getuid()}")


def test_a_place_that_others_may_write_is_not_used(run):
    shared = run.home / ".cache" / "apppot" / "bundles"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    (run.tmp / "scratch").mkdir()
    assert run("--version", TMPDIR=str(run.tmp / "scratch")).returncode == 0
    assert not list(shared.iterdir())


def test_python_is_missing_or_too_old(run, made):
    empty = run.tmp / "empty"
    empty.mkdir()
    (empty / "sh").symlink_to("/bin/sh")
    done = run("--version", PATH=str(empty))
    assert (done.returncode, done.stderr) == (125, "apppot: no python3 on PATH; put Python 3.11 or newer there\n")
    # an old Python is one that says so: the loader asks nothing else
    loader = (Path(__file__).parents[2] / "apppot" / "bundle" / "loader.py").read_text()
    old = "import sys; sys.version_info = (3, 9, 2); sys.argv = ['b.pyz']; exec(sys.stdin.read())"
    done = subprocess.run([sys.executable, "-c", old], input=loader, capture_output=True, text=True, env={"PATH": str(empty)})
    assert done.returncode == 125 and "this Python is 3.9" in done.stderr and "python3.11" in done.stderr
    (empty / "python3.12").write_text("#!/bin/sh\necho \"$@\"\n")
    (empty / "python3.12").chmod(0o755)
    done = subprocess.run([sys.executable, "-c", old], input=loader, capture_output=True, text=True, env={"PATH": str(empty)})
    assert done.stdout == "-I b.pyz\n"


def test_wrong_usage(command, tmp_path):
    for arguments, status, part in ((["x"], 2, "unexpected argument x"), (["-o"], 2, "-o needs a value"),
                                    (["-o", "/proc/x"], 125, "/proc/x")):
        done = command("main", "bundle", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
        assert part in done.stderr
    assert list(tmp_path.iterdir()) == []
