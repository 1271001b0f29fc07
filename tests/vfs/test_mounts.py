"""Mounts: host directories and files, read-only ones, /dev, mount points."""

import errno
import os
import stat

import pytest

from apppot.vfs.caller import Caller
from apppot.vfs.devfs import Dev
from apppot.vfs.hostfs import HostFS
from tests.vfs.test_resolve import fails
from tests.vfs.world import plant

LOWER = {"etc": {"hosts": b"image\n"}, "home": {}, "d": {"f": b""}}
JOB = {"in": b"data", "sub": {"deep": {"f": b"deep"}}, "up": ("link", ".."), "escape": ("link", "/etc"),
       "deeper": ("link", "sub/deep")}


@pytest.fixture
def mounted(world, tmp_path):
    w = world(LOWER)
    w.job = plant(tmp_path / "job", JOB)
    w.ns.make_mountpoint(b"/home/user/job")
    w.ns.mount(b"/home/user/job", HostFS(w.job))
    return w


def test_names_and_calls_reach_the_host(mounted):
    w = mounted
    assert w.read("/home/user/job/in") == b"data"
    assert w.read("/home/user/job/deeper/f") == b"deep"
    w.write("/home/user/job/out", b"result")
    w.call("mkdir", "/home/user/job/new", 0o750)
    w.call("symlink", "/home/user/job/new/link", b"../in")
    w.rename("/home/user/job/out", "/home/user/job/new/out")
    w.link("/home/user/job/in", "/home/user/job/in2")
    w.call("chmod", "/home/user/job/in", 0o600)
    w.call("utime", "/home/user/job/in", 10**18, 10**18)
    w.call("truncate", "/home/user/job/in", 2)
    assert sorted(os.listdir(w.job + b"/new")) == [b"link", b"out"]
    st = os.stat(w.job + b"/in2")
    assert (stat.S_IMODE(st.st_mode), st.st_mtime_ns > 10**18, st.st_size, st.st_nlink) == (0o600, True, 2, 2)
    w.call("unlink", "/home/user/job/new/out")
    w.call("unlink", "/home/user/job/new/link")
    w.call("rmdir", "/home/user/job/new")
    assert not os.path.exists(w.job + b"/new")
    assert w.ns.plain_directory(w.node("/home/user/job"))
    assert w.node("/home/user/job/..").path == b"/home/user"


def test_links_lead_into_the_guest_not_the_host(mounted):
    w = mounted
    assert w.node("/home/user/job/up").path == b"/home/user"
    assert w.node("/home/user/job/escape/hosts").host == w.lowers[0] + b"/etc/hosts"


def test_changes_from_outside_are_seen_at_once(mounted):
    w = mounted
    path = "/home/user/job/sub/deep/f"
    assert w.exists(path) and w.exists(path)
    os.rename(w.job + b"/sub/deep", w.job + b"/sub/other")
    fails(errno.ENOENT, w.node, path)
    os.symlink("other", w.job + b"/sub/deep")
    assert w.node(path).path == b"/home/user/job/sub/other/f"
    os.unlink(w.job + b"/sub/deep")
    os.mkdir(w.job + b"/sub/deep")
    assert not w.exists(path)
    open(w.job + b"/sub/deep/f", "w").close()
    assert w.exists(path)


def test_a_swapped_symlink_does_not_lead_out(mounted, tmp_path):
    w = mounted
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"keep")
    node = w.node("/home/user/job/sub/deep/f", None)
    new = w.node("/home/user/job/sub/deep/new", None)
    os.rename(w.job + b"/sub/deep", w.job + b"/gone")
    os.symlink(outside, w.job + b"/sub/deep")
    for call, args in (("unlink", ()), ("chmod", (0o777,)), ("truncate", (0,)), ("utime", (1, 1))):
        fails(errno.ELOOP, refuse, getattr(w.ns, call), w.caller, node, *args)
    fails(errno.ELOOP, refuse, w.ns.mkdir, w.caller, new, 0o755)
    assert (outside / "f").read_bytes() == b"keep" and os.listdir(outside) == ["f"]


def refuse(call, *args):
    """ELOOP and ENOTDIR both say that the way isn't what it was."""
    try:
        call(*args)
    except NotADirectoryError:
        raise OSError(errno.ELOOP, "") from None


