"""Random calls on an overlay and on a plain tree with the same contents must have the same results."""

import os
import stat
import tempfile

from hypothesis import HealthCheck, given, settings, strategies as st

from apppot.image.cow import remove_tree
from apppot.vfs import abi
from tests.vfs.world import World, plant, snapshot

NAMES = ["a", "b", "c"]
name = st.sampled_from(NAMES)
contents = st.sampled_from([b"", b"one", b"two" * 3000])
target = st.one_of(name, st.builds("{}/{}".format, name, name), st.builds("{}/../{}".format, name, name))
link = st.tuples(st.just("link"), target)
tree = st.recursive(st.dictionaries(name, st.one_of(contents, link), max_size=3),
                    lambda inner: st.dictionaries(name, st.one_of(contents, link, inner), max_size=3), max_leaves=8)
marked = st.recursive(
    st.dictionaries(st.one_of(name, st.sampled_from([".wh.a", ".wh.b", ".wh..wh..opq"])),
                    contents, max_size=3),
    lambda inner: st.dictionaries(name, st.one_of(contents, link, inner), max_size=3), max_leaves=8)

path = st.builds(lambda parts, end: "/" + "/".join(parts) + end, st.lists(name, min_size=1, max_size=3),
                 st.sampled_from(["", "", "", "", "", "", "/", "/.", "/../a"]))
mode = st.sampled_from([0o755, 0o700, 0o600, 0o644, 0o1777])

READ, WRITE = os.O_RDONLY, os.O_WRONLY
open_flags = st.sampled_from([
    READ, WRITE, os.O_RDWR, WRITE | os.O_TRUNC, WRITE | os.O_APPEND, WRITE | os.O_CREAT, WRITE | os.O_CREAT | os.O_EXCL,
    WRITE | os.O_CREAT | os.O_TRUNC, READ | os.O_CREAT, READ | os.O_DIRECTORY, READ | os.O_NOFOLLOW,
    READ | os.O_DIRECTORY | os.O_NOFOLLOW, READ | os.O_TRUNC, os.O_PATH, os.O_PATH | os.O_NOFOLLOW,
    os.O_RDWR | os.O_TMPFILE, WRITE | os.O_CREAT | os.O_NOFOLLOW])

call = st.one_of(
    st.tuples(st.just("open"), path, open_flags, contents),
    st.tuples(st.just("open"), path, st.just(WRITE | os.O_CREAT), contents),
    st.tuples(st.just("mkdir"), path, mode),
    st.tuples(st.just("unlink"), path),
    st.tuples(st.just("rmdir"), path),
    st.tuples(st.just("rename"), path, path, st.sampled_from([0, 0, 0, 1, 2])),
    st.tuples(st.just("symlink"), path, target),
    st.tuples(st.just("link"), path, path),
    st.tuples(st.just("chmod"), path, mode),
    st.tuples(st.just("truncate"), path, st.sampled_from([0, 2, 10000])),
    st.tuples(st.just("utime"), path, st.integers(1, 10**18)),
    st.tuples(st.just("readdir"), path),
    st.tuples(st.just("stat"), path, st.booleans()),
    st.tuples(st.just("readlink"), path),
    st.tuples(st.just("reopen"), st.booleans()),
)


def merge(*trees):
    """The one tree that layers of trees, topmost first, make: OCI's rules in the simplest words."""
    result = {}
    for layer in reversed(trees):
        if ".wh..wh..opq" in layer:
            result = {}
        for one in [one for one in layer if one.startswith(".wh.") and one != ".wh..wh..opq"]:
            result.pop(one[4:], None)
        for one, what in layer.items():
            if one.startswith(".wh."):
                continue
            below = result.get(one)
            result[one] = merge(what, below if isinstance(below, dict) else {}) if isinstance(what, dict) else what
    return result


class Plain:
    """The calls on a real directory tree."""

    def __init__(self, top):
        self.top = top

    def at(self, path):
        return self.top + os.fsencode(path)

    def open(self, path, flags, data):
        return use(os.open(self.at(path), flags, 0o640), flags, data)

    def mkdir(self, path, mode):
        os.mkdir(self.at(path), mode)

    def unlink(self, path):
        os.unlink(self.at(path))

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def rename(self, old, new, flags):
        abi.renameat2(abi.AT_FDCWD, self.at(old), abi.AT_FDCWD, self.at(new), flags)

    def symlink(self, path, text):
        os.symlink(os.fsencode(text), self.at(path))

    def link(self, old, new):
        os.link(self.at(old), self.at(new), follow_symlinks=False)

    def chmod(self, path, mode):
        os.chmod(self.at(path), mode)

    def truncate(self, path, size):
        os.truncate(self.at(path), size)

    def utime(self, path, when):
        os.utime(self.at(path), ns=(when, when), follow_symlinks=False)

    def readdir(self, path):
        return [(entry.name, stat.S_IFLNK if entry.is_symlink() else
                 stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG)
                for entry in sorted(os.scandir(self.at(path)), key=lambda entry: entry.name)]

    def stat(self, path, follow):
        return shown(os.stat(self.at(path), follow_symlinks=follow))

    def readlink(self, path):
        return os.readlink(self.at(path))

    def reopen(self, clean):
        pass


