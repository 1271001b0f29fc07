"""Attribute and socket calls on a real namespace: lower files are copied up, never changed."""

import os
import socket
import struct
from errno import EADDRINUSE, EBADF, ECONNREFUSED, ENODATA

import pytest

from apppot.syscalls import attributes, names, sockets, xattrs
from apppot.syscalls.answer import NATIVE, Later, Run, RunHere
from apppot.vfs import copyup, upperlayer
from tests.syscalls.fake_task import FakeTask, call, fails
from tests.vfs.world import World

CWD = -100


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "world", {"file": b"text", "dir": {"inner": b""}, "link": ("link", "file")})
    yield world
    world.close()


@pytest.fixture(params=[False, True], ids=["user", "root"])
def task(request, world):
    task = FakeTask(world.ns)
    task.creds = type(task.creds)(os.geteuid(), os.getegid(), os.getgroups())
    task.creds.virtual = False
    if request.param:
        task.creds = task.creds.become(0, 0, (0,))
    return task


def lower(world, name):
    return os.lstat(world.lowers[0] + name)


def test_a_lower_file_is_changed_in_its_copy(task, world):
    before, path = lower(world, b"/file"), task.path(b"/link")
    assert call(task, attributes.chmod, path, 0o741) == 0
    assert call(task, attributes.truncate, path, 2) == 0
    assert call(task, attributes.utimensat, CWD, path, task.put(struct.pack("<4q", 5, 6, 7, 8)), 0) == 0
    after = world.ns.stat(task.caller, world.node("/file"))
    assert (after.st_mode & 0o7777, after.st_size) == (0o741, 2)
    assert (after.st_atime_ns, after.st_mtime_ns) == (5_000_000_006, 7_000_000_008)
    assert lower(world, b"/file") == before


def test_an_open_file_of_the_upper_layer_is_changed_where_it_is(task, world, monkeypatch):
    assert call(task, attributes.truncate, task.path(b"/file"), 3) == 0
    host = world.node("/file").host
    fd = os.open(host, os.O_RDONLY)
    try:
        task.descriptors[3] = fd
        looked_up = []
        monkeypatch.setattr(world.ns, "at", lambda path: looked_up.append(path))
        times = task.put(struct.pack("<4q", 5, 6, 7, 8))
        assert call(task, attributes.utimensat, 3, 0, times, 0) == 0
        assert (os.fstat(fd).st_atime_ns, os.fstat(fd).st_mtime_ns) == (5_000_000_006, 7_000_000_008)
        assert call(task, attributes.utimensat, 3, 0, 0, 0) == 0
        assert os.fstat(fd).st_mtime_ns > 7_000_000_008
        if not task.caller.virtual:
            assert call(task, attributes.fchmod, 3, 0o741) == call(task, attributes.fchown, 3, -1, -1) == 0
            assert os.fstat(fd).st_mode & 0o7777 == 0o741
        assert not looked_up
        monkeypatch.undo()
        assert call(task, attributes.fchmod, 3, 0o4711) == 0
        assert world.ns.stat(task.caller, world.node("/file")).st_mode & 0o7777 == 0o4711
        os.close(fd)
        task.descriptors[3] = fd = os.open(host, os.O_PATH)
        fails(EBADF, task, attributes.fchmod, 3, 0)
        fails(EBADF, task, attributes.utimensat, 3, 0, times, 0)
        world.call("unlink", "/file")
    finally:
        os.close(fd)


def test_a_task_changes_an_open_file_of_its_own_itself_when_nobody_can_exchange_it(task, world):
    assert call(task, attributes.truncate, task.path(b"/file"), 3) == 0
    own, of_image = os.open(world.node("/file").host, os.O_RDONLY), os.open(world.lowers[0] + b"/dir/inner", os.O_RDONLY)
    before = os.fstat(of_image)
    try:
        task.descriptors = {3: own, 4: of_image}
        times = task.put(struct.pack("<4q", 5, 6, 7, 8))
        calls = [(attributes.utimensat, 0, times, 0), (attributes.fchmod, 0o600), (attributes.fchown, -1, os.getegid())]
        task.alone = True
        for handler, *arguments in calls:
            assert (call(task, handler, 3, *arguments) is NATIVE) == (not task.caller.virtual)
            assert call(task, handler, 4, *arguments) == 0
        fails(EBADF, task, attributes.utimensat, 9, 0, times, 0)
        task.alone = False
        assert [call(task, handler, 3, *arguments) for handler, *arguments in calls] == [0, 0, 0]
        assert os.fstat(of_image)[:9] == before[:9]
    finally:
        for fd in own, of_image:
            os.close(fd)


def test_a_recorded_mode_is_changed_with_its_record(task, world):
    assert call(task, attributes.truncate, task.path(b"/file"), 3) == 0
    node = world.node("/file")
    root = FakeTask(world.ns)
    root.creds = task.creds.become(0, 0, (0,))
    assert call(root, attributes.chmod, root.path(b"/file"), 0o0) == 0
    assert world.ns.stat(task.caller, node).st_mode & 0o7777 == 0
    fd = os.open(node.host, os.O_RDONLY)
    try:
        task.descriptors[3] = fd
        assert call(task, attributes.fchmod, 3, 0o644) == 0
    finally:
        os.close(fd)
    assert world.ns.stat(task.caller, node).st_mode & 0o7777 == 0o644


