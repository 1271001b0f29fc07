"""ProcFS over the host's /proc, with this test's own process as the machine's only one."""

import os
import stat
from types import SimpleNamespace

import pytest

from apppot.vfs.caller import Caller
from apppot.vfs.node import Attributes, Mount, Node
from apppot.vfs.procfs import Name, ProcFS

PID = os.getpid()


class Processes:
    hostname = b"guesthost"
    virtual = False

    def has_process(self, tgid):
        return tgid == PID

    has_task = has_process

    def stopped(self, tid):
        return False

    def processes(self):
        return [PID]

    def exe(self, tgid):
        return b"/usr/bin/prog"

    def cwd(self, tgid):
        return b"/home/user"

    def root(self, tgid):
        return b"/"

    def credentials(self, tgid):
        return SimpleNamespace(ruid=0, euid=0, suid=0, fsuid=0, rgid=0, egid=0, sgid=0, fsgid=0, groups=(0,),
                               virtual=self.virtual)

    def mounts(self):
        return [SimpleNamespace(path=b"/", fstype=b"overlay", source=b"image", options=b"rw")]


class Names:
    """A namespace of one image directory, without symlinks."""

    def __init__(self, image):
        self.image = image

    def guest_path(self, host):
        return host[len(self.image):] or b"/" if (host + b"/").startswith(self.image + b"/") else None

    def at(self, path):
        host = self.image + path
        kind = stat.S_IFMT(os.lstat(host).st_mode) if os.path.lexists(host) else 0
        return Node.at(path, host, kind, None)

    def named(self, host):
        path = self.guest_path(host)
        return None if path is None else self.at(path)

    def attributes(self, caller, st):
        return Attributes(st)


@pytest.fixture
def image(tmp_path):
    for name in ("usr/bin", "home/user", "tmp"):
        (tmp_path / "image" / name).mkdir(parents=True)
    (tmp_path / "image/usr/bin/prog").write_text("")
    return tmp_path / "image"


def mounted(fs, image):
    fs.namespace = Names(os.fsencode(image))
    mount = Mount(b"/proc", fs)
    mount.node = fs.attach(mount)
    fs.mount = mount
    return fs


@pytest.fixture
def proc(image, tmp_path):
    return mounted(ProcFS(Processes(), os.fsencode(tmp_path)), image)


@pytest.fixture
def shared_proc(image, tmp_path):
    """As with `--pid host`."""
    return mounted(ProcFS(Processes(), os.fsencode(tmp_path), others=True), image)


CALLER = Caller(tgid=PID, tid=PID, cwd=b"/home/user")


def walk(fs, path):
    node = fs.mount.node
    for name in path.encode().split(b"/"):
        node = fs.lookup(CALLER, fs.directory(CALLER, node), name)
    return node


def read(fs, path):
    host = fs.open(CALLER, walk(fs, path), os.O_RDONLY, 0)
    with open(host, "rb") as file:
        return file.read()


def test_a_path_taken_apart():
    def parts(path):
        name = Name(path)
        return name.pid, name.tid, name.rest, name.magic

    assert parts(b"12/task/13/fd/3") == (12, 13, b"fd/3", True)
    assert parts(b"12/fd") == (12, None, b"fd", False)
    assert parts(b"12/exe") == (12, None, b"exe", True)
    assert parts(b"exe") == (None, None, b"exe", False)
    assert parts(b"012/exe") == (None, None, b"012/exe", False)
    assert parts(b"12/task") == (12, None, b"task", False)


def test_only_the_machines_processes_are_there(proc):
    names = [name for name, _, _ in proc.entries(CALLER, proc.mount.node.dir)]
    assert [name for name in names if name.isdigit()] == [b"%d" % PID]
    assert {b"self", b"meminfo", b"sys"} <= set(names)
    assert len(names) == len(set(names))
    assert walk(proc, "1").kind == 0
    assert walk(proc, f"{PID}").kind == stat.S_IFDIR
    assert walk(proc, f"{PID}/task/{PID}/fd").kind == stat.S_IFDIR
    assert walk(proc, f"{PID}/task/1").kind == 0


def test_the_hosts_processes_are_seen_from_outside_only(shared_proc):
    parent = os.getppid()
    names = [name for name, _, _ in shared_proc.entries(CALLER, shared_proc.mount.node.dir)]
    assert {b"%d" % PID, b"%d" % parent} <= set(names) and len(names) == len(set(names))
    directory = walk(shared_proc, f"{parent}")
    told = shared_proc.stat(CALLER, directory)
    assert told.st_uid == os.stat(f"/proc/{parent}").st_uid and told.st_ctime_ns == os.stat(f"/proc/{parent}").st_ctime_ns
    below = shared_proc.directory(CALLER, directory)
    assert {name for name, _, _ in shared_proc.entries(CALLER, below)} == {b"stat", b"status", b"cmdline", b"comm"}
    assert not shared_proc.plain_directory(below)
    for name in ("stat", "status", "cmdline", "comm"):
        node = walk(shared_proc, f"{parent}/{name}")
        assert shared_proc.open(CALLER, node, os.O_RDONLY, 0) == b"/proc/%d/%s" % (parent, name.encode())
        assert not shared_proc.by_hand(CALLER, node, os.O_WRONLY)
        with pytest.raises(PermissionError):
            shared_proc.open(CALLER, node, os.O_WRONLY, 0)
    for name in ("environ", "maps", "mem", "fd", "exe", "cwd", "root", "task", "ns"):
        assert shared_proc.lookup(CALLER, below, name.encode()).kind == 0
    assert walk(shared_proc, f"{PID}/task/{PID}/fd").kind == stat.S_IFDIR
    assert walk(shared_proc, "1234567890").kind == 0


