"""What each program tries to break is said in its first lines; here it must not have broken it."""

import os
import re
import resource
import socket
import threading

import pytest

from apppot.platform import layout, libc

from .conftest import finish, held, make_image, start

WALLED = ("standard", "strict", "landlock-1", "no-landlock", "root")
EVERY = (*WALLED, "none")


@pytest.mark.parametrize("level", WALLED)
@pytest.mark.parametrize("program", ["paths", "descriptors", "window"])
def test_no_file_outside_is_reached(attack, outside, program, level):
    held(attack(program, level))
    outside.check()


@pytest.mark.parametrize("level", WALLED)
def test_descriptors_that_a_process_outside_sends(attack, outside, tmp_path, level):
    sent = []

    def send(server):
        client, _ = server.accept()
        directory, process = outside.directory, outside.process.pid
        for letter, fd in (
                (b"f", os.open(outside.secret, os.O_RDONLY)), (b"f", os.open(outside.secret, os.O_PATH)),
                (b"f", os.open(outside.program, os.O_RDONLY)), (b"f", os.open(outside.program, os.O_PATH)),
                (b"d", os.open(directory, os.O_RDONLY)), (b"d", os.open(directory, os.O_PATH)),
                (b"p", os.open(f"/proc/{process}", os.O_RDONLY)), (b"p", os.pidfd_open(process))):
            socket.send_fds(client, [letter], [fd])
            os.close(fd)
            sent.append(letter)
        client.close()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "given"))
        server.listen()
        thread = threading.Thread(target=send, args=(server,))
        thread.start()
        done = attack("descriptors", level, "/given/given", options=["--bind", f"{tmp_path / 'given'}:/given/given"])
        thread.join()
    held(done)
    assert f"{len(sent)} descriptors taken\n" in done.stdout and len(sent) == 8
    outside.check()


@pytest.mark.parametrize("level", WALLED)
def test_descriptors_that_another_machine_sends(attack, hostile, outside, tmp_path, level):
    (tmp_path / "shared").mkdir()
    (tmp_path / "other").mkdir()
    image = make_image(tmp_path / "other-image")
    bound = ["--bind", f"{tmp_path / 'shared'}:/shared"]
    giver = start(hostile("giver"), image, level, outside, "/shared/socket", options=bound, cwd=tmp_path / "other")
    taken = attack("descriptors", level, "/shared/socket", options=bound)
    held(finish(giver))
    held(taken)
    count = int(re.search(r"(\d+) descriptors taken", taken.stdout)[1])
    assert count == (12 if level in ("standard", "landlock-1", "root") else 8)
    outside.check()


@pytest.mark.parametrize("level", WALLED)
@pytest.mark.parametrize("name", ["path", "address", "directory", "dots", "cwd"])
def test_what_changes_meanwhile_leads_nowhere(attack, outside, name, level):
    held(attack("races", level, name))
    outside.check()


@pytest.mark.parametrize("level", WALLED)
def test_no_process_outside_is_reached(attack, outside, level):
    held(attack("processes", level, outside.address))
    outside.check()


@pytest.fixture
def objects():
    """(identifier, key) of a shared memory segment of this user's, and a message queue "apppot-canary"."""
    key = 0x0A99 << 16 | os.getpid() & 0xFFFF
    identifier = libc.syscall("shmget", 29, key, 4096, 0o1600)
    queue = libc.syscall("mq_open", 240, b"apppot-canary", os.O_CREAT | os.O_RDWR, 0o600, 0)
    yield identifier, key
    libc.syscall("shmctl", 31, identifier, 0, 0)
    os.close(queue)
    libc.syscall("mq_unlink", 241, b"apppot-canary")


@pytest.mark.parametrize("level", EVERY)
def test_no_part_of_the_kernel_answers_that_no_guest_needs(attack, outside, objects, level):
    before = ipc()
    master, slave = os.openpty()
    held(attack("kernel", level, *objects, *([] if level == "none" else [os.ttyname(slave)])))
    for fd in master, slave:
        os.close(fd)
    assert ipc() == before, "objects of the machine stay"
    outside.check()


def ipc():
    with open("/proc/sysvipc/shm") as file:
        return sorted(line.split()[1] for line in file.readlines()[1:] if int(line.split()[7]) == os.getuid())


@pytest.mark.parametrize("level", EVERY)
def test_without_a_network_nothing_goes_out(attack, outside, level):
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        held(attack("network", level, tcp.getsockname()[1], udp.getsockname()[1], options=["--network", "none"]))
        for server in tcp, udp:
            server.setblocking(False)
        with pytest.raises(BlockingIOError):
            tcp.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(1)
    outside.check()


@pytest.mark.parametrize("level", EVERY)
@pytest.mark.parametrize("program", ["stub", "burdens"])
def test_the_machine_goes_on(attack, outside, program, level):
    held(attack(program, level, layout.FAST_LENT, layout.FAST_BODY))
    outside.check()


def without_much_memory():
    """In the child that becomes apppot-start."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


@pytest.mark.parametrize("level", ["standard", "strict", "root"])
@pytest.mark.parametrize("name", ["accounts", "words", "libraries", "nameless", "listener"])
def test_the_supervisor_is_neither_held_up_nor_filled(attack, outside, tmp_path, name, level):
    """What it keeps in memory, in its run directory and in the cache is bounded, whatever a guest shows it."""
    cache = tmp_path / "cache"
    cache.mkdir()
    held(attack("supervisor", level, name, env={"APPPOT_CACHE": str(cache)}, limit=without_much_memory))
    assert sum(path.stat().st_blocks * 512 for path in cache.rglob("*") if path.is_file()) < 8 << 20
    outside.check()


@pytest.mark.parametrize("level", WALLED)
def test_what_is_read_only_stays_as_it_is(attack, tmp_path, level):
    given = tmp_path / "given"
    given.mkdir()
    (given / "file").write_text("as it was\n")
    before = (given / "file").stat()
    held(attack("readonly", level, given / "file", options=["--bind", f"{given}:/ro:ro"]))
    after = (given / "file").stat()
    assert (before.st_mode, before.st_mtime_ns, before.st_ctime_ns) == (after.st_mode, after.st_mtime_ns, after.st_ctime_ns)
    assert (os.listdir(given), (given / "file").read_text()) == (["file"], "as it was\n")
