"""Images that are filled while they are used: what is made when, and what happens when something goes wrong."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from apppot.errors import AppPotError
from apppot.image import cache, detect, lazy, suitable
from apppot.image.cow import Cow
from apppot.vfs.caller import Caller
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay
from apppot.vfs.ownership import Ownership
from tests import mounts
from tests.conftest import ROOT
from tests.image import images


class Machine:
    """A namespace over a lazily filled image; `look` is a reader of files as a guest."""

    def __init__(self, image, place, cow="cow", more=()):
        self.layer = lazy.LazyTree(detect.detect(image), cache=os.fsencode(place / "cache"))
        self.cow = Cow.open(place / cow)
        self.ownership = Ownership(self.cow.upper, self.cow.ownership_log)
        overlay = Overlay([*more, self.layer], self.cow.upper, self.cow.work, self.ownership)
        self.ns = Namespace(overlay, self.ownership, cow=self.cow)
        self.user = Caller(uid=os.geteuid(), gid=os.getegid(), groups=tuple(os.getgroups()), virtual=not os.geteuid())
        self.root = Caller(virtual=True)

    def node(self, path, follow=True):
        return self.ns.resolve(self.root, os.fsencode(path), None, follow)

    def host(self, path):
        return self.node(path, False).host

    def stat(self, path):
        return self.ns.stat(self.root, self.node(path, False))

    def open(self, path, flags=os.O_RDONLY):
        node = self.node(path)
        return os.open(self.ns.open(self.root, node, flags), flags)

    def read(self, path):
        with open(self.open(path), "rb") as file:
            return file.read()

    def names(self, path):
        return sorted(entry[0] for entry in self.ns.readdir(self.root, self.node(path)))[2:]

    def close(self):
        self.ownership.close()
        self.ns.close()
        self.cow.close()
        self.layer.close()


@pytest.fixture(params=["squashfs", "ext4"])
def image(request, squash, ext4):
    return squash if request.param == "squashfs" else ext4


@pytest.fixture
def machine(image, tmp_path):
    made = Machine(image, tmp_path)
    yield made
    made.close()


def test_nothing_is_made_before_it_is_looked_at(machine, image, tmp_path):
    tree = machine.layer.host
    assert os.listdir(tree + b"/many") == []
    assert os.listdir(tree + b"/deep") == []
    random = tree + b"/random"
    assert os.stat(random).st_blocks == 0 and os.stat(random).st_size == 300_001
    assert machine.stat("/random").st_blocks * 512 >= 300_001
    assert len(machine.names("/many")) == 300
    assert os.stat(random).st_blocks == 0
    machine.read("/random")
    assert os.stat(random).st_blocks > 0


def test_of_a_large_directory_only_what_is_looked_up_is_made(machine, image, tmp_path):
    many = machine.layer.host + b"/many"
    assert machine.stat("/many/007").st_size == 14 and not machine.node("/many/nothing").kind
    assert os.listdir(many) == [b"007"]
    assert not cache.verify(image, cache=os.fsencode(tmp_path / "cache"))
    directory = machine.ns.directory(machine.root, machine.node("/many"))
    overlay = directory.fs
    assert overlay.native(directory) is None and not machine.layer.complete(many, needed=False)
    overlay.copy_up(machine.root, machine.node("/many/200"))
    assert len(os.listdir(many)) == 2
    other = Machine(image, tmp_path, "other")
    try:
        assert len(other.names("/many")) == 300 and len(os.listdir(many)) == 300
    finally:
        other.close()
    assert len(machine.names("/many")) == 300 and machine.read("/many/299") == b"299\n" * 299


def test_a_large_directory_is_made_whole_when_many_of_its_names_are_looked_up(machine):
    directory = machine.ns.directory(machine.root, machine.node("/many"))
    for number in range(74):
        machine.node(f"/many/{number:03}")
    assert directory.fs.native(directory) is None
    machine.node("/many/absent")
    assert directory.fs.native(directory) == (machine.layer.host + b"/many", False, False)
    assert len(os.listdir(machine.layer.host + b"/many")) == 300


@pytest.mark.parametrize("shown", [True, False])
def test_who_opened_a_large_directory_before_it_was_made_whole(machine, monkeypatch, shown):
    """On btrfs the kernel doesn't show what was made since, so the supervisor lists it; names in it are as quick as ever."""
    monkeypatch.setattr(suitable, "shows_new_names", lambda directory: shown)
    directory = machine.ns.directory(machine.root, machine.node("/many"))
    assert machine.ns.plain_directory(directory.node) is shown
    assert len(machine.names("/many")) == 300
    assert machine.ns.plain_directory(directory.node) is shown
    assert directory.fs.native(directory) == (machine.layer.host + b"/many", False, False)
    assert machine.ns.plain_directory(machine.node("/deep"))                # it was whole when it was found