class Overlaid:
    """The same calls through the namespace."""

    def __init__(self, world):
        self.world = world

    def open(self, path, flags, data):
        return use(self.world.openfile(path, flags, 0o640), flags, data)

    def mkdir(self, path, mode):
        self.world.call("mkdir", path, mode)

    def unlink(self, path):
        self.world.call("unlink", path)

    def rmdir(self, path):
        self.world.call("rmdir", path)

    def rename(self, old, new, flags):
        self.world.rename(old, new, flags)

    def symlink(self, path, text):
        self.world.call("symlink", path, os.fsencode(text))

    def link(self, old, new):
        self.world.link(old, new)

    def chmod(self, path, mode):
        self.world.call("chmod", path, mode, follow=True)

    def truncate(self, path, size):
        self.world.call("truncate", path, size, follow=True)

    def utime(self, path, when):
        self.world.call("utime", path, when, when, follow=False)

    def readdir(self, path):
        world = self.world
        node = world.node(path)
        if node.kind == stat.S_IFDIR and world.ns.plain_directory(node):
            native = sorted(os.listdir(world.ns.open(world.caller, node, os.O_RDONLY | os.O_DIRECTORY)))
            assert native == world.names(path)
        entries = list(world.ns.readdir(world.caller, node))
        for name, ino, dtype, cookie in entries[2:]:
            try:
                child = world.ns.resolve(world.caller, name, node.path, False)
            except PermissionError:
                continue
            assert world.ns.stat(world.caller, child).st_ino == ino
        return sorted((name, dtype << 12) for name, ino, dtype, cookie in entries[2:])

    def stat(self, path, follow):
        world = self.world
        node = world.node(path, follow)
        result = world.ns.stat(world.caller, node)
        if world.ns.plain_stat(world.caller, node):
            assert result.st_mode == os.lstat(node.host).st_mode and result.st_ino == os.lstat(node.host).st_ino
        assert node.kind == stat.S_IFMT(result.st_mode)
        assert world.ns.guest_path(node.host) == node.path
        return shown(result)

    def readlink(self, path):
        return self.world.call("readlink", path, follow=False)

    def reopen(self, clean):
        self.world.reopen(clean)


def kind(mode):
    return stat.S_IFMT(mode)


def shown(result):
    directory = stat.S_ISDIR(result.st_mode)
    return (result.st_mode, result.st_uid, result.st_gid, None if directory else result.st_size,
            None if directory else result.st_nlink)


def use(fd, flags, data):
    """What an open file is good for."""
    with Closing(fd):
        st_mode = os.fstat(fd).st_mode
        if flags & os.O_PATH or not stat.S_ISREG(st_mode):
            return kind(st_mode)
        if flags & (os.O_WRONLY | os.O_RDWR):
            os.write(fd, data)
        if not flags & os.O_WRONLY:
            return os.pread(fd, 20000, 0)
        return os.fstat(fd).st_size


class Closing:
    def __init__(self, fd):
        self.fd = fd

    def __enter__(self):
        return self.fd

    def __exit__(self, *error):
        os.close(self.fd)


def outcome(side, call):
    try:
        return getattr(side, call[0])(*call[1:])
    except OSError as error:
        return os.strerror(error.errno)


def everything(side, top="/"):
    """The whole tree as seen through the calls."""
    found = {}
    entries = outcome(side, ("readdir", top))
    if isinstance(entries, str):
        return {top: entries}
    for entry, dtype in entries:
        path = os.path.join(top, os.fsdecode(entry))
        what = outcome(side, ("readlink", path)) if dtype == stat.S_IFLNK else None
        if dtype == stat.S_IFREG:
            what = outcome(side, ("open", path, os.O_RDONLY, b""))
        found[path] = outcome(side, ("stat", path, False)), what
        if dtype == stat.S_IFDIR:
            found.update(everything(side, path))
    return found


@settings(max_examples=int(os.environ.get("APPPOT_EXAMPLES", "150")), deadline=None,
          suppress_health_check=list(HealthCheck))
@given(marked, tree, st.lists(call, max_size=25))
def test_an_overlay_behaves_like_a_plain_tree(first, second, calls):
    top = os.fsencode(tempfile.mkdtemp(prefix="overlay-"))
    world = World(top, first, second)
    try:
        plain = Plain(plant(top + b"/plain", merge(first, second)))
        before = [snapshot(lower) for lower in world.lowers]
        overlaid = Overlaid(world)
        assert everything(overlaid) == everything(plain)
        for one in calls:
            assert outcome(overlaid, one) == outcome(plain, one), one
        assert everything(overlaid) == everything(plain)
        world.reopen(False)
        assert everything(overlaid) == everything(plain)
        assert not os.listdir(world.cow.work)
        assert [snapshot(lower) for lower in world.lowers] == before
    finally:
        world.close()
        remove_tree(top)
