"""File systems with real quotas: EDQUOT to the guest, nothing lost, and all goes on when there is room again; a cache on each."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.test_storage import ALL, READ, squashfs  # noqa: F401: a fixture
from tests.guest.conftest import environment

QUOTA = os.strerror(errno.EDQUOT)
MODES = {"standard": [], "strict": ["--isolation", "strict"], "root": ["--root"]}
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")    # each lets this user have 64 MiB, the first two 2000 files as well: see inside.py
# What there can be none left of. On btrfs a name, a mode and a time are data, too.
EACH_KIND = pytest.mark.parametrize("disk, what", [("ext4", "data"), ("ext4", "files"), ("xfs", "data"), ("xfs", "files"), ("btrfs", "data")],
                                    indirect=["disk"])
NO_FILE = pytest.mark.parametrize("disk, what", [("ext4", "files"), ("xfs", "files"), ("btrfs", "data")], indirect=["disk"])


@pytest.fixture(params=FILE_SYSTEMS)
def disk(request):
    """A directory of this user's on a file system with a quota."""
    yield from emptied(Path("/srv") / request.param)


def emptied(top):
    place = top / "test"
    shutil.rmtree(place, ignore_errors=True)               # of a test that was stopped
    place.mkdir()
    yield place
    subprocess.run(["chmod", "-R", "u+rwX", place], check=True)
    shutil.rmtree(place)
    subprocess.run(["sync", "-f", top], check=True)        # btrfs frees room when it commits


@contextlib.contextmanager
def filled(place, what="data"):
    """While it lasts, this user has no room for data, or for files, on the file system of a directory."""
    files = place.parent / "filling"
    files.mkdir()
    try:
        with open(files / "data", "wb", 0) as file:
            with pytest.raises(OSError) as found:
                for number in range(100_000):
                    file.write(bytes(1 << 20)) if what == "data" else open(files / str(number), "x").close()
            assert found.value.errno == errno.EDQUOT
            size = 1 << 19 if what == "data" else 0
            while size:                                    # the rest, which a whole MiB was too large for
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2
        yield
    finally:
        shutil.rmtree(files)
        subprocess.run(["sync", "-f", place.parent], check=True)


def one_line(done, *words):
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1, done
    for word in (QUOTA, *words):
        assert str(word) in done.stderr, done


FILL = "head -c 100M /dev/zero >{0}/big; echo status $?; rm {0}/big; cp /etc/passwd {0}/p && cmp /etc/passwd {0}/p && echo fine"


@pytest.mark.parametrize("mode", MODES)
def test_a_cow_within_a_quota(start, disk, mode):
    done = start("sh", "-c", FILL.format("/var/tmp"), options=["--cow", disk / "cow", *MODES[mode]])
    assert done.stdout == "status 1\nfine\n" and QUOTA in done.stderr, done


def test_a_temporary_cow_within_a_quota(start, disk):
    done = start("sh", "-c", FILL.format("/tmp"), TMPDIR=str(disk))
    assert done.stdout == "status 1\nfine\n" and QUOTA in done.stderr, done
    assert os.listdir(disk) == []


@pytest.mark.parametrize("mode", ["standard", "strict"])
def test_a_job_directory_within_a_quota(start, disk, mode):
    done = start("sh", "-c", FILL.format("."), cwd=disk, options=MODES[mode])
    assert done.stdout == "status 1\nfine\n" and QUOTA in done.stderr, done
    assert os.listdir(disk) == ["p"]


# Each call of the list is tried in a machine whose COW has no room left, and once more when there is some. A call may work
# without room (the directory has a block already); what it may not do is fail otherwise, or half.
CALLS = r"""
import errno, os, sys
calls = {
    "append": lambda: open("/etc/services", "a").write("x" * 9000),
    "make": lambda: open("/etc/new", "x").write("x" * 9000),
    "mkdir": lambda: [os.makedirs(f"/etc/d/{n}") for n in range(5)],
    "symlink": lambda: [os.symlink("x" * 1000, f"/usr/share/s{n}") for n in range(5)],
    "mknod": lambda: [os.mkfifo(f"/usr/share/p{n}") for n in range(5)],
    "rename a file": lambda: os.rename("/etc/hostname", "/etc/Hostname"),
    "rename a directory": lambda: os.rename("/etc/apt", "/etc/apt2"),
    "link": lambda: os.link("/etc/issue", "/etc/issue2"),
    "chmod": lambda: os.chmod("/etc/debian_version", 0o600),
    "truncate": lambda: os.truncate("/etc/login.defs", 5000),
    "unlink": lambda: os.unlink("/etc/nsswitch.conf"),
    "times": lambda: os.utime("/etc/shells", (1, 1)),
}
names = "services new hostname Hostname issue issue2 debian_version login.defs nsswitch.conf shells".split()
def state():
    found = {}
    paths = [f"/etc/{name}" for name in names]
    for top in "/etc/apt", "/etc/apt2":
        paths += [os.path.join(where, name) for where, _, files in os.walk(top) for name in files]
    for path in paths:
        if os.path.lexists(path):
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_size)
    return found
for name in sys.argv[1:] or calls:
    before = state()
    try:
        calls[name]()
        print(name, "works")
    except OSError as error:
        print(name, errno.errorcode[error.errno], end="")
        multiple = name in ("append", "make", "mkdir", "symlink", "mknod")      # several calls each
        print("" if multiple or state() == before else " and half done: %s" % (set(state().items()) ^ set(before.items())))
"""