def test_self(proc):
    assert proc.readlink(CALLER, walk(proc, "self")) == b"%d" % PID
    assert proc.follow(CALLER, walk(proc, "thread-self")) == b"%d/task/%d" % (PID, PID)


def test_exe_cwd_root(proc, image):
    assert proc.readlink(CALLER, walk(proc, f"{PID}/exe")) == b"/usr/bin/prog"
    assert proc.follow(CALLER, walk(proc, f"{PID}/cwd")).path == b"/home/user"
    assert proc.follow(CALLER, walk(proc, f"{PID}/root")).path == b"/"
    (image / "usr/bin/prog").unlink()
    assert proc.readlink(CALLER, walk(proc, f"{PID}/exe")) == b"/usr/bin/prog (deleted)"
    with pytest.raises(FileNotFoundError):
        proc.follow(CALLER, walk(proc, f"{PID}/exe"))


def test_descriptors(proc, image):
    with open(image / "tmp/file", "wb") as file:
        node = walk(proc, f"{PID}/fd/{file.fileno()}")
        assert (node.kind, node.magic) == (stat.S_IFLNK, True)
        assert proc.readlink(CALLER, node) == b"/tmp/file"
        assert proc.follow(CALLER, node).path == b"/tmp/file"
        (image / "tmp/file").unlink()
        assert proc.readlink(CALLER, node) == b"/tmp/file (deleted)"
        again = proc.follow(CALLER, node)
        assert (again.host, again.kind) == (node.host, stat.S_IFREG)
        assert not proc.plain_stat(CALLER, again)
        proc.truncate(CALLER, again, 7)
        assert proc.stat(CALLER, again).st_size == 7
    read_end, write_end = os.pipe()
    node = walk(proc, f"{PID}/fd/{read_end}")
    assert proc.readlink(CALLER, node).startswith(b"pipe:[")
    assert proc.follow(CALLER, node).kind == stat.S_IFIFO
    os.close(read_end)
    os.close(write_end)


def test_a_directory_outside_the_machine_is_no_way_out(proc, tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    node = walk(proc, f"{PID}/fd/{fd}")
    assert proc.readlink(CALLER, node).startswith(b"(unreachable)/")
    outside = proc.follow(CALLER, node)
    with pytest.raises(PermissionError):
        proc.lookup(CALLER, proc.directory(CALLER, outside), b"image")
    os.close(fd)


def test_generated_texts(proc):
    assert read(proc, f"{PID}/mounts") == b"image / overlay rw 0 0\n"
    assert b"TracerPid:\t0\n" in read(proc, f"{PID}/task/{PID}/status")
    assert b"(unreachable)/" in read(proc, f"{PID}/maps")
    assert read(proc, "sys/kernel/hostname") == b"guesthost\n"
    assert read(proc, f"{PID}/cmdline") == open("/proc/self/cmdline", "rb").read()
    host = proc.open(CALLER, walk(proc, f"{PID}/mounts"), os.O_RDONLY, 0)
    assert proc.guest_name(host) == b"/proc/%d/mounts" % PID
    with open(host) as file:
        proc.forget(host)
        assert proc.readlink(CALLER, walk(proc, f"{PID}/fd/{file.fileno()}")) == b"/proc/%d/mounts" % PID
    proc.forget(host)
    assert not os.path.exists(host)
    assert proc.guest_name(host + b" (deleted)") == b"/proc/%d/mounts" % PID


@pytest.mark.parametrize(("path", "flags", "error"), [
    ("kmsg", os.O_RDONLY, PermissionError),
    ("uptime", os.O_WRONLY, PermissionError),
    ("sys/kernel/hostname", os.O_WRONLY, PermissionError),
    ("new", os.O_WRONLY | os.O_CREAT, FileNotFoundError),
    pytest.param(f"{PID}/mounts", os.O_WRONLY, PermissionError, id="PID/mounts-1-PermissionError"),
])
def test_what_can_not_be_opened(proc, path, flags, error):
    with pytest.raises(error):
        proc.open(CALLER, walk(proc, path), flags, 0)


def test_a_process_of_virtual_root_belongs_to_root(proc):
    proc.processes.virtual = True
    node = walk(proc, f"{PID}")
    assert not proc.plain_stat(CALLER, node)
    assert proc.stat(CALLER, node).st_uid == 0
