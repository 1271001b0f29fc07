"""Names to nodes: what the resolver does with links, dots, limits and openat2's flags."""

import errno
import os

import pytest

from apppot.vfs import abi
from apppot.vfs.caller import Caller
from apppot.vfs.hostfs import HostFS
from apppot.vfs.node import DOT, DOTDOT, SLASH

TREE = {"etc": {"passwd": b"root\n", "rel": ("link", "passwd"), "abs": ("link", "/etc/passwd")},
        "usr": {"lib": {"libc.so": b"elf"}}, "lib": ("link", "usr/lib"),
        "loop": ("link", "loop"), "out": ("link", "../../../etc"), "dangling": ("link", "etc/new")}


def fails(code, call, *args, **options):
    with pytest.raises(OSError) as caught:
        call(*args, **options)
    assert errno.errorcode[caught.value.errno] == errno.errorcode[code]


@pytest.mark.parametrize("path, expected", [
    ("/etc/passwd", "/etc/passwd"), ("//etc/./passwd", "/etc/passwd"), ("/lib/libc.so", "/usr/lib/libc.so"),
    ("/etc/rel", "/etc/passwd"), ("/etc/abs", "/etc/passwd"), ("/lib/../x", "/usr/x"), ("/..", "/"),
    ("/../../etc", "/etc"), ("/out/passwd", "/etc/passwd"), ("/dangling", "/etc/new"), ("/", "/"), ("etc", "/etc"),
    (".", "/"), ("/lib/", "/usr/lib"), ("/none", "/none")])
def test_a_name_leads_to_its_canonical_path(world, path, expected):
    w = world(TREE)
    for again in range(2):
        assert w.node(path).path == os.fsencode(expected)


@pytest.mark.parametrize("path, code", [
    ("", errno.ENOENT), ("/none/x", errno.ENOENT), ("/etc/passwd/x", errno.ENOTDIR), ("/etc/passwd/", errno.ENOTDIR),
    ("/etc/passwd/.", errno.ENOTDIR), ("/etc/passwd/..", errno.ENOTDIR), ("/loop", errno.ELOOP),
    ("/loop/x", errno.ELOOP), ("/" + "x" * 256, errno.ENAMETOOLONG), ("/" + "./" * 2048, errno.ENAMETOOLONG),
    ("/none/../etc", errno.ENOENT), ("/etc/new/../passwd", errno.ENOENT)])
def test_wrong_names(world, path, code):
    fails(code, world(TREE).node, path)


def test_a_chain_of_40_links_is_followed_and_no_more(world):
    links = {f"l{n}": ("link", f"l{n - 1}") for n in range(1, 42)}
    w = world({"l0": b"end", **links})
    assert w.node("/l40").path == b"/l0"
    fails(errno.ELOOP, w.node, "/l41")


def test_how_a_name_ended(world):
    w = world(TREE)
    assert w.node("/etc").slash == 0
    assert w.node("/etc/").slash == SLASH
    assert w.node("/etc/.").slash == w.node("/etc/./").slash == DOT
    assert w.node("/etc/..").slash == DOTDOT
    assert w.node("/new/", None).slash == SLASH and w.node("/new/", None).kind == 0
    assert w.node("/etc/passwd/", None).slash == SLASH     # judged by the call


def test_a_link_at_the_end_is_followed_only_if_asked(world):
    w = world(TREE)
    assert w.node("/lib", False).path == b"/lib"
    assert w.node("/lib/", False).path == b"/usr/lib"
    assert w.node("/lib/", None).path == b"/lib"


def test_relative_names_start_at_the_cwd_or_the_given_directory(world):
    w = world(TREE)
    w.caller.cwd = b"/usr"
    assert w.node("lib/libc.so").path == b"/usr/lib/libc.so"
    assert w.ns.resolve(w.caller, b"passwd", b"/etc").path == b"/etc/passwd"
    assert w.ns.resolve(w.caller, b"../etc/passwd", b"/usr").path == b"/etc/passwd"


def test_inside_a_root_directory(world):
    w = world({"jail": {"etc": {"x": b""}, "up": ("link", "../.."), "abs": ("link", "/etc/x")}, "etc": {"y": b""}})
    jailed = Caller(root=b"/jail", cwd=b"/jail", uid=w.caller.uid)
    for path in (b"/etc/x", b"/../etc/x", b"up/etc/x", b"abs", b"../../etc/x"):
        assert w.ns.resolve(jailed, path).path == b"/jail/etc/x"


