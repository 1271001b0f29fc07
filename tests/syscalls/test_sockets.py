"""Addresses of AF_UNIX sockets, translated both ways, on real sockets."""

import os
import socket
import struct
from errno import (EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EBADF, ECONNREFUSED, EINVAL, ENAMETOOLONG, ENETUNREACH, ENODEV, ENOENT,
                   ENOTSOCK)

import pytest

from apppot.syscalls import sockets
from apppot.syscalls.answer import NATIVE, Later, RunHere, Structure
from tests.syscalls.fake_task import FakeTask, StubMount, StubNamespace, call, fails

FD = 3
INET = struct.pack("<H", 2) + struct.pack(">H", 53) + bytes([127, 0, 0, 1]) + bytes(8)


@pytest.fixture
def task(tmp_path):
    return FakeTask(StubNamespace(tmp_path))


@pytest.fixture
def opened(task):
    """open(family, type): a socket that is the task's descriptor 3."""
    made = []

    def make(family=socket.AF_UNIX, kind=socket.SOCK_DGRAM, fd=FD):
        sock = socket.socket(family, kind)
        made.append(sock)
        task.descriptors[fd] = sock.fileno()
        return sock

    yield make
    for sock in made:
        sock.close()


def host(task, name):
    return task.ns.root + name


def unix(name):
    return struct.pack("<H", 1) + name


def address(task, data):
    return task.put(data), len(data)


def listener(task, name=b"/server", kind=socket.SOCK_DGRAM):
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(host(task, name))
    return server


# in


def test_connect_to_a_name_is_made_here(task, opened):
    server = listener(task)
    for name in (b"server\0", b"/server", b"/server\0garbage"):
        client = opened()
        assert call(task, sockets.connect, FD, *address(task, unix(name))) == 0
        client.send(b"through")
        assert server.recv(10) == b"through" and client.getblocking()
    server.close()


def test_connect_waits_beside_the_supervisor_where_nobody_accepts(task, opened):
    server = listener(task, kind=socket.SOCK_STREAM)
    server.listen(0)
    opened(kind=socket.SOCK_STREAM)
    assert call(task, sockets.connect, FD, *address(task, unix(b"/server"))) == 0
    waiting = opened(kind=socket.SOCK_STREAM)
    answer = call(task, sockets.connect, FD, *address(task, unix(b"/server")))
    server.accept()[0].close()
    assert answer.__class__ is Later and answer.work() == 0 and answer.finish(0) == 0
    waiting.getpeername()
    opened(kind=socket.SOCK_STREAM).setblocking(False)
    fails(EAGAIN, task, sockets.connect, FD, *address(task, unix(b"/server")))
    server.close()


def test_connect_follows_no_symlink_that_comes_later(task, opened, monkeypatch):
    listener(task, b"/outside").close()
    found = task.ns.at(b"/link")
    os.symlink(host(task, b"/outside"), found.host)
    found.kind = 0o140000                      # what it was when the name was resolved
    monkeypatch.setattr(task.ns, "resolve", lambda *_: found)
    opened()
    fails(ECONNREFUSED, task, sockets.connect, FD, *address(task, unix(b"/link")))


def test_connect_goes_through_no_link_in_proc(task, opened, monkeypatch):
    listener(task, b"/outside").close()
    found = task.ns.at(b"/outside")
    found.mount = StubMount()
    found.mount.fs = task.machine.procfs
    monkeypatch.setattr(task.ns, "resolve", lambda *_: found)
    opened()
    fails(ECONNREFUSED, task, sockets.connect, FD, *address(task, unix(b"/proc/self/fd/9")))


def test_without_scopes_of_the_kernel_only_abstract_sockets_of_the_machine_are_reached(task, opened):
    task.machine.wall.scoped = False
    name = b"\0apppot-test-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        fails(ECONNREFUSED, task, sockets.connect, FD, *address(task, unix(name)))
        task.tid, task.machine.tasks[os.getpid()] = os.getpid(), os.getpid()
        assert call(task, sockets.connect, FD, *address(task, unix(name))).args[1] == unix(name)
    fails(ECONNREFUSED, task, sockets.connect, FD, *address(task, unix(name)))


def test_connect_passes_other_addresses_as_copies(task):
    for data in (INET, unix(b"\0abstract"), unix(b""), b"", struct.pack("<H", 0)):
        assert call(task, sockets.connect, FD, *address(task, data)) == RunHere({1: data, 2: len(data)})


def test_connect_errors(task):
    open(host(task, b"/plain"), "w").close()
    fails(ENOENT, task, sockets.connect, FD, *address(task, unix(b"/missing\0")))
    fails(ECONNREFUSED, task, sockets.connect, FD, *address(task, unix(b"/plain\0")))
    fails(EINVAL, task, sockets.connect, FD, task.put(INET), -1)
    fails(EINVAL, task, sockets.connect, FD, task.put(bytes(256)), 129)