def test_between_mounts(mounted):
    w = mounted
    fails(errno.EXDEV, w.rename, "/home/user/job/in", "/etc/in")
    fails(errno.EXDEV, w.link, "/home/user/job/in", "/etc/in")
    fails(errno.EBUSY, w.call, "rmdir", "/home/user/job")
    fails(errno.EBUSY, w.rename, "/home/user/job", "/home/user/job2")
    fails(errno.EBUSY, w.rename, "/home/user", "/home/user2")
    fails(errno.ENOTEMPTY, w.call, "rmdir", "/home/user")


def test_readonly(world, tmp_path):
    w = world(LOWER)
    w.ns.mount(b"/mnt", HostFS(plant(tmp_path / "data", JOB), readonly=True))
    assert w.read("/mnt/in") == b"data"
    for call, path, args in (("mkdir", "/mnt/x", (0o755,)), ("unlink", "/mnt/in", ()), ("rmdir", "/mnt/sub", ()),
                             ("symlink", "/mnt/x", (b"y",)), ("chmod", "/mnt/in", (0,)), ("chown", "/mnt/in", (0, 0)),
                             ("utime", "/mnt/in", (1, 1)), ("truncate", "/mnt/in", (0,))):
        fails(errno.EROFS, w.call, call, path, *args)
    fails(errno.EROFS, w.write, "/mnt/in", b"")
    fails(errno.EROFS, w.write, "/mnt/new", b"")
    fails(errno.EROFS, w.rename, "/mnt/in", "/mnt/in2")
    fails(errno.EROFS, w.ns.access, w.caller, w.node("/mnt/in"), os.W_OK)


def test_mount_points_are_listed_and_need_not_exist(world, tmp_path):
    w = world(LOWER)
    (tmp_path / "x").mkdir()
    w.ns.mount(b"/d/new", HostFS(os.fsencode(tmp_path / "x")))
    entries = {entry[0]: entry for entry in w.ns.readdir(w.caller, w.node("/d"))}
    assert entries[b"new"][1] == os.stat(tmp_path / "x").st_ino
    assert sorted(entries) == [b".", b"..", b"f", b"new"]
    assert not w.ns.plain_directory(w.node("/d"))
    w.ns.umount(b"/d/new")
    assert w.names("/d") == [b"f"]
    fails(errno.EINVAL, w.ns.umount, b"/d/new")


def test_made_mount_points_are_remembered(world):
    w = world(LOWER)
    assert w.ns.make_mountpoint(b"/d/a/b") == [b"/d/a", b"/d/a/b"]
    assert w.ns.make_mountpoint(b"/d/a/file", directory=False) == [b"/d/a/file"]
    assert w.ns.make_mountpoint(b"/d/a/b") == []
    w.reopen(False)
    assert w.cow.mountpoints == [b"/d/a", b"/d/a/b", b"/d/a/file"]


def test_one_file_and_soft_mounts(world, tmp_path):
    (tmp_path / "hosts").write_bytes(b"host\n")
    w = world(LOWER)

    def mount():
        w.ns.mount(b"/etc/hosts", HostFS(os.fsencode(tmp_path / "hosts"), readonly=True), soft=True)
    mount()
    assert w.read("/etc/hosts") == b"host\n"
    assert w.ns.guest_path(os.fsencode(tmp_path / "hosts")) == b"/etc/hosts"
    fails(errno.EROFS, w.write, "/etc/hosts", b"", os.O_TRUNC)
    w.write("/etc/new", b"guest\n")
    w.rename("/etc/new", "/etc/hosts")
    assert w.read("/etc/hosts") == b"guest\n"
    mount()
    w.call("unlink", "/etc/hosts")
    assert not w.exists("/etc/hosts")
    assert (tmp_path / "hosts").read_bytes() == b"host\n"


CHANGES = {
    "open": lambda w: w.write("/etc/hosts", b"more\n", os.O_APPEND, caller=w.root),
    "truncate": lambda w: w.call("truncate", "/etc/hosts", 2, caller=w.root),
    "chmod": lambda w: w.call("chmod", "/etc/hosts", 0o600, caller=w.root),
    "chown": lambda w: w.call("chown", "/etc/hosts", 33, 33, caller=w.root),
    "utime": lambda w: w.call("utime", "/etc/hosts", 5, 5, caller=w.root),
}


