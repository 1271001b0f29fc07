"""What a process remembers of directories, the current one among them, is void when it no longer holds."""

import re
import shutil
import subprocess

import pytest

REUSE = """
import os
def told(call, *args, **more):
    try:
        return call(*args, **more)
    except OSError as error:
        return os.strerror(error.errno)
def opened(place, way):
    os.mkdir(place)
    fd = os.open(place, way | os.O_DIRECTORY)
    return fd, os.fstat(fd).st_ino
reused = 0
for there, then in ("/tmp", "/home/user/job"), ("/home/user/job", "/tmp"):
    for round in range(60):
        fd, number = opened(f"{there}/top", os.O_RDONLY)
        os.mkdir("sub", dir_fd=fd)
        sub = os.open("sub", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        gone = {number, os.fstat(sub).st_ino}
        os.close(sub), os.rmdir("sub", dir_fd=fd), os.close(fd), os.rmdir(f"{there}/top")
        fd, number = opened(f"{then}/new", os.O_PATH)
        reused += number in gone
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
        for other in "/tmp", "/home/user/job":
            print(then, other, told(os.rename, "file", f"{other}/moved", src_dir_fd=fd), told(os.unlink, f"{other}/moved"))
            os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
        os.unlink("file", dir_fd=fd), os.close(fd), os.rmdir(f"{then}/new")
import sys
print("reused", reused, file=sys.stderr)
"""


def test_an_inode_that_is_used_again(run_guest, job):
    """What a process knows of a directory is not for the next one with its inode: here on the same file system, but another mount."""
    told = [run_guest("python3", "-S", "-c", REUSE, options=["--isolation", isolation], env={"TMPDIR": str(job.parent)}, check=True)
            for isolation in ("standard", "strict")]
    assert told[0].stdout == told[1].stdout
    assert "Invalid cross-device link" in told[0].stdout


@pytest.mark.parametrize("isolation", ["standard", "strict"])
@pytest.mark.parametrize("top", ["/tmp/top", "/home/user/job/top"])
def test_relative_names_start_where_the_task_stands(run_guest, program, job, tmp_path, top, isolation):
    """Whoever went there: a thread, a process that shares the current directory, the memory, both or neither."""
    natively = subprocess.run([program("directories"), tmp_path], capture_output=True, text=True, check=True, timeout=60)
    shutil.copy(program("directories"), job / "program")
    script = f"./program / nowhere >/dev/null; mkdir {top}; exec ./program {top}"      # patched from its second start on
    done = run_guest("sh", "-c", script, options=["--isolation", isolation, "--stats"], check=True)
    assert done.stdout.splitlines() == natively.stdout.splitlines()
    answered = re.search(r"fast path: (\d+) calls answered", done.stderr)
    assert answered and int(answered[1]) > 400 if isolation == "standard" else not answered


def test_sudo_goes_elsewhere_for_all_that_share_the_current_directory(run_guest, program, job):
    shutil.copy(program("directories"), job / "program")
    script = "./program / nowhere >/dev/null; mkdir /tmp/top /tmp/top/a; exec ./program /tmp/top sudo -D /etc true"
    done = run_guest("sh", "-c", script, check=True)
    assert done.stdout.splitlines() == ["first: ? -1 -1 -1 /a"] * 3 + ["first stayed: ? -1 -1 -1 /etc"] * 3