@pytest.mark.parametrize("left", ["empty", "long"])
def test_a_file_that_a_killed_run_left_half_made(machine, left):
    os.close(machine.open("/many/001"))
    with open(machine.layer.host + b"/many/250", "wb") as file:
        file.write(b"" if left == "empty" else bytes(5000))
    assert machine.stat("/many/250").st_size == 1000
    assert machine.read("/many/250") == b"250\n" * 250


def test_everything_is_as_in_the_tree_it_was_made_of(machine, source):
    for directory, below, files in os.walk(source):
        for name in below + files:
            path = os.path.join(directory, name)
            guest = path[len(source):]
            st, seen = os.lstat(path), machine.stat(guest)
            assert stat.S_IFMT(seen.st_mode) == stat.S_IFMT(st.st_mode), guest
            if guest[1:] not in images.OWNERS:
                assert (seen.st_mode, seen.st_mtime_ns // 10 ** 9) == (st.st_mode, st.st_mtime_ns // 10 ** 9), guest
            else:
                assert (seen.st_uid, seen.st_gid, seen.st_mode & 0o7777) == images.OWNERS[guest[1:]]
            if stat.S_ISREG(st.st_mode):
                assert (seen.st_size, seen.st_nlink) == (st.st_size, st.st_nlink)
                with open(path, "rb") as file:
                    assert machine.read(guest) == file.read(), guest
            elif stat.S_ISLNK(st.st_mode):
                assert machine.ns.readlink(machine.root, machine.node(guest, False)) == os.readlink(path)
            elif stat.S_ISDIR(st.st_mode):
                assert seen.st_nlink == st.st_nlink, guest
                assert set(os.listdir(path)) == set(machine.names(guest)) - {b"dev", b"lost+found"} or guest == b""
            after = machine.stat(guest)
            assert after.st_mtime_ns == seen.st_mtime_ns and after.st_blocks == seen.st_blocks
            assert os.lstat(machine.host(guest)).st_mtime_ns == seen.st_mtime_ns


def test_hard_links_devices_and_holes(machine):
    machine.read("/random")
    one, two = machine.stat("/random"), machine.stat("/deep/er/again")
    assert (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)
    assert machine.read("/deep/er/again") == machine.read("/random")
    null = machine.stat("/dev/null")
    assert stat.S_ISCHR(null.st_mode) and null.st_rdev == os.makedev(1, 3)
    assert machine.ns.open(machine.root, machine.node("/dev/null"), os.O_RDONLY) == b"/dev/null"
    assert {entry[0]: entry[2] for entry in machine.ns.readdir(machine.root, machine.node("/dev"))}[b"sda"] == 6
    machine.read("/sparse")
    assert os.stat(machine.host("/sparse")).st_blocks * 512 <= 128 << 10


def test_extended_attributes(ext4, tmp_path, extended_attributes):
    machine = Machine(ext4, tmp_path)
    try:
        node = machine.node("/usr/bin/su")
        names = machine.ns.listxattr(machine.root, node)
        assert set(names) == {b"security.capability", b"user.small"}
        assert machine.ns.getxattr(machine.root, node, "security.capability") == b"capable"
        os.close(machine.open("/usr/bin/su", os.O_RDWR))
        assert machine.ns.getxattr(machine.root, machine.node("/usr/bin/su"), "user.small") == b"1"
    finally:
        machine.close()


def test_copies_are_whole(machine, source):
    before = machine.stat("/srv/page")
    os.close(machine.open("/srv/page", os.O_RDWR))
    after = machine.stat("/srv/page")
    assert machine.host("/srv/page").startswith(machine.cow.upper)
    for field in ("st_uid", "st_gid", "st_mode", "st_mtime_ns", "st_size"):
        assert getattr(before, field) == getattr(after, field), field
    assert machine.read("/srv/page") == b"<p>\n"
    machine.ns.rename(machine.root, machine.node("/many"), machine.node("/moved"))
    assert len(machine.names("/moved")) == 300
    assert machine.read("/moved/123") == b"123\n" * 123
    machine.ns.chmod(machine.root, machine.node("/block"), 0o600)
    assert machine.read("/block") == bytes(range(256)) * 512
    machine.ns.link(machine.root, machine.node("/nothing"), machine.node("/linked"))
    machine.ns.truncate(machine.root, machine.node("/deep/er/still/file"), 5)
    assert machine.read("/deep/er/still/file") == b"xxxxx"
    os.close(machine.open("/sparse", os.O_WRONLY | os.O_TRUNC))
    assert machine.read("/sparse") == b""


def test_a_layer_over_it(image, tmp_path):
    layer = tmp_path / "layer"
    (layer / "many").mkdir(parents=True)
    (layer / "many" / "new").write_bytes(b"new")
    (layer / "many" / ".wh.007").touch()
    machine = Machine(image, tmp_path, more=[os.fsencode(layer)])
    try:
        assert len(machine.names("/many")) == 300
        assert machine.read("/many/new") == b"new"
        assert machine.read("/many/100") == b"100\n" * 100
        assert not machine.node("/many/007").kind
    finally:
        machine.close()


def test_what_a_record_says_of_contents_and_lists(ext4, tmp_path, monkeypatch):
    """The fast path opens what is whole, and goes by the mode of what can have no access control list."""
    def record(machine, path):
        return machine.ownership.of(os.lstat(machine.host(path)))

    machine = Machine(ext4, tmp_path)
    try:
        assert not record(machine, "/random").whole
        with_attributes = bool(os.listxattr(machine.host("/usr/bin/su")))
        assert [record(machine, path).listed for path in ("/random", "/usr/bin/su")] == [False, with_attributes]
        machine.read("/random")
        assert machine.ns.root.fs.whole(machine.node("/random"))
    finally:
        machine.close()

    def refuse(*_, **__):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "listxattr", refuse)          # as on a file system that keeps none
    later = Machine(ext4, tmp_path, "later")
    try:
        assert [record(later, path).listed for path in ("/random", "/usr/bin/su")] == [False, False]
        assert record(later, "/random").whole
    finally:
        later.close()