def test_long_names_go_by_an_alias(task):
    directory = host(task, b"/" + b"d" * 60 + b"/" + b"e" * 60)
    os.makedirs(directory)
    guest = task.ns.guest_path(directory)
    task.caller.cwd = guest
    answer = call(task, sockets.bind, FD, *address(task, unix(b"name\0")))
    assert answer.args[1] == unix(b"/run/s0/name\0")
    assert task.machine.aliases == {directory: b"/run/s0"}
    fails(ENAMETOOLONG, task, sockets.bind, FD, *address(task, unix(b"n" * 105)))


def test_bind_makes_a_name_and_remembers_it(task):
    answer = call(task, sockets.bind, FD, *address(task, unix(b"new\0")))
    placed = unix(host(task, b"/new") + b"\0")
    assert answer == RunHere({1: placed, 2: len(placed)})
    assert answer.after(task, -EADDRINUSE) == -EADDRINUSE
    assert task.machine.socket_names == {}
    assert answer.after(task, 0) == 0
    assert task.machine.socket_names == {host(task, b"/new"): b"new"}


def test_bind_to_an_existing_name(task):
    open(host(task, b"/plain"), "w").close()
    fails(EADDRINUSE, task, sockets.bind, FD, *address(task, unix(b"/plain\0")))


def test_bind_passes_other_addresses(task):
    for data in (INET, unix(b"\0abstract"), unix(b"")):
        assert call(task, sockets.bind, FD, *address(task, data)) == RunHere({1: data, 2: len(data)})


def test_sendto(task, opened):
    listener(task).close()
    opened()
    placed = unix(host(task, b"/server") + b"\0")
    where = address(task, unix(b"server\0"))
    assert call(task, sockets.sendto, FD, 0, 0, 0, *where) == RunHere({4: placed, 5: len(placed)})
    opened(kind=socket.SOCK_STREAM)
    assert call(task, sockets.sendto, FD, 0, 0, 0, *where) is NATIVE
    opened(socket.AF_INET)
    assert call(task, sockets.sendto, FD, 0, 0, 0, *address(task, INET)) is NATIVE
    fails(EBADF, task, sockets.sendto, 99, 0, 0, 0, *where)


def test_not_a_socket(task):
    reader, writer = os.pipe()
    task.descriptors[FD] = reader
    try:
        fails(ENOTSOCK, task, sockets.sendmsg, FD, 0, 0)
        fails(ENOTSOCK, task, sockets.getsockname, FD, 0, task.put(bytes(4)))
        os.fstat(reader)
    finally:
        os.close(reader)
        os.close(writer)


def header(task, name=b""):
    return struct.pack("<QIxxxxQQQQixxxx", task.put(name) if name else 0, len(name), 0x1111, 1, 0x2222, 16, 0)


def test_sendmsg(task, opened):
    listener(task).close()
    opened()
    message = header(task, unix(b"/server"))
    answer = call(task, sockets.sendmsg, FD, task.put(message), 0)
    placed = unix(host(task, b"/server") + b"\0")
    expected = struct.pack("<QI", 0, len(placed)) + message[12:]
    assert answer == RunHere({1: Structure(expected, {0: placed})})


def test_sendmsg_without_a_name_is_copied_too(task, opened):
    opened()
    message = header(task)
    assert call(task, sockets.sendmsg, FD, task.put(message), 0) == RunHere({1: message})


def test_sendmsg_elsewhere_is_native(task, opened):
    opened(kind=socket.SOCK_STREAM)
    assert call(task, sockets.sendmsg, FD, task.put(header(task)), 0) is NATIVE
    opened(socket.AF_INET)
    assert call(task, sockets.sendmmsg, FD, task.put(header(task)), 1, 0) is NATIVE


def test_sendmmsg_sends_the_first_message(task, opened):
    opened()
    vector = task.put(header(task) + bytes(8))
    answer = call(task, sockets.sendmmsg, FD, vector, 3, 0x40)
    assert answer.number == 46 and answer.args[2] == 0x40
    assert answer.after(task, 17) == 1
    assert task.ints(vector + 56, 1) == (17,)
    assert answer.after(task, -11) == -11
    assert call(task, sockets.sendmmsg, FD, vector, 0, 0) is NATIVE


# out


def name_of(task, handler, room=110):
    buffer, length = task.put(bytes(128)), task.put(struct.pack("<I", room))
    answer = call(task, handler, FD, buffer, length)
    if answer is NATIVE:
        return NATIVE
    assert answer == 0
    size, = task.ints(length, 1)
    return size, task.read(buffer, min(size, room))