@pytest.mark.parametrize("below", [b"image\n", None, ("link", "elsewhere")])
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_copied_when_it_is_changed(world, tmp_path, name, below):
    (tmp_path / "hosts").write_bytes(b"host\n")
    os.chmod(tmp_path / "hosts", 0o644)
    before = os.stat(tmp_path / "hosts")
    w = world({"etc": {} if below is None else {"hosts": below}})
    w.ns.mount(b"/etc/hosts", HostFS(os.fsencode(tmp_path / "hosts"), readonly=True), soft=True, copied=True)
    w.call("access", "/etc/hosts", os.W_OK, caller=w.root)
    assert w.node("/etc/hosts").mount.path == b"/etc/hosts"
    CHANGES[name](w)
    assert w.node("/etc/hosts").mount.path == b"/"
    assert w.read("/etc/hosts", caller=w.root) == {"open": b"host\nmore\n", "truncate": b"ho"}.get(name, b"host\n")
    st = w.stat("/etc/hosts", caller=w.root)
    assert (st.st_mode & 0o777, st.st_gid) == {"chmod": (0o600, st.st_gid), "chown": (0o644, 33)}.get(name, (0o644, st.st_gid))
    after = os.stat(tmp_path / "hosts")
    assert (after.st_mode, after.st_mtime_ns, (tmp_path / "hosts").read_bytes()) == (before.st_mode, before.st_mtime_ns, b"host\n")
    assert w.names("/etc", caller=w.root) == [b"hosts"]
    w.reopen(False)
    assert w.node("/etc/hosts").upper


def test_only_who_could_replace_it_gets_a_copy(world, tmp_path):
    (tmp_path / "hosts").write_bytes(b"host\n")
    w = world(LOWER)
    w.ns.mount(b"/etc/hosts", HostFS(os.fsencode(tmp_path / "hosts"), readonly=True), soft=True, copied=True)
    w.call("chown", "/etc", 0, 0, caller=w.root)
    w.call("chmod", "/etc", 0o755, caller=w.root)
    other = Caller(uid=4711, gid=4711, virtual=True)
    fails(errno.EACCES, w.write, "/etc/hosts", b"", os.O_TRUNC, caller=other)
    fails(errno.EACCES, w.call, "access", "/etc/hosts", os.W_OK, caller=other)
    fails(errno.EACCES, w.call, "truncate", "/etc/hosts", 0, caller=other)
    assert w.read("/etc/hosts") == b"host\n" and w.node("/etc/hosts").mount.path == b"/etc/hosts"


def test_virtual_root_on_a_host_mount(mounted):
    w = mounted
    before = os.stat(w.job + b"/in")
    w.call("chown", "/home/user/job/in", 33, 33, caller=w.root)
    assert w.stat("/home/user/job/in", caller=w.root).st_uid == 33
    after = os.stat(w.job + b"/in")
    assert (before.st_uid, before.st_mode) == (after.st_uid, after.st_mode)


def test_dev(world, tmp_path):
    w = world(LOWER)
    w.ns.make_mountpoint(b"/dev")
    run = tmp_path / "run"
    run.mkdir()
    Dev(os.fsencode(run)).mount(w.ns)
    with open(w.ns.open(w.caller, w.node("/dev/null"), os.O_RDWR), "r+b", buffering=0) as null:
        assert stat.S_ISCHR(os.fstat(null.fileno()).st_mode)
    assert w.node("/dev/stdin", False).kind == stat.S_IFLNK
    assert w.call("readlink", "/dev/fd") == b"/proc/self/fd"
    w.write("/dev/shm/segment", b"x")
    assert w.read("/dev/shm/segment") == b"x"
    kinds = {entry[0]: entry[2] << 12 for entry in w.ns.readdir(w.caller, w.node("/dev"))}
    assert kinds[b"null"] == stat.S_IFCHR and kinds[b"fd"] == stat.S_IFLNK and kinds[b"shm"] == stat.S_IFDIR