@EACH_KIND
@pytest.mark.parametrize("mode", MODES)
def test_each_call_without_room(start, disk, mode, what):
    options = ["--cow", disk / "cow", *MODES[mode]]
    assert start("true", options=options).returncode == 0
    with filled(disk, what):
        done = start("python3", "-S", "-c", CALLS, options=options)
        answers = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
        assert done.returncode == 0 and done.stderr == "" and set(answers.values()) <= {"works", "EDQUOT"}, done
        assert answers["make" if what == "files" else "append"] == answers["rename a directory"] == "EDQUOT", done
        assert os.listdir(disk / "cow/work") == []
    failed = [name for name, answer in answers.items() if answer == "EDQUOT" and name not in ("make", "mkdir", "symlink", "mknod")]
    done = start("python3", "-S", "-c", CALLS, *failed, options=options)
    assert done.stdout == "".join(f"{name} works\n" for name in failed), done


@NO_FILE
def test_starting_with_no_room(start, disk, what):
    with filled(disk, what):
        one_line(start("true", options=["--cow", disk / "cow"]), disk)
        one_line(start("true", TMPDIR=str(disk)), disk)
    assert start("true", options=["--cow", disk / "cow"]).returncode == 0


def test_a_cache_within_a_quota(start, disk, squashfs):  # noqa: F811: the fixture
    """What was not made is made later; nothing half made is taken for whole."""
    cache = {"APPPOT_CACHE": str(disk / "cache")}
    with filled(disk):
        done = start("sh", "-c", f"{READ}; echo on", image=squashfs, **cache)
        assert QUOTA in done.stderr and "Traceback" not in done.stderr, done
        assert done.returncode == 125 or done.stdout.endswith("\non\n") and done.stdout != ALL + "on\n", done
    done = start("sh", "-c", READ, image=squashfs, **cache)
    assert (done.stdout, done.stderr) == (ALL, ""), done


@pytest.mark.parametrize("mode", MODES)
def test_listing_what_is_made_as_it_is_listed(start, disk, squashfs, mode):  # noqa: F811: the fixture
    """btrfs does not show names that were made after a directory was opened."""
    cache = {"APPPOT_CACHE": str(disk / "cache")}
    script = f"{READ}; for i in 1 2; do set -- /data/*; echo $#; done; ls /data | wc -l"
    for _ in range(2):
        done = start("sh", "-c", script, image=squashfs, options=MODES[mode], **cache)
        assert (done.stdout, done.stderr) == (ALL + "50\n50\n50\n", ""), done


def snap(cow, *words):
    return subprocess.run([sys.executable, "-m", "apppot.cli.snap", "--cow", cow, *words], cwd=cow.parent, env=environment(),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)


def contents(top):
    return {path: path.read_bytes() if path.is_file() else None for path in top.rglob("*")}


SHOW = "cd /etc; ls -d site/* Apt; cksum site/file39 services; ls hostname issue"


@EACH_KIND
def test_a_merge_without_room(start, disk, tmp_path, what):
    """It is said, and the COW is as before; with room the merge is whole."""
    change = "mkdir /etc/site; for i in $(seq 40); do head -c 9000 /dev/urandom >/etc/site/file$i; done; echo x >>/etc/services; mv /etc/apt /etc/Apt; rm /etc/hostname"
    seen = start("sh", "-c", f"{change}; {SHOW}", options=["--root", "--cow", tmp_path / "one"])
    archive = tmp_path / "changes.tar.gz"
    assert snap(tmp_path / "one", "changes", archive).returncode == 0
    cow = disk / "cow"
    assert start("sh", "-c", "echo mine >/etc/issue", options=["--root", "--cow", cow]).returncode == 0
    before = contents(cow / "upper")
    with filled(disk, what):
        done = snap(cow, "merge", archive)
        assert done.returncode != 0 and QUOTA in done.stderr and len(done.stderr.splitlines()) == 1, done
        assert contents(cow / "upper") == before and os.listdir(cow / "work") == []
    done = start("sh", "-c", "cat /etc/hostname /etc/issue; ls -d /etc/site", options=["--root", "--cow", cow])
    assert done.stdout == "image\nmine\n", done
    assert snap(cow, "merge", archive).returncode == 0
    assert start("sh", "-c", SHOW, options=["--root", "--cow", cow]).stdout == seen.stdout