def test_getsockname(task, opened):
    sock = opened()
    assert name_of(task, sockets.getsockname) is NATIVE  # it has none
    sock.bind(host(task, b"/here"))
    assert name_of(task, sockets.getsockname) == (8, unix(b"/here\0"))
    assert name_of(task, sockets.getsockname, 5) == (8, unix(b"/he"))
    task.machine.socket_names[host(task, b"/here")] = b"../here"
    assert name_of(task, sockets.getsockname) == (10, unix(b"../here\0"))


def test_names_that_are_no_files(task, opened):
    opened().bind(b"\0apppot-test-%d" % os.getpid())
    assert name_of(task, sockets.getsockname) is NATIVE
    opened(socket.AF_INET)
    assert name_of(task, sockets.getsockname) is NATIVE


def test_getsockname_with_a_bad_length(task, opened):
    opened()
    fails(EINVAL, task, sockets.getsockname, FD, 0, task.put(struct.pack("<i", -1)))


def test_aliases_are_undone(task, opened, tmp_path):
    (tmp_path / "deep").mkdir()
    task.machine.aliases[host(task, b"/deep")] = b"/tmp/apppot-alias-%d" % os.getpid()
    alias = task.machine.socket_alias(host(task, b"/deep"))
    os.symlink(host(task, b"/deep"), alias)
    try:
        opened().bind(alias + b"/name")
    finally:
        os.unlink(alias)
    assert name_of(task, sockets.getsockname) == (13, unix(b"/deep/name\0"))


def test_getpeername_and_accept(task, opened):
    server = listener(task, kind=socket.SOCK_STREAM)
    server.listen()
    client = opened(kind=socket.SOCK_STREAM)
    client.bind(host(task, b"/client"))
    client.connect(host(task, b"/server"))
    assert name_of(task, sockets.getpeername) == (10, unix(b"/server\0"))
    accepted, _ = server.accept()
    task.descriptors.update({FD: server.fileno(), 9: accepted.fileno()})
    buffer, length = task.put(bytes(128)), task.put(struct.pack("<I", 110))
    for handler in (sockets.accept, sockets.accept4):
        answer = call(task, handler, FD, buffer, length)
        assert answer.args == {}
        assert answer.after(task, 9) == 9
        assert task.read(buffer, 10) == unix(b"/client\0")
        assert answer.after(task, -11) == -11
    accepted.close()
    server.close()


def test_recvfrom(task, opened):
    opened()
    buffer, length = task.put(bytes(128)), task.put(struct.pack("<I", 110))
    answer = call(task, sockets.recvfrom, FD, 0, 0, 0, buffer, length)
    sender = unix(host(task, b"/sender") + b"\0")
    task.write(buffer, sender)
    task.write(length, struct.pack("<I", len(sender)))
    assert answer.after(task, 4) == 4
    assert task.ints(length, 1) == (10,)
    assert task.read(buffer, 10) == unix(b"/sender\0")
    opened(socket.AF_INET)
    assert call(task, sockets.recvfrom, FD, 0, 0, 0, buffer, length) is NATIVE


# without a network


@pytest.fixture
def lonely(task):
    task.machine.network = "none"
    return task


def test_no_way_out(lonely, opened):
    opened(socket.AF_INET)
    fails(ENETUNREACH, lonely, sockets.connect, FD, *address(lonely, INET))
    fails(ENETUNREACH, lonely, sockets.sendto, FD, 0, 0, 0, *address(lonely, INET))
    fails(ENETUNREACH, lonely, sockets.sendmsg, FD, lonely.put(header(lonely, INET)), 0)
    fails(ENETUNREACH, lonely, sockets.sendmmsg, FD, lonely.put(header(lonely, INET)), 1, 0)


def test_no_way_in(lonely, opened):
    opened(socket.AF_INET)
    fails(EADDRNOTAVAIL, lonely, sockets.bind, FD, *address(lonely, INET))
    fails(EADDRNOTAVAIL, lonely, sockets.listen, FD)


def test_names_still_work(lonely, opened):
    listener(lonely).close()
    opened()
    assert call(lonely, sockets.listen, FD) is NATIVE
    for handler in (sockets.connect, sockets.bind):
        data = unix(b"\0abstract")
        assert call(lonely, handler, FD, *address(lonely, data)) == RunHere({1: data, 2: len(data)})
    assert isinstance(call(lonely, sockets.sendmsg, FD, lonely.put(header(lonely, unix(b"server"))), 0), RunHere)


def test_without_a_network_no_group_is_joined(task):
    for level, option in ((0, 35), (0, 42), (41, 20), (41, 42)):
        fails(ENODEV, task, sockets.setsockopt, FD, level, option)
    assert call(task, sockets.setsockopt, FD, 0, 1) is NATIVE