def test_later_runs_read_nothing_of_the_image(image, tmp_path, monkeypatch):
    first = Machine(image, tmp_path)
    first.read("/random")
    first.names("/many")
    first.close()
    monkeypatch.setattr(detect, "reader_of", lambda *_: pytest.fail("the image was read"))
    second = Machine(image, tmp_path)
    try:
        assert len(second.read("/random")) == 300_001
        assert len(second.names("/many")) == 300
        assert second.layer.digest == first.layer.digest
    finally:
        second.close()


def test_a_changed_image_is_another_one(squash, tmp_path):
    copy = tmp_path / "image"
    data = bytearray(open(squash, "rb").read())
    copy.write_bytes(data)
    os.utime(copy, ns=(1, 1_000_000_001))

    def digests():
        window, kind = detect.open_window(detect.detect(copy))
        found = detect.digests(window, kind)
        window.close()
        return found
    one, content = digests()
    os.utime(copy, ns=(5, 1_000_000_001))
    assert digests() == (one, content)
    os.utime(copy, ns=(1, 1_000_000_002))
    assert digests()[0] != one and digests()[1] == content
    data[len(data) // 33 + 1] ^= 1
    copy.write_bytes(data)
    os.utime(copy, ns=(1, 1_000_000_001))
    assert digests()[0] != one and digests()[1] != content


def test_a_cache_that_can_not_be_made(squash, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AppPotError, match="the cache .*/file/trees.*APPPOT_CACHE"):
        lazy.LazyTree(detect.detect(squash), cache=os.fsencode(tmp_path / "file"))


def test_torn_files_of_the_cache_are_made_again(image, tmp_path):
    first = Machine(image, tmp_path)
    first.names("/many")
    first.read("/block")
    place = first.layer.place
    first.close()
    for name in os.listdir(place + b"/index"):
        path = place + b"/index/" + name
        os.truncate(path, os.path.getsize(path) // 2)
    os.truncate(place + b"/image.json", 3)
    second = Machine(image, tmp_path)
    try:
        assert len(second.names("/many")) == 300
        assert second.read("/block") == bytes(range(256)) * 512
    finally:
        second.close()


# Damage, full disks

def test_damage_that_shows_late(squash, tmp_path, capsys):
    """The guest gets EIO, the user one line; what is right still works."""
    data = bytearray(open(squash, "rb").read())
    data[200:200 + 20000] = bytes(20000)      # contents come first
    (tmp_path / "image").write_bytes(data)
    machine = Machine(tmp_path / "image", tmp_path)
    try:
        failed = 0
        for name in ("/random", "/block", "/deep/er/still/file", "/srv/page", "/many/200"):
            try:
                machine.read(name)
            except OSError as error:
                assert error.errno == errno.EIO
                failed += 1
        assert failed
        machine.names("/many")
        assert len(capsys.readouterr().err.splitlines()) == 1
    finally:
        machine.close()


RUN = """
import os, sys, resource
sys.path.insert(0, %r)
from pathlib import Path
from tests.image.test_lazy import Machine
machine = Machine(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
allowed = ()
def attempt(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        if error.errno not in allowed:
            raise
def everything(path):
    for name in attempt(machine.names, path) or ():
        below = path.rstrip(b"/") + b"/" + name
        node = attempt(machine.node, below, False)
        if node is not None and node.kind == 0o040000:
            everything(below)
        elif node is not None and node.kind == 0o100000:
            attempt(machine.read, below)
if len(sys.argv) > 4:
    exec(sys.argv[4])
everything(b"/")
machine.close()
""" % ROOT


BY_NAME = """
for number in range(0, 300, 2):
    attempt(machine.read, b"/many/%03d" % number)
"""


def run(image, place, cow, extra=""):
    return subprocess.Popen([sys.executable, "-c", RUN, os.fspath(image), os.fspath(place), cow, extra],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def is_whole(image, place, source):
    assert cache.verify(image, cache=os.fsencode(place / "cache")) == []
    machine = Machine(image, place, "check")
    try:
        test_everything_is_as_in_the_tree_it_was_made_of(machine, source)
    finally:
        machine.close()


def test_eight_at_once_on_a_cold_cache(image, source, tmp_path):
    running = [run(image, tmp_path, f"cow{number}", BY_NAME * (number % 2)) for number in range(8)]
    for process in running:
        output, _ = process.communicate(timeout=120)
        assert (process.returncode, output) == (0, b"")
    is_whole(image, tmp_path, source)


def test_killed_while_filling(image, source, tmp_path):
    for number in range(12):
        process = run(image, tmp_path, f"cow{number}", BY_NAME * (number % 2))
        if number % 4 == 3:
            other = run(image, tmp_path, f"other{number}")
        deadline = time.monotonic() + 20
        while not (tmp_path / "cache").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.004 * number)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if number % 4 == 3:
            other.communicate(timeout=60)
            assert other.returncode == 0
    is_whole(image, tmp_path, source)


def test_a_file_larger_than_the_limit(squash, source, tmp_path):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1))\nmachine.read('/random')"
    output, _ = run(squash, tmp_path, "cow", limit).communicate(timeout=60)
    assert b"File too large" in output
    is_whole(squash, tmp_path, source)


