"""What archives may not do, what old ones and other programs' hold, what is left out, and what is refused."""

import gzip
import io
import json
import os
import subprocess
import tarfile

import pytest

from apppot.errors import AppPotError
from apppot.snap import accounts, exclude
from apppot.snap.base import of_tree
from tests.vfs.world import plant, snapshot


def make(path, *members, record=True):
    """An archive of (name, settings) members; settings: of tarfile.TarInfo, and data."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        if record:
            about = json.dumps({"format": "apppot-changes", "version": 1, "base": record}).encode()
            info = tarfile.TarInfo("var/lib/apppot/changes.json")
            info.size = len(about)
            tar.addfile(info, io.BytesIO(about))
        for name, settings in members:
            info = tarfile.TarInfo(name)
            data = settings.pop("data", b"")
            info.size = len(data)
            for key, value in settings.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return os.fsencode(path)


DIR, SYM, LNK, CHR = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE


@pytest.mark.parametrize("members", [
    [("../outside", {})],
    [("a/../../outside", {})],
    [("ok", {}), ("link", {"type": LNK, "linkname": "../../../etc/passwd"})],
    [("link", {"type": LNK, "linkname": "/nowhere"})],
    [("link", {"type": SYM, "linkname": ""})],
    [(".wh.", {})],
    [(".wh..", {})],
    [(".wh...", {})],
    [("etc/.wh...", {})],
    [(".", {"data": b"the root"})],
    [("n" * 300, {})],
    [("d/" * 3000 + "f", {})],
    [("f", {"uid": -1, "uname": "x"})],
    [("etc/motd/below", {})],
    [("out", {"type": SYM, "linkname": "../../../var/tmp"}), ("out/file", {})],
])
def test_refused_whole(machine, members, tmp_path):
    one = machine()
    before = one.tree()
    with pytest.raises(AppPotError):
        one.merge(make(tmp_path / "bad.tar.gz", *members, record=False))
    one.reopen()
    assert one.tree() == before
    assert sorted(os.listdir(one.cow.path)) == [b"cow.json", b"lock", b"upper", b"work"]


def test_nothing_is_written_outside(machine, tmp_path, image):
    (tmp_path / "outside").mkdir()
    before = snapshot(tmp_path / "outside"), snapshot(image)
    one = machine()
    one.merge(make(tmp_path / "bad.tar.gz",
                   ("/etc/absolute", {"data": b"1"}),
                   ("up", {"type": SYM, "linkname": "../../../../../../etc"}),
                   ("up/file", {"data": b"2"}),
                   ("abs", {"type": SYM, "linkname": "/etc/conf"}),
                   ("abs/file", {"data": b"3"}),
                   ("etc/motd", {"type": SYM, "linkname": str(tmp_path / "outside/motd")}),
                   ("etc/motd", {"data": b"4"}),
                   ("dev-sda", {"type": CHR, "devmajor": 8, "devminor": 0}),
                   record=False))
    assert (snapshot(tmp_path / "outside"), snapshot(image)) == before
    assert one.read("/etc/absolute") == b"1" and one.read("/etc/motd") == b"4"
    assert one.read("/etc/file") == b"2" and one.read("/etc/conf/file") == b"3"      # inside, that is
    with pytest.raises(OSError):
        one.read("/dev-sda", caller=one.root)


def test_whiteouts_of_everything(machine, tmp_path):
    one = machine()
    one.merge(make(tmp_path / "empty.tar.gz", (".wh..wh..opq", {}), ("left", {"data": b"x"}), record=False))
    assert one.names("/") == [b"left"]


@pytest.mark.parametrize("damage", [lambda data: data[:len(data) // 2], lambda data: data[:30] + b"\0\xff" * 20 + data[70:],
                                    lambda data: b"", lambda data: b"no archive at all\n" * 100,
                                    lambda data: gzip.compress(gzip.decompress(data)[:700])])
def test_damaged_archives(machine, tmp_path, damage):
    one = machine()
    one.write("/etc/new", os.urandom(5000))
    with open(one.changes(), "rb") as file:
        data = file.read()
    (tmp_path / "bad").write_bytes(damage(data))
    two = machine()
    before = two.tree()
    with pytest.raises(AppPotError) as caught:
        two.merge(tmp_path / "bad")
    assert str(tmp_path / "bad") in caught.value.message and "\n" not in caught.value.message
    two.reopen()
    assert two.tree() == before


@pytest.mark.parametrize("size", [1 << 21, 1 << 40])
def test_huge_headers(machine, tmp_path, size):
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, size
    (tmp_path / "bad").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20) + block)
    with pytest.raises(AppPotError):
        machine().merge(tmp_path / "bad")


# -- bases

def test_another_base_is_refused_with_both_names(machine, tmp_path, image):
    other = plant(tmp_path / "other", {"bin": {"sh": b"another shell"}})
    one = machine(image=other)
    one.write("/file", b"1")
    archive = one.changes()
    two = machine()
    with pytest.raises(AppPotError) as caught:
        two.merge(archive)
    assert of_tree(other) in caught.value.message and of_tree(image) in caught.value.message
    with pytest.raises(AppPotError, match=of_tree(image)):
        machine(changes=[archive])
    two.reopen()
    assert not two.exists("/file")
    two.merge(archive, force=True)
    assert two.exists("/file")
    assert machine(changes=[archive], force=True).exists("/file")


def test_copies_of_an_image_are_the_same_base(image, tmp_path):
    subprocess.run(["cp", "-r", image, tmp_path / "copy"], check=True)
    assert of_tree(image) == of_tree(bytes(tmp_path / "copy"))


def test_changes_since_the_recorded_base(machine):
    one = machine()
    one.write("/etc/first", b"1")
    one.call("unlink", "/etc/motd")
    site = one.changes("site.tar.gz")
    one.snapshots.base()
    assert list(one.snapshots.list()) == []
    one.write("/etc/second", b"2")
    one.call("unlink", "/etc/first")
    mine = one.changes("mine.tar.gz")
    with tarfile.open(mine) as tar:
        assert tar.getnames()[1:] == [".", "etc", "etc/.wh.first", "etc/second"]
    with pytest.raises(AppPotError):
        machine(changes=[mine])
    assert machine(changes=[site, mine]).tree() == one.tree()
    two = machine()
    two.merge(site)
    two.merge(mine)
    assert two.tree() == one.tree()


def test_a_damaged_record_of_the_base(machine):
    one = machine()
    one.write("/x", b"")
    one.snapshots.base()
    with open(one.cow.path + b"/base.json", "w") as file:
        file.write("{")
    with pytest.raises(AppPotError, match="base.json is damaged"):
        one.changes()


# -- what is left out

def test_exclude_patterns():
    left_out = exclude.matcher(b"# comment\n\n*.o\n/var/cache/*\ntmp/x\nb[0-9]\n/only\n")
    for name in (b"a.o", b"src/a.o", b"src/a.o", b"var/cache/apt/x", b"tmp/x", b"home/tmp/x", b"b1", b"a/b7", b"only"):
        assert left_out(name), name
    for name in (b"a.c", b"var/cached", b"xtmp/x", b"bb", b"a/only", b"a.o.x"):
        assert not left_out(name), name


def test_excluded_names_stay_out(machine):
    one = machine()
    for path in ("/var", "/var/lib", "/var/lib/apppot", "/cache"):
        one.call("mkdir", path, 0o755)
    one.write("/var/lib/apppot/apppot-snap.exclude", b"/cache\n*.o\n/etc/motd\n")
    one.write("/cache/x", b"")
    one.write("/a.o", b"")
    one.write("/kept", b"")
    one.call("unlink", "/etc/motd")
    assert [entry.name for entry in one.snapshots.list()] == [
        b"", b"kept", b"var", b"var/lib", b"var/lib/apppot", b"var/lib/apppot/apppot-snap.exclude"]


@pytest.mark.parametrize("below, now, kept", [
    (b"root:x:0:0::/:\n", b"root:x:0:0::/:\nuser:x:1001:1001:AppPot user:/home/user:/bin/bash\n", None),
    (b"", b"root:x:0:0:root:/root:/bin/sh\nuser:x:5:5:AppPot user:/home/user:/bin/sh\n", None),
    (b"root:x:0:0::/:\nuser:x:1:1:own:/u:\n", b"root:x:0:0::/:\nuser:x:9:9:AppPot user:/home/user:/bin/sh\n", None),
    (b"root:x:0:0::/:\n", b"root:x:0:0::/:\nuser:x:1:1:AppPot user:/home/user:/b\nalice:x:2:2::/:\n",
     b"root:x:0:0::/:\nalice:x:2:2::/:\n"),
    (b"root:x:0:0::/:\n", b"root:x:0:0::/new:\n", b"root:x:0:0::/new:\n"),
])
def test_our_own_line_in_passwd(below, now, kept):
    assert accounts.edited(b"etc/passwd", now, below) == kept


# -- archives of others

def incremental(tree, state, archive, *options):
    subprocess.run(["tar", "-C", tree, "--listed-incremental", state, "--format=gnu", "-S", *options, "-czf", archive, "."],
                   check=True)


def test_incremental_archives_of_old_versions(machine, image, tmp_path):
    """As apppot-snap of 2012 made them: tar -g against the state of the base, deletions in the directories' lists."""
    tree = tmp_path / "old"
    subprocess.run(["cp", "-a", os.fsdecode(image), tree], check=True)
    incremental(tree, tmp_path / "state", tmp_path / "base.tar.gz")
    (tree / "etc/motd").unlink()
    (tree / "etc/conf/new").write_text("new")
    subprocess.run(["rm", "-r", tree / "lib/deep/er"], check=True)
    (tree / "lib/deep").rename(tree / "lib/renamed")
    with open(tree / "sparse", "wb") as file:
        file.truncate(10 << 20)
        file.write(b"start")
    os.link(tree / "etc/conf/new", tree / "etc/conf/hard")
    (tree / ("long" * 40)).write_text("long")
    (tree / "sym").symlink_to("x" * 200)
    (tree / "etc/conf/b").write_text("changed")
    incremental(tree, tmp_path / "state", tmp_path / "changes.tar.gz")
    one = machine()
    one.merge(tmp_path / "changes.tar.gz")
    expected = {name: what[1] for name, what in snapshot(os.fsencode(tree)).items()}
    shown = {path[1:]: shown for path, shown in one.tree().items() if path != b"/"}
    assert sorted(shown) == sorted(expected)
    for name, data in expected.items():
        if data is not None:
            assert data in shown[name], name
    assert machine(changes=[tmp_path / "changes.tar.gz"]).tree().keys() == one.tree().keys()
    one.merge(tmp_path / "changes.tar.gz")
    assert sorted(one.tree()) == [b"/"] + sorted(b"/" + name for name in expected)


def test_our_changes_in_gnu_tar_and_python(machine, tmp_path):
    from tests.snap.test_round_trip import modify
    one = machine()
    modify(one)
    archive = os.fsdecode(one.changes())
    (tmp_path / "unpacked").mkdir()
    done = subprocess.run(["tar", "-C", tmp_path / "unpacked", "--no-same-owner", "--exclude=null", "-xzf", archive],
                          capture_output=True, text=True)
    assert done.returncode == 0
    assert all("hdrcharset" in line or "implausibly old" in line for line in done.stderr.splitlines())
    assert (tmp_path / "unpacked/etc/sparse").stat().st_size == 20 << 20
    assert b"new\nline" in os.listdir(bytes(tmp_path / "unpacked/etc/dir"))
    with tarfile.open(archive) as tar:
        assert tar.getmember("etc/dir/null").ischr()
        assert (tar.getmember("etc/new").uid, tar.getmember("etc/new").gid) == (12, 34)


def test_the_same_changes_give_the_same_archive(machine, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    one = machine()
    one.write("/etc/new", b"x" * 10000)
    with open(one.changes("1"), "rb") as first, open(one.changes("2"), "rb") as second:
        assert first.read() == second.read()
