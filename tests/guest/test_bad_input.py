"""What is wrong gives one line that names it, the documented status, and no traceback."""

import os
import shutil
import subprocess
import sys

import pytest

from tests import mounts
from .conftest import SOURCE, environment, start_command


def run(*words, cwd, **env):
    return subprocess.run([sys.executable, "-m", "apppot.cli.start", *map(str, words)], cwd=cwd, env=environment(**env),
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def one_line(done, status, *named):
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in named:
        assert str(word) in done.stderr


def test_image(job, tmp_path):
    one_line(run("--image", "nowhere", "true", cwd=job), 125, "nowhere")
    one_line(run("true", cwd=job, APPPOT_IMAGE="/also/nowhere"), 125, "/also/nowhere")
    (job / "text").write_text("no image")
    one_line(run("--image", "text", "true", cwd=job), 125, "text")
    (job / "empty").mkdir()
    assert run("--image", "empty", "true", cwd=job).returncode == 127


@pytest.mark.skipif(os.getuid() == 0, reason="root can read everything")
def test_unreadable_image(job):
    (job / "closed").mkdir(mode=0)
    one_line(run("--image", "closed", "true", cwd=job), 125, "closed")


@pytest.mark.parametrize("words", [["--no-such-option"], ["--mem", "lots"], ["--cpus", "-1"], ["--timeout", "soon"],
                                   ["--network", "moon"], ["--isolation", "total"], ["--env", "=x"], ["--bind", ""],
                                   ["--workdir", "relative"], ["--root=1"], ["--root", "--user", "daemon"]])
def test_options(job, words):
    one_line(run(*words, "true", cwd=job), 2, words[0].partition("=")[0])


def test_a_value_that_is_missing(job):
    one_line(run("--image", cwd=job), 2, "--image")


def test_binds(run_guest, tmp_path):
    one_line(run_guest("true", options=["--bind", f"{tmp_path}/missing:/x"]), 125, tmp_path / "missing")


def test_commands(run_guest, job):
    one_line(run_guest("no-such-program"), 127, "no-such-program")
    one_line(run_guest("/no/such/program"), 127, "/no/such/program")
    one_line(run_guest("/etc/passwd"), 126, "/etc/passwd")
    one_line(run_guest("/etc"), 126, "/etc")
    (job / "script").write_text("#!/no/interpreter\n")
    (job / "script").chmod(0o755)
    assert run_guest("./script").returncode in (126, 127)
    one_line(run_guest("true", options=["--user", "nobody-knows"]), 2, "nobody-knows")
    one_line(run_guest("true", options=["--workdir", "/no/where"]), 125, "/no/where")


def test_a_tree_of_another_architecture(run_guest, tmp_path, program):
    image = tmp_path / "foreign"
    (image / "bin").mkdir(parents=True)
    elf = bytearray(program("exec").read_bytes())
    elf[18:20] = b"\xb7\x00"  # AArch64
    (image / "bin/sh").write_bytes(elf)
    (image / "bin/sh").chmod(0o755)
    done = run_guest("/bin/sh", image=image)
    assert done.returncode == 126 and "Traceback" not in done.stderr
    assert "processor" in done.stderr or "architecture" in done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root can write everywhere")
def test_unwritable_cow(run_guest, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    one_line(run_guest("true", options=["--cow", closed / "cow"]), 125, closed)


def test_full_disk(run_guest, debian_tree, job, tmp_path, native_works):
    """A COW on a tiny file system: the guest gets ENOSPC, and what was there before is not lost."""
    if not native_works:
        pytest.skip("a file system of 8 MB for this test takes root or user namespaces")
    script = r"""
mount -t tmpfs -o size=8m tmpfs "$1" && cd "$2" && shift 2 && "$@" --cow "$COW" sh -c 'echo keep >/home/user/keep; head -c 20000000 /dev/zero >/home/user/big; echo $?;
    cp /usr/bin/python3.11 /home/user/p || echo refused; echo >>/usr/bin/python3.11 || echo refused too; cat /home/user/keep'
"$@" --cow "$COW" sh -c 'cat /home/user/keep; rm -f /home/user/big /home/user/p; echo again >/home/user/again; cat /home/user/again; python3 -c "print(1)"'
"""
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run([*mounts.NAMESPACE, "sh", "-c", script, "sh", str(small), str(job), *start_command(image=debian_tree)],
                          env=environment(COW=str(small / "cow")), capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["1", "refused", "keep", "keep", "again", "1"] or "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("keep") == 2


def test_closed_standard_streams(debian_tree, job):
    command = start_command("sh", "-c", "echo x >f", image=debian_tree)
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], cwd=job, env=environment(), timeout=60)
    assert done.returncode == 0
    assert (job / "f").read_text() == "x\n"


def test_a_reader_that_goes_away(debian_tree, job):
    command = start_command("yes", image=debian_tree)
    reader = subprocess.Popen(command, cwd=job, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader.stdout.read(100)
    reader.stdout.close()
    assert reader.wait(timeout=20) == 128 + 13
    assert b"Traceback" not in reader.stderr.read()
    reader.stderr.close()


def test_removed_job_directory(debian_tree, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd "{gone}"; rmdir "{gone}"; exec "$@"'
    done = subprocess.run(["sh", "-c", script, "sh", *start_command("true", image=debian_tree)], env=environment(),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 125 and "Traceback" not in done.stderr


def test_broken_images_do_not_break_the_supervisor(run_guest, tmp_path, debian_tree):
    image = tmp_path / "odd"
    (image / "etc").mkdir(parents=True)
    (image / "bin").mkdir()
    shutil.copy(debian_tree / "bin/busybox", image / "bin/busybox")
    (image / "bin/sh").symlink_to("busybox")
    (image / "etc/passwd").symlink_to("passwd")
    (image / "home").symlink_to("/proc/self/home")
    done = run_guest("sh", "-c", "echo runs", image=image)
    assert "Traceback" not in done.stderr
    (image / "home").unlink()
    (image / "etc/passwd").unlink()
    (image / "etc/passwd").write_bytes(b"::::\nroot:x:notanumber\n\xff\xfe:x:5\n")
    done = run_guest("sh", "-c", "echo runs", image=image)
    assert done.stdout == "runs\n", done.stderr


def test_a_host_that_forbids_ptrace(run_guest, debian_tree):
    """Such as a machine of AppPot's own: the host's root with an AppPot in it."""
    done = run_guest(*start_command("true", image="/srv/tree"), image="/", env={"PYTHONPATH": ""},
                     options=["--bind", f"{debian_tree}:/srv/tree", "--bind", f"{SOURCE}:/srv/source", "--env",
                              "PYTHONPATH=/srv/source", "--bind", f"{sys.prefix}:{sys.prefix}"])
    assert done.returncode == 125
    assert "forbids tracing" in done.stderr and "apppot doctor" in done.stderr and "Traceback" not in done.stderr
