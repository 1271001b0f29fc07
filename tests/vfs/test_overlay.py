"""Copy-up, whiteouts, opaque directories, and what a guest sees of layers."""

import errno
import os
import stat

import pytest

from tests.vfs.test_resolve import fails
from tests.vfs.world import plant, snapshot

LOWER = {"d": {"f": b"lower", "g": b"two", "sub": {"x": b"x"}}, "l": ("link", "d/f"), "e": {}}


def test_writing_copies_up_and_leaves_the_lower_layer(world):
    w = world(LOWER)
    before = snapshot(w.lowers[0])
    w.write("/d/f", b"new", os.O_TRUNC)
    assert w.read("/l") == b"new"
    assert snapshot(w.lowers[0]) == before
    assert not os.listdir(w.cow.work)


def test_copy_up_keeps_mode_times_attributes_and_holes(world):
    w = world(LOWER)
    lower = w.lowers[0] + b"/d/f"
    with open(lower, "r+b") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    os.chmod(lower, 0o640)
    try:
        os.setxattr(lower, "user.test", b"1")
    except OSError:
        pass
    os.utime(lower, ns=(10**18 + 1, 10**18 + 2))
    os.utime(w.lowers[0] + b"/d", ns=(10**18 + 3, 10**18 + 4))
    old = os.stat(lower)
    os.close(w.openfile("/d/f", os.O_WRONLY))
    new = os.stat(w.cow.upper + b"/d/f")
    assert (new.st_mode, new.st_size, new.st_mtime_ns) == (old.st_mode, old.st_size, old.st_mtime_ns)
    assert new.st_atime_ns == os.stat(lower).st_atime_ns == old.st_atime_ns
    assert new.st_blocks <= old.st_blocks + 64 < 32 << 11
    assert os.listxattr(w.cow.upper + b"/d/f") == os.listxattr(lower)
    assert os.stat(w.cow.upper + b"/d").st_mtime_ns == 10**18 + 4
    with open(w.cow.upper + b"/d/f", "rb") as file:
        file.seek(32 << 20)
        assert file.read(6) == b"middle"


def test_truncating_does_not_copy_the_contents_first(world):
    w = world(LOWER)
    w.call("truncate", "/d/g", 0)
    assert w.read("/d/g") == b""
    w.call("truncate", "/d/f", 2)
    assert w.read("/d/f") == b"lo"


def test_removed_files_stay_removed_and_can_come_back(world):
    w = world(LOWER)
    w.call("unlink", "/d/f")
    assert os.path.exists(w.cow.upper + b"/d/.wh.f")
    assert w.names("/d") == [b"g", b"sub"]
    w.reopen(False)
    assert not w.exists("/d/f")
    w.write("/d/f", b"again")
    assert w.read("/d/f") == b"again"
    assert not os.path.exists(w.cow.upper + b"/d/.wh.f")    # tidied at the next look-up
    w.call("unlink", "/d/f")
    assert not w.exists("/d/f")


def test_a_directory_made_where_one_was_removed_is_opaque(world):
    w = world(LOWER)
    w.call("unlink", "/d/sub/x")
    w.call("rmdir", "/d/sub")
    w.call("mkdir", "/d/sub", 0o755)
    assert w.names("/d/sub") == []
    assert os.path.exists(w.cow.upper + b"/d/sub/.wh..wh..opq")
    w.reopen()
    assert w.names("/d/sub") == []
    w.call("rmdir", "/d/sub")
    assert w.names("/d") == [b"f", b"g"]


def test_a_whiteout_beside_a_directory_hides_what_is_below(world):
    w = world(LOWER)
    plant(w.cow.upper, {".wh.d": b"", "d": {"own": b""}})
    w.reopen()
    assert w.names("/d") == [b"own"]


def test_a_lower_directory_is_renamed_whole(world):
    w = world({"d": {"own": b"1", ".wh.g": b""}}, LOWER)
    w.rename("/d", "/e/moved")
    assert w.names("/e/moved") == [b"f", b"own", b"sub"]
    assert w.read("/e/moved/sub/x") == b"x"
    assert not w.exists("/d")
    assert w.ns.plain_directory(w.node("/e/moved"))
    w.reopen(False)
    assert w.names("/e/moved") == [b"f", b"own", b"sub"]
    assert w.names("/") == [b"e", b"l"]