FULL = r"""
size=$1 place=$2; shift 2
file_system tmpfs "size=$size" "$place/cache"
$drop "$PYTHON" -c "$RUN" "$1" "$place" cow "$ALLOWED" 2>&1
mount -o remount,size=50m "$place/cache" || exit 99
exec $drop "$PYTHON" -c "$CHECK" "$1" "$place" "$2"
"""
CHECK = """
import os, sys
sys.path.insert(0, %r)
from pathlib import Path
from tests.image.test_lazy import is_whole
is_whole(os.fsencode(sys.argv[1]), Path(sys.argv[2]), os.fsencode(sys.argv[3]))
print("whole")
""" % ROOT


@pytest.mark.parametrize("size", ["200k", "600k", "1200k"])
def test_a_full_disk(image, source, tmp_path, size):
    """What was made before the disk was full is right, and the rest is made when there is room again."""
    (tmp_path / "cache").mkdir()
    done = mounts.run(FULL, size, tmp_path, os.fsdecode(image), os.fsdecode(source), env={
        **os.environ, "PYTHON": sys.executable, "RUN": RUN, "CHECK": CHECK, "ALLOWED": f"allowed = {errno.ENOSPC},"})
    output = done.stdout.removesuffix("whole\n")
    assert done.returncode == 0 and output != done.stdout, done
    assert output == "" or "No space left on device; set APPPOT_CACHE" in output, output
