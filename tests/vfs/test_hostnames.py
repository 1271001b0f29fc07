"""From host names of open directories to the guest's, after the guest has moved them."""

import pytest

from apppot.vfs.hostnames import HostNames


class Fs:
    changeable = b"/upper"

    def roots(self):
        return ((b"/upper", b""), (b"/image", b""))


class Mount:
    path, fs = b"/", Fs()


@pytest.fixture
def names():
    names = HostNames()
    names.set_mounts([Mount])
    return names


def test_a_layer_is_the_root(names):
    assert names.guest_path(b"/image/a/b") == names.guest_path(b"/upper/a/b") == b"/a/b"
    assert names.guest_path(b"/image") == b"/"
    assert names.guest_path(b"/elsewhere") is None


def test_a_lower_directory_that_moved(names):
    assert names.guest_path(b"/image/a/x") == b"/a/x"
    names.directory_moved(b"/a", b"/b", [b"/image/a"])
    assert names.guest_path(b"/image/a") == b"/b"
    assert names.guest_path(b"/image/a/x/y") == b"/b/x/y"
    assert names.guest_path(b"/upper/a") == b"/a"


def test_it_moves_again_and_goes(names):
    names.directory_moved(b"/a", b"/b", [b"/image/a"])
    names.directory_moved(b"/b", b"/c/d", [])
    assert names.guest_path(b"/image/a/x") == b"/c/d/x"
    names.directory_moved(b"/c", b"/e", [b"/image/c"])
    assert names.guest_path(b"/image/a/x") == b"/e/d/x"
    names.directory_moved(b"/e/d", None, [])
    assert names.guest_path(b"/image/a/x") is None
    assert names.guest_path(b"/image/c/f") == b"/e/f"


def test_part_of_what_was_moved_moves(names):
    names.directory_moved(b"/a", b"/b", [b"/image/a"])
    names.directory_moved(b"/b/in", b"/out", [])
    assert names.guest_path(b"/image/a/in/x") == b"/out/x"
    assert names.guest_path(b"/image/a/other") == b"/b/other"
    names.directory_moved(b"/b", b"/z", [])
    assert names.guest_path(b"/image/a/in") == b"/out"
    assert names.guest_path(b"/image/a/other") == b"/z/other"


def test_two_directories_change_places(names):
    names.directories_exchanged(b"/a", b"/b", [b"/image/a"], [b"/image/b"])
    assert names.guest_path(b"/image/a/x") == b"/b/x"
    assert names.guest_path(b"/image/b/x") == b"/a/x"
    names.directories_exchanged(b"/a", b"/b", [], [])
    assert names.guest_path(b"/image/a/x") == b"/a/x"
    assert names.guest_path(b"/image/b/x") == b"/b/x"


def test_what_is_changed_where_it_is(names):
    assert names.changeable(b"/upper/a/x") is names.changeable(b"/upper/a/y") is Mount.fs
    assert names.changeable(b"/image/a/x") is names.changeable(b"/elsewhere/x") is names.changeable(b"/upper") is None
    assert names.changeable(b"/upper/a/x (deleted)") is None
    names.know(b"/upper/a/x", b"/image/x")
    assert names.changeable(b"/upper/a/x") is None
    names.set_mounts([])
    assert names.changeable(b"/upper/a/y") is None


def test_who_has_a_lower_file_open_is_not_given_what_took_its_name(world):
    w = world({"removed": b"1", "replaced": b"2", "renamed": b"3", "written": b"4", "d": {"swapped": b"5", "other": b"6"}})
    lower = w.lowers[0]
    assert all(w.ns.named(lower + b"/" + name).kind for name in (b"removed", b"replaced", b"renamed", b"written", b"d/swapped"))
    w.call("unlink", "/removed")
    w.call("mkdir", "/removed", 0o755)
    w.write("/new", b"")
    w.rename("/new", "/replaced")
    w.rename("/renamed", "/elsewhere")
    w.write("/renamed", b"")
    w.write("/written", b"still the same file")
    w.rename("/d/swapped", "/d/other", 2)
    for name in b"removed", b"replaced", b"renamed", b"d/swapped", b"d/other":
        node = w.ns.named(lower + b"/" + name)
        assert node.kind == 0 and w.exists(b"/" + name) and node.path == b"/" + name
    assert w.ns.named(lower + b"/written").host == w.cow.upper + b"/written"
    assert w.ns.named(w.cow.upper + b"/replaced").kind
    assert w.ns.named(b"/elsewhere") is None