def test_moved_directories_are_told(world):
    w = world(LOWER)
    told = []
    w.ns.moved.append(lambda old, new: told.append((old, new)))
    w.rename("/d", "/n")
    w.rename("/n/f", "/n/f2")
    w.rename("/n", "/e", 2)
    assert told == [(b"/d", b"/n"), (b"/n", b"/e"), (b"/e", b"/n")]


def test_hard_links(world):
    w = world(LOWER)
    w.link("/d/f", "/e/f")
    w.write("/e/f", b"both", os.O_TRUNC)
    assert w.read("/d/f") == b"both"
    assert w.stat("/d/f").st_nlink == 2
    fails(errno.EPERM, w.link, "/d", "/d2")
    fails(errno.EEXIST, w.link, "/d/f", "/d/g")


def test_guests_never_see_whiteouts(world):
    w = world(LOWER)
    w.call("unlink", "/d/f")
    for name in ("/d/.wh.f", "/d/.wh..wh..opq"):
        assert not w.exists(name)
        fails(errno.EPERM, w.write, name, b"")
        fails(errno.EPERM, w.call, "mkdir", name, 0o755)
        fails(errno.EPERM, w.rename, "/d/g", name)


def test_a_merged_directory_keeps_its_inode_number(world):
    w = world(LOWER)
    before = w.stat("/d")
    w.write("/d/new", b"")
    after = w.stat("/d")
    assert (after.st_ino, after.st_dev) == (before.st_ino, before.st_dev)
    host = w.ns.open(w.caller, w.node("/d"), os.O_RDONLY | os.O_DIRECTORY)
    assert os.stat(host).st_ino == before.st_ino
    assert not w.ns.plain_stat(w.caller, w.node("/d"))
    w.call("chmod", "/d", 0o711)
    assert stat.S_IMODE(w.stat("/d").st_mode) == 0o711
    assert stat.S_IMODE(w.ns.attributes(w.caller, os.stat(host)).st_mode) == 0o711


def test_listings_are_stable_while_names_come_and_go(world):
    w = world({"d": {f"{n:03}": b"" for n in range(100)}})
    for n in range(0, 100, 10):
        w.write(f"/d/{n:03}", b"upper")
    node = w.node("/d")
    seen, cookie = [], 0
    for step in range(1000):
        batch = []
        for entry in w.ns.readdir(w.caller, node, cookie):
            batch.append(entry)
            if len(batch) == 7:
                break
        if not batch:
            break
        seen += [entry[0] for entry in batch]
        cookie = batch[-1][3]
        for name, ino, kind, position in batch:
            if name not in (b".", b"..") and not name.startswith(b"new"):
                w.call("unlink", b"/d/" + name)
        w.write(f"/d/new{step}", b"")
    old = [name for name in seen if not name.startswith(b"new")]
    assert sorted(old) == sorted([b".", b".."] + [b"%03d" % n for n in range(100)])
    assert len(seen) == len(set(seen))
    assert all(name.startswith(b"new") for name in w.names("/d"))


def test_several_lowers_with_markers(world):
    w = world({"a": {".wh..wh..opq": b"", "top": b""}, ".wh.b": b""},
              {"a": {"mid": b""}, "b": {"x": b""}, "c": {"mid": b""}},
              {"a": {"low": b""}, "b": {"y": b""}, "c": {"low": b"", "mid": b"low"}})
    assert w.names("/") == [b"a", b"c"]
    assert w.names("/a") == [b"top"]
    assert w.names("/c") == [b"low", b"mid"]
    assert w.read("/c/mid") == b""
    assert w.ns.plain_directory(w.node("/a")) is False and w.ns.plain_directory(w.node("/c")) is False


def test_without_an_upper_layer_all_is_readonly(tmp_path):
    from apppot.vfs.caller import KERNEL
    from apppot.vfs.namespace import Namespace
    from apppot.vfs.overlay import Overlay
    ns = Namespace(Overlay([plant(os.fsencode(tmp_path / "lower"), LOWER)]))
    fails(errno.EROFS, ns.mkdir, KERNEL, ns.at(b"/new"), 0o755)
    fails(errno.EROFS, ns.unlink, KERNEL, ns.at(b"/d/f"))
    fails(errno.EROFS, ns.open, KERNEL, ns.at(b"/d/f"), os.O_WRONLY)
    fails(errno.EROFS, ns.access, KERNEL, ns.at(b"/d/f"), os.W_OK)
    assert ns.open(KERNEL, ns.at(b"/d/f"), os.O_RDONLY).endswith(b"/lower/d/f")


