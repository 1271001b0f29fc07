"""What the kernel lets a guest do by itself in a writable directory, whatever the supervisor thinks of it."""

import errno
import os
import socket

import pytest

from apppot.platform import landlock, libc

_RESTRICT_SELF, _PR_SET_NO_NEW_PRIVS, _PRCTL = 446, 38, 157
needs_landlock = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
needs_sockets = pytest.mark.skipif(landlock.abi() < landlock.WITH_SOCKETS, reason="Landlock does not know names of sockets")
needs_udp = pytest.mark.skipif(landlock.abi() < landlock.WITH_UDP, reason="Landlock does not know UDP")
needs_refer = pytest.mark.skipif(landlock.abi() < 2, reason="Landlock does not know links between directories")


@pytest.fixture
def under(tmp_path):
    """Calls functions, one after another, in a process confined to tmp_path; their errnos' names, None where all went well."""
    def run(*calls, network=True):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                rules = landlock.rule_set([(os.fsencode(tmp_path), landlock.READ | landlock.WRITE | landlock.RESOLVE_UNIX)], landlock.abi(), network)
                libc.syscall("prctl", _PRCTL, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                libc.syscall("landlock_restrict_self", _RESTRICT_SELF, rules, 0)
                os.write(writer, " ".join(map(_outcome, calls)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader) as pipe:
            results = pipe.read().split()
        os.waitpid(child, 0)
        return [None if result == "ok" else result for result in results]

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.chdir(tmp_path)
    yield run
    os.chdir("/")


def _outcome(call):
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


@needs_landlock
def test_symlinks_are_made_and_moved_by_the_supervisor_alone(under, tmp_path):
    assert under(
        lambda: os.symlink("/etc", "new"),
        lambda: os.rename("link", "moved"),
        lambda: os.rename("link", "one/moved"),
        lambda: os.link("link", "second", follow_symlinks=False),
        lambda: _exchange("link", "file"),
    ) == ["EACCES"] * 5
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "one", "two"]


@needs_landlock
def test_directories_are_moved_and_removed_by_the_supervisor_alone(under, tmp_path):
    assert under(
        lambda: os.rmdir("one"),
        lambda: os.rename("one", "three"),
        lambda: os.rename("one", "two"),
        lambda: os.rename("one", "two/one"),
        lambda: _exchange("one", "two"),
        lambda: _exchange("one", "file"),
        lambda: _exchange("file", "one"),
    ) == ["EACCES"] * 7
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "one", "two"]


@needs_landlock
def test_files_are_the_guests_own(under):
    assert under(
        lambda: os.mkdir("three"),
        lambda: os.link("file", "again"),
        lambda: os.rename("again", "third"),
        lambda: os.unlink("third"),
        lambda: os.unlink("link"),
    ) == [None] * 5


@needs_refer
def test_files_go_from_directory_to_directory(under):
    assert under(lambda: os.rename("file", "one/file"), lambda: os.link("one/file", "two/file")) == [None] * 2


@needs_landlock
def test_nothing_comes_in_from_outside(under, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "file"
    outside.write_text("text")
    failed = under(lambda: os.link(outside, "inside"), lambda: os.rename(outside, "inside"), lambda: os.unlink(outside),
                   lambda: os.mkdir(outside.parent / "new"))
    assert set(failed) <= {"EACCES", "EXDEV"} and len(failed) == 4


def _server(kind, name):
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(name)
    if kind == socket.SOCK_STREAM:
        server.listen()
    return server


def _connect(kind, name):
    with socket.socket(socket.AF_UNIX, kind) as client:
        client.connect(name)


@needs_sockets
def test_sockets_outside_are_not_connected_to(under, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")

    def own():
        with _server(socket.SOCK_STREAM, "own"):
            _connect(socket.SOCK_STREAM, "own")

    def send():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", str(outside / "datagrams"))

    with _server(socket.SOCK_STREAM, str(outside / "stream")), _server(socket.SOCK_DGRAM, str(outside / "datagrams")), \
            _server(socket.SOCK_STREAM, "given"):
        os.symlink(outside, "way")
        assert under(
            lambda: _connect(socket.SOCK_STREAM, str(outside / "stream")),
            lambda: _connect(socket.SOCK_STREAM, "way/stream"),
            lambda: _connect(socket.SOCK_DGRAM, "way/datagrams"),
            send,
            lambda: _connect(socket.SOCK_STREAM, "given"),
            own,
        ) == ["EACCES"] * 4 + [None] * 2


@needs_udp
def test_without_a_network_no_datagram_goes_out(under):
    def with_udp(call):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            call(udp)

    calls = [lambda: with_udp(lambda udp: udp.bind(("127.0.0.1", 0))), lambda: with_udp(lambda udp: udp.connect(("127.0.0.1", 9))),
             lambda: with_udp(lambda udp: udp.sendto(b"x", ("127.0.0.1", 9)))]
    assert under(*calls, network=False) == ["EACCES"] * 3
    assert under(*calls) == [None] * 3


def _exchange(old, new):
    from apppot.vfs import abi
    abi.renameat2(abi.AT_FDCWD, os.fsencode(old), abi.AT_FDCWD, os.fsencode(new), abi.RENAME_EXCHANGE)
