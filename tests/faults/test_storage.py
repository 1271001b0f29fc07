"""Disks that are full, read-only or poor, and images that change under a machine."""

import os
import shutil
import subprocess

import pytest

from tests import mounts
from tests.faults.machines import Machine, until
from tests.guest.conftest import environment, start_command
from tests.image import images

# File systems on directories, then the command without the rights to make them.
MOUNT = r"""
while [ "$1" != -- ]; do
    file_system "$1" "$2" "$3"; shift 3
done
shift
exec $drop "$@"
"""


@pytest.fixture
def mounted(tmp_path, job):
    """mounted([(type, options, directory)...], *command) -> CompletedProcess of the command with those file systems."""
    def run(file_systems, *command, **env):
        words = [word for each in file_systems for word in each]
        return mounts.run(MOUNT, *words, "--", *command, cwd=job, env=environment(**env))
    return run


def directory(path):
    path.mkdir()
    return path


def one_line(done, *words):
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert str(word) in done.stderr


FILL = "head -c 20M /dev/zero >/home/user/big; echo status $?; rm /home/user/big; cp /etc/passwd /home/user/p && cmp /etc/passwd /home/user/p && echo fine"


def test_a_cow_on_a_disk_that_fills_up(debian_tree, mounted, tmp_path):
    """The guest is told ENOSPC, as natively, and may go on."""
    disk = directory(tmp_path / "disk")
    done = mounted([("tmpfs", "size=8m", disk)], *start_command("sh", "-c", FILL, image=debian_tree, options=["--cow", disk / "cow"]))
    assert done.stdout == "status 1\nfine\n" and "No space left" in done.stderr, done


def test_copying_up_on_a_full_disk(debian_tree, mounted, tmp_path):
    disk = directory(tmp_path / "disk")
    script = ("head -c 8M /dev/zero >/home/user/big 2>/dev/null; echo x >>/etc/services || echo refused; mkdir /etc/d/e 2>/dev/null;"
              "tail -n1 /etc/services >/dev/null && rm /home/user/big && echo x >>/etc/hostname && cat /etc/hostname")
    for command in (["--root"], ["--root", "--isolation", "strict"]):
        done = mounted([("tmpfs", "size=8m", disk)], *start_command("sh", "-c", script, image=debian_tree,
                                                                    options=["--cow", disk / "cow", *command]))
        assert done.stdout == "refused\nimage\nx\n", done


def test_starting_with_no_room(debian_tree, mounted, tmp_path):
    disk = directory(tmp_path / "disk")
    one_line(mounted([("tmpfs", "size=64k,nr_inodes=3", disk)],
                     *start_command("true", image=debian_tree, options=["--cow", disk / "cow"])), disk, "No space left", "make room there")
    one_line(mounted([("tmpfs", "size=8m,nr_inodes=3", disk)], *start_command("true", image=debian_tree), TMPDIR=str(disk)), "No space")


def test_shared_memory_that_is_full(debian_tree, mounted, tmp_path):
    """The window goes elsewhere when there is no room for it in /dev/shm."""
    done = mounted([("tmpfs", "size=64k", "/dev/shm")], *start_command("cat", "/etc/hostname", image=debian_tree))
    assert (done.stdout, done.stderr) == ("image\n", "")


WALK = "find / -xdev >/dev/null 2>&1; for i in 1 2 3; do stat /usr/bin/* /etc/* >/dev/null 2>&1; done; ls /usr/share/doc/*/ | tail -n 1 >/dev/null; echo fine"


def test_a_guest_that_fills_shared_memory(debian_tree, mounted, tmp_path):
    """The window is on the same file system: what it still needs it may not get, and does without."""
    script = f"head -c 200M /dev/zero >/dev/shm/big 2>/dev/null; {WALK}; rm /dev/shm/big; {WALK}"
    done = mounted([("tmpfs", "size=48m", "/dev/shm")], *start_command("bash", "-c", script, image=debian_tree))
    assert done.stdout == "fine\nfine\n", done