def test_unnamed_files_are_made_in_the_upper_layer(world):
    w = world(LOWER)
    fd = w.openfile("/d", os.O_RDWR | os.O_TMPFILE)
    os.close(fd)
    fails(errno.EINVAL, w.openfile, "/d", os.O_TMPFILE)
    fails(errno.ENOTDIR, w.openfile, "/d/f", os.O_RDWR | os.O_TMPFILE)
    assert w.names("/d") == [b"f", b"g", b"sub"]


def test_a_place_for_native_creation(world):
    w = world(LOWER)
    host = w.ns.create_path(w.caller, w.node("/d/socket", None))
    assert os.path.dirname(host) == w.cow.upper + b"/d"
    fails(errno.EEXIST, w.ns.create_path, w.caller, w.node("/d/f", None))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_permissions_of_the_lower_layer_hold(world):
    w = world(LOWER)
    os.chmod(w.lowers[0] + b"/d", 0o555)
    os.chmod(w.lowers[0] + b"/d/f", 0o444)
    fails(errno.EACCES, w.write, "/d/f", b"")
    fails(errno.EACCES, w.write, "/d/new", b"")
    fails(errno.EACCES, w.call, "unlink", "/d/f")
    fails(errno.EACCES, w.call, "mkdir", "/d/new", 0o755)
    fails(errno.EACCES, w.ns.access, w.caller, w.node("/d/f"), os.W_OK)
    w.call("chmod", "/d/f", 0o644)
    w.write("/d/f", b"mine")
    assert stat.S_IMODE(w.stat("/d").st_mode) == 0o555
    fails(errno.EACCES, w.call, "unlink", "/d/f")
    w.write("/d/sub/deep", b"")
    fails(errno.EPERM, w.call, "chown", "/d/f", 0, 0)
    os.chmod(w.lowers[0] + b"/d", 0o755)


def test_many_names_in_the_caches(world, monkeypatch):
    monkeypatch.setattr("apppot.vfs.layers.MAX_CACHED", 50)
    w = world({"d": {f"{n:03}": b"" for n in range(100)}, "m": {"f": b""}})
    w.write("/m/new", b"")
    for n in range(200):
        assert w.exists(f"/d/{n:03}") == (n < 100)
        assert w.exists("/m/f")
        assert not w.exists(f"/m/{n}")


def test_directories_that_their_owner_cannot_read_are_removed_only_when_empty(world):
    w = world(LOWER)
    for name in ("/empty", "/full", "/d/also empty"):
        w.call("mkdir", name, 0o755)
    w.call("mkdir", "/full/sub", 0o755)
    for name in ("/empty", "/full", "/d/also empty"):
        w.call("chmod", name, 0)
    fails(errno.ENOTEMPTY, w.call, "rmdir", "/full")
    w.call("rmdir", "/d/also empty")
    w.call("mkdir", "/new", 0o755)
    fails(errno.ENOTEMPTY, w.rename, "/new", "/full")
    w.rename("/new", "/empty")
    w.call("rmdir", "/empty")
    assert w.names("/") == [b"d", b"e", b"full", b"l"] and b"also empty" not in w.names("/d")
    w.call("chmod", "/full", 0o700)


def test_renaming_where_the_host_knows_no_flags(world, monkeypatch):
    """As on NFS, whose renameat2(2) takes none."""
    def without_flags(old_fd, old, new_fd, new, flags):
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)

    monkeypatch.setattr("apppot.vfs.abi.renameat2", without_flags)
    w = world(LOWER)
    w.rename("/d/f", "/d/new")
    w.rename("/d/new", "/d/g")
    w.rename("/d", "/moved")
    assert w.read("/moved/g") == b"lower" and w.names("/") == [b"e", b"l", b"moved"]
    w.write("/one", b"1")
    w.write("/two", b"2")
    fails(errno.EINVAL, w.rename, "/one", "/three", 1)
    fails(errno.EINVAL, w.rename, "/one", "/two", 2)
    fails(errno.EEXIST, w.rename, "/one", "/two", 1)
    w.reopen(False)
    assert [w.read(path) for path in ("/one", "/two", "/moved/g")] == [b"1", b"2", b"lower"]
    assert w.names("/") == [b"e", b"l", b"moved", b"one", b"two"] and w.names("/moved") == [b"g", b"sub"]
