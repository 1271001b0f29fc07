"""Machines without an image: of the host's root they show what the system installed, and nobody's files."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from apppot.kernel import hostroot

from .conftest import environment, start_command

pytestmark = pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="the host has no Python of its own")


def run(*command, cwd, options=(), env=None, **more):
    return subprocess.run(start_command(*command, image="/", options=options), cwd=cwd, env=environment(**(env or {})),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **more)


def test_homes_temporary_files_and_spools_are_not_there(job, tmp_path):
    (tmp_path / "secret").write_text("canary")
    home = tmp_path / "home"
    home.mkdir()
    done = run("sh", "-c", f"ls -A /home /root /tmp /run /var/tmp; cat {tmp_path}/secret; ls {home}; ls -d /var/spool /srv /mnt",
               cwd=job, env={"HOME": str(home)})
    assert "canary" not in done.stdout and not done.stderr.startswith("apppot-start")
    listed = done.stdout.split()
    if str(job).startswith("/tmp"):
        assert listed.count(job.relative_to("/tmp").parts[0]) <= 1          # the way to the job directory
    assert {"/srv", "/mnt", "/var/spool"}.isdisjoint(listed)
    assert [name for name in os.listdir("/home") if name in listed and name != "user"] == []


def test_system_files_and_the_job_directory_are_there(job):
    (job / "input").write_text("given\n")
    done = run("sh", "-c", "cat input; pwd; head -c 4 /usr/bin/env | tail -c 3; python3 -c 'print(7)'; cd /; ls | grep -c ^usr; "
                           f"cat {job}/input", cwd=job)
    assert done.stdout.split() == ["given", "/home/user/job", "ELF7", "1", "given"], done.stderr


def test_a_home_in_a_directory_that_is_not_shown(job, tmp_path):
    """Such as a batch job's, which is its session directory."""
    for home in (tmp_path, job):
        done = run("echo", "runs", cwd=job, env={"HOME": str(home)})
        assert (done.returncode, done.stdout) == (0, "runs\n"), done.stderr


def test_a_bind_gives_what_is_left_out(job, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("given")
    done = run("cat", f"{tmp_path}/data/file", cwd=job, options=["--bind", f"{tmp_path}/data:{tmp_path}/data:ro"])
    assert done.stdout == "given", done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root's own home is no part of the system anyway")
def test_the_callers_own_directories_are_left_out_wherever_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/usr")                             # not the caller's own
    left_out = hostroot.left_out()
    assert os.fsencode(tmp_path) in left_out and b"/usr" not in left_out and b"/home" in left_out


def test_what_is_given_covers_all_but_what_is_left_out(tmp_path):
    for name in ("a/b/c", "a/d", "e"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("/")
    top = os.fsencode(tmp_path)
    given = set(hostroot.given(top, {top + b"/a/b"}))
    assert given == {top + b"/a/d", top + b"/e"}
    assert list(hostroot.given(top, frozenset())) == [top]
    (tmp_path / "a").chmod(0o311)          # as where homes are: only root may list it
    given = set(hostroot.given(top, {top + b"/a/b"}))
    assert given == ({top + b"/a/d", top + b"/e"} if os.getuid() == 0 else {top + b"/e"})
    (tmp_path / "a").chmod(0o700)


def test_descriptors_are_passed_on_only_when_asked_for(job):
    read, write = os.pipe()
    os.write(write, b"x")
    try:
        shown = ["sh", "-c", "ls -1 /proc/self/fd | tr '\\n' ' '"]
        assert run(*shown, cwd=job, pass_fds=(read, write)).stdout.split() == ["0", "1", "2", "3"]
        given = run(*shown, cwd=job, pass_fds=(read, write), options=["--fd", read]).stdout.split()
        assert str(read) in given and str(write) not in given
        launcher = run(*shown, cwd=job, pass_fds=(read, write), env={"PMI_FD": str(write)}).stdout.split()
        assert str(write) in launcher and str(read) not in launcher
        refused = run("true", cwd=job, options=["--fd", "77"])
        assert (refused.returncode, refused.stderr) == (2, "apppot-start: --fd 77: not open\n")
    finally:
        os.close(read)
        os.close(write)


def test_secrets_in_the_environment_stay_outside(job):
    done = run("env", cwd=job, env={"MY_TOKEN": "canary", "SSH_AUTH_SOCK": "/canary", "PLAIN": "seen"})
    assert "canary" not in done.stdout and "PLAIN=seen" in done.stdout
    assert "MY_TOKEN=canary" in run("env", cwd=job, env={"MY_TOKEN": "canary"}, options=["--env", "MY_TOKEN"]).stdout