@pytest.fixture
def squashfs(program, tmp_path):
    """A single-file image of one static program and 50 files, and the cache that its contents go to."""
    tree = tmp_path / "tree"
    for name in ("bin", "etc", "data"):
        (tree / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox")
    shutil.copy(busybox, tree / "bin/busybox")
    for name in ("sh", "cat", "ls", "wc", "sleep", "echo", "test"):
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    for number in range(50):
        (tree / "data" / str(number)).write_bytes(os.urandom(100_000))
    image = tmp_path / "image.squashfs"
    images.call(images.tool("mksquashfs"), tree, image, "-noappend", "-no-progress", "-all-root")
    return image


READ = "cat /data/* | wc -c"
ALL = "5000000\n"


def test_a_cache_without_extended_attributes(squashfs, mounted, tmp_path):
    """ramfs has none."""
    cache = directory(tmp_path / "cache")
    done = mounted([("ramfs", "mode=0777", cache)], *start_command("sh", "-c", f"{READ}; {READ}", image=squashfs), APPPOT_CACHE=str(cache))
    assert (done.stdout, done.stderr) == (ALL * 2, ""), done


def test_a_full_cache(squashfs, mounted, tmp_path):
    cache = directory(tmp_path / "cache")
    done = mounted([("tmpfs", "size=4m", cache)], *start_command("sh", "-c", f"{READ}; echo on", image=squashfs), APPPOT_CACHE=str(cache))
    assert done.stdout.endswith("\non\n") and done.stdout != ALL + "on\n"
    assert "No space left" in done.stderr and "Traceback" not in done.stderr


def test_a_read_only_cache(squashfs, mounted, tmp_path, job):
    cache = directory(tmp_path / "cache")
    run = start_command("sh", "-c", READ, image=squashfs)
    one_line(mounted([("tmpfs", "ro", cache)], *run, APPPOT_CACHE=str(cache)), cache)
    done = subprocess.run(run, cwd=job, env=environment(APPPOT_CACHE=str(cache)), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.stdout == ALL, done


def test_an_image_that_is_cut_off_while_it_is_used(squashfs, tmp_path):
    """What was read is there, what was not is EIO, the machine goes on."""
    machine = Machine(tmp_path, squashfs, "sh", "-c", "cat /data/0 | wc -c; echo; cat; cat /data/* >/dev/null; cat /data/0 | wc -c; echo on",
                      stdin=subprocess.PIPE)
    assert machine.process.stdout.readline() == b"100000\n"
    os.truncate(squashfs, os.path.getsize(squashfs) // 2)
    output, _ = machine.process.communicate(b"", timeout=60)
    assert output.endswith(b"100000\non\n"), (output, machine.said())
    assert "Traceback" not in machine.said() and "internal" not in machine.said()


@pytest.mark.parametrize("what", ["file", "directory"])
def test_an_image_that_is_removed_while_it_is_used(squashfs, tmp_path, what):
    image = squashfs if what == "file" else tmp_path / "tree"
    machine = Machine(tmp_path, image, "/bin/busybox", "sh", "-c",
                      "read x </data/0; echo here; read x; cat /data/1 >/dev/null 2>&1; busybox id -u >/dev/null; exit 3", stdin=subprocess.PIPE)
    assert machine.process.stdout.readline() == b"here\n"
    os.unlink(image) if what == "file" else shutil.rmtree(image)
    machine.process.communicate(b"\n", timeout=60)
    assert machine.process.returncode == 3 and "Traceback" not in machine.said() and "internal" not in machine.said()


def test_a_clock_that_goes_back_or_forward(debian_tree, tmp_path):
    """What a killed supervisor left is removed though it is of the future; what runs is not, though it is of long ago."""
    living = Machine(tmp_path, debian_tree, "sleep", "100")
    until(living.guests)
    killed = Machine(directory(tmp_path / "other"), debian_tree, "sleep", "100")
    until(killed.guests)
    dead, alive = killed.run_directory(), living.run_directory()
    killed.kill()
    os.utime(dead, (1 << 32, 1 << 32))
    os.utime(alive, (1, 1))
    next_one = Machine(directory(tmp_path / "next"), debian_tree, "true")
    assert next_one.end()[0] == 0
    assert os.path.exists(alive) and not os.path.exists(dead)
    living.kill()