def test_the_flags_of_openat2(world):
    w = world(TREE)

    def resolve(path, flags, start=b"/usr"):
        return w.ns.resolve(w.caller, path, start, True, flags)
    fails(errno.EXDEV, resolve, b"../etc", abi.RESOLVE_BENEATH)
    fails(errno.EXDEV, resolve, b"/etc", abi.RESOLVE_BENEATH)
    assert resolve(b"lib/../lib", abi.RESOLVE_BENEATH).path == b"/usr/lib"
    assert resolve(b"../../lib", abi.RESOLVE_IN_ROOT).path == b"/usr/lib"
    assert resolve(b"/lib", abi.RESOLVE_IN_ROOT).path == b"/usr/lib"
    fails(errno.ELOOP, resolve, b"/lib/libc.so", abi.RESOLVE_NO_SYMLINKS)
    fails(errno.EXDEV, resolve, b"abs", abi.RESOLVE_BENEATH, b"/etc")


def test_no_xdev(world, tmp_path):
    w = world(TREE)
    w.ns.mount(b"/mnt", HostFS(os.fsencode(tmp_path)))
    fails(errno.EXDEV, w.ns.resolve, w.caller, b"mnt/x", b"/", True, abi.RESOLVE_NO_XDEV)
    fails(errno.EXDEV, w.ns.resolve, w.caller, b"../etc", b"/mnt", True, abi.RESOLVE_NO_XDEV)


def test_cached_ways_die_with_their_directories_and_links(world):
    w = world(TREE)
    assert w.read("/lib/libc.so") == b"elf"
    w.call("unlink", "/lib")
    fails(errno.ENOENT, w.node, "/lib/libc.so")
    w.call("symlink", "/lib", b"etc")
    assert w.read("/lib/passwd") == b"root\n"
    w.rename("/usr", "/usr2")
    fails(errno.ENOENT, w.node, "/usr/lib/libc.so")
    assert w.read("/usr2/lib/libc.so") == b"elf"


def test_the_way_back(world, tmp_path):
    job = tmp_path / "job"
    job.mkdir()
    w = world(TREE)
    w.ns.make_mountpoint(b"/home/user/job")
    w.ns.mount(b"/home/user/job", HostFS(os.fsencode(job)))
    lower, job = w.lowers[0], os.fsencode(job)
    for again in range(2):
        assert w.ns.guest_path(lower + b"/etc/passwd") == b"/etc/passwd"
        assert w.ns.guest_path(lower) == w.ns.guest_path(w.cow.upper) == b"/"
        assert w.ns.guest_path(lower + b"/etc") == b"/etc"
        assert w.ns.guest_path(w.cow.upper + b"/a/b") == b"/a/b"
        assert w.ns.guest_path(job) == b"/home/user/job"
        assert w.ns.guest_path(job + b"/out") == b"/home/user/job/out"
        for nothing in (job + b"2/out", b"/nowhere", b"pipe:[1]", b"/memfd:x (deleted)", job + b"/x (deleted)"):
            assert w.ns.guest_path(nothing) is None


def test_the_host_root_as_lower_hides_what_is_private(tmp_path):
    from apppot.image.cow import Cow
    from apppot.vfs.namespace import Namespace
    from apppot.vfs.overlay import Overlay
    with Cow.open(tmp_path / "cow") as cow:
        ns = Namespace(Overlay([b"/"], cow.upper, cow.work), hidden=[cow.path])
        here = os.fsencode(os.path.realpath(tmp_path))
        caller = Caller(uid=os.geteuid(), gid=os.getegid())
        assert ns.guest_path(b"/etc/passwd") == b"/etc/passwd"
        assert ns.guest_path(cow.upper + b"/etc/new") == b"/etc/new"
        assert ns.resolve(caller, here).kind and ns.resolve(caller, b"/etc").host == b"/etc"
        assert ns.resolve(caller, here + b"/cow").kind == 0
        assert b"cow" not in [entry[0] for entry in ns.readdir(caller, ns.at(here))]
        assert not ns.plain_directory(ns.at(here))