def test_a_lower_file_is_changed_through_a_descriptor(task, world):
    fd = os.open(world.lowers[0] + b"/file", os.O_RDONLY)
    try:
        task.descriptors[3] = fd
        before = os.fstat(fd)
        assert call(task, attributes.fchmod, 3, 0o700) == 0
        assert world.stat("/file").st_mode & 0o7777 == 0o700
        world.call("unlink", "/file")
        assert call(task, attributes.fchmod, 3, 0o444) == 0
        assert os.fstat(fd) == before
    finally:
        os.close(fd)


def test_root_gives_files_away(task, world):
    task.creds = task.creds.become(0, 0)
    assert call(task, attributes.chown, task.path(b"/file"), 12, 34) == 0
    status = world.ns.stat(task.caller, world.node("/file"))
    assert (status.st_uid, status.st_gid) == (12, 34)


def test_extended_attributes(task, world, extended_attributes):
    path, name = task.path(b"/file"), task.path(b"user.a")
    buffer = task.put(b"value" + bytes(11))
    assert call(task, xattrs.setxattr, path, name, buffer, 5, 0) == 0
    assert os.listxattr(world.lowers[0] + b"/file") == []
    if task.caller.virtual:
        assert call(task, xattrs.getxattr, path, name, buffer, 16) == 5
        assert call(task, xattrs.listxattr, path, buffer, 16) == 7
    assert call(task, xattrs.removexattr, path, name) == 0
    fails(ENODATA, task, xattrs.removexattr, path, name)


def test_access(task, world):
    path = task.path(b"/file")
    assert call(task, attributes.access, path, os.R_OK | os.W_OK) == 0
    answer = call(task, attributes.access, path, os.R_OK)
    assert answer == 0 or answer == Run({0: world.lowers[0] + b"/file"})
    assert call(task, attributes.statfs, path).args[0].endswith(b"/file")


def test_a_socket_is_bound_in_the_upper_layer(task, world):
    address = task.put(struct.pack("<H", 1) + b"/dir/socket\0")
    answer = call(task, sockets.bind, 3, address, 14)
    assert isinstance(answer, RunHere)
    host = answer.args[1][2:-1]
    for alias in task.machine.aliases.items():
        host = host.replace(alias[1], alias[0])
    assert host == world.cow.upper + b"/dir/socket"
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(os.path.dirname(host), os.O_PATH)
        server.bind(b"/proc/self/fd/%d/socket" % here)
        os.close(here)
        fails(EADDRINUSE, task, sockets.bind, 3, address, 14)
        client = socket.socket(socket.AF_UNIX)
        task.descriptors[3] = client.fileno()
        fails(ECONNREFUSED, task, sockets.connect, 3, address, 14)         # nobody listens
        server.listen()
        assert call(task, sockets.connect, 3, address, 14) == 0
        client.close()


@pytest.mark.parametrize("change", [
    lambda task: call(task, attributes.chmod, task.path(b"/file"), 0o600),
    lambda task: call(task, attributes.truncate, task.path(b"/file"), 2),
    lambda task: call(task, attributes.utimensat, CWD, task.path(b"/file"), task.put(struct.pack("<4q", 5, 6, 7, 8)), 0),
    lambda task: call(task, attributes.fchmod, 3, 0o600),
    lambda task: call(task, names.link, task.path(b"/file"), task.path(b"/other")),
    lambda task: call(task, names.rename, task.path(b"/file"), task.path(b"/other")),
], ids=["chmod", "truncate", "utimensat", "fchmod", "link", "rename"])
def test_a_large_lower_file_is_copied_beside_the_supervisor(task, world, change, monkeypatch):
    fd = task.descriptors[3] = os.open(world.lowers[0] + b"/file", os.O_RDONLY)
    monkeypatch.setattr(upperlayer, "LARGE", 1)
    task.machine.procfs = None
    later = change(task)
    assert later.__class__ is Later and world.node("/file").host.startswith(world.lowers[0])
    assert later.work() == 0
    monkeypatch.setattr(copyup, "copy_data", lambda origin, target: pytest.fail("copied once more"))
    assert change(task) == 0                               # of a task that does not wait: the copy is there already
    assert world.node("/other" if world.exists("/other") else "/file").upper
    os.close(fd)


def test_the_wait_for_a_large_file_ends_with_the_change(task, world, monkeypatch):
    monkeypatch.setattr(upperlayer, "LARGE", 1)
    later = call(task, attributes.chmod, task.path(b"/file"), 0o600)
    assert later.work() == 0
    assert later.finish(0) == 0
    assert world.stat("/file").st_mode & 0o7777 == 0o600 and not os.listdir(world.cow.work)


def test_a_wait_that_came_to_nothing(task, world, monkeypatch):
    """The copy is made after all, or the file is gone meanwhile."""
    monkeypatch.setattr(upperlayer, "LARGE", 1)
    later = call(task, attributes.chmod, task.path(b"/file"), 0o600)
    assert later.finish(-9) == 0
    assert world.stat("/file").st_mode & 0o7777 == 0o600
    later = call(task, attributes.chmod, task.path(b"/dir/inner"), 0o600)
    assert later == 0                                      # empty
