"""A merge or snapshot that is killed at any of its steps leaves the state before, or after; never something between."""

import multiprocessing
import os
import signal
import sys
import time

import pytest

from tests.snap.test_round_trip import modify


def killed_after(steps, function):
    """Run function in a child that is killed just before it would make its change number `steps` on the disk: whether
    it was."""
    changes = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.utime", "open")

    def child():
        count = 0

        def audit(event, args):
            nonlocal count
            if event in changes and (event != "open" or args[2] & (os.O_WRONLY | os.O_RDWR)):
                count += 1
                if count == steps:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        function()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def put(machine, archive):
    machine.snapshots.stage(archive)
    machine.snapshots.commit()


@pytest.fixture
def prepared(machine):
    """(archive of changes, a machine that has changes of its own)."""
    one = machine()
    modify(one)
    two = machine()
    two.write("/etc/mine", b"mine")
    two.call("unlink", "/etc/conf/b")
    two.call("mkdir", "/opaque", 0o700)
    two.write("/opaque/mine", b"mine")
    two.root_do("chown", "/opaque/mine", 7, 7)
    two.root_do("chown", "/bin/tool", 8, 8)
    return one.changes(), two


def test_an_interrupted_merge(prepared):
    archive, two = prepared
    before = two.tree()
    done = set()
    for steps in [*range(1, 40, 3), *range(40, 2000, 11)]:
        killed = killed_after(steps, lambda: put(two, archive))
        two.ownership.close(False)
        two.cow.close()
        two.open_cow()
        tree = two.tree()
        done.add(tree == before)
        if tree != before:
            break
    assert done == {True, False} and killed           # it was decided, and then finished by the next start
    after = {path: shown for path, shown in tree.items()}
    two.merge(archive)
    assert two.tree() == after
    for steps in range(1, 400, 7):                    # kills while it is merged again change nothing
        if not killed_after(steps, lambda: put(two, archive)):
            break
        two.ownership.close(False)
        two.cow.close()
        two.open_cow()
        assert two.tree() == after, steps
    assert sorted(os.listdir(two.cow.path)) == [b"cow.json", b"lock", b"ownership.log", b"upper", b"work"]


def test_an_interrupted_snapshot(machine):
    one = machine()
    modify(one)
    path = one.top + b"/changes.tar.gz"
    with open(path, "wb") as file:
        file.write(b"former")
    for steps in range(1, 100):
        if not killed_after(steps, one.changes):
            break
        with open(path, "rb") as file:
            assert file.read() in (b"former",)
        leftover = [name for name in os.listdir(one.top) if name.startswith(b".changes")]
        assert len(leftover) <= 1
        for name in leftover:
            os.unlink(one.top + b"/" + name)
    with open(path, "rb") as file:
        assert file.read(2) == b"\x1f\x8b"


def test_an_interrupted_unpacking_of_changes_at_start(machine):
    one = machine()
    modify(one)
    archive = one.changes()
    expected = one.tree()
    cache = one.top + b"/../cache/changes"
    for steps in range(1, 2000, 37):
        if not killed_after(steps, lambda: machine(changes=[archive])):
            break
    assert machine(changes=[archive]).tree() == expected
    assert len(os.listdir(cache)) == 1


def test_concurrent_starts_unpack_once(machine):
    one = machine()
    modify(one)
    archive = one.changes()
    expected = one.tree()
    context = multiprocessing.get_context("fork")
    started = time.monotonic() + 0.2

    def start(number):
        from tests.snap.conftest import Machine
        time.sleep(max(0, started - time.monotonic()))
        other = Machine(os.fsdecode(one.top) + f"/../other{number}", one.image_path, [archive])
        os._exit(0 if other.tree() == expected else 1)

    processes = [context.Process(target=start, args=(number,)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert len(os.listdir(one.top + b"/../cache/changes")) == 1
