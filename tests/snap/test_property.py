"""Random changes of random trees: what one machine shows, another shows after changes → merge, by every way."""

import os
import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings, strategies as st

from apppot.image.cow import remove_tree
from tests.snap.conftest import Machine
from tests.vfs.world import plant

NAMES = ["a", "b", "c"]
MODES = [0o755, 0o700, 0o600, 0o644, 0o1777, 0o4755, 0o000]
OWNERS = [-1, 0, 7, os.getuid()]


def some_tree(chance, depth=3):
    """A tree of directories, files and symlinks."""
    made = {}
    for name in NAMES:
        what = chance.random()
        if what < 0.5 and depth:
            made[name] = some_tree(chance, depth - 1)
        elif what < 0.8:
            made[name] = chance.choice([b"", b"one", b"two" * 3000])
        elif what < 0.9:
            made[name] = ("link", chance.choice(["a", "../b", "nowhere"]))
    return made


def change(machine, chance):
    """One change of a machine, mostly one that works."""
    known = sorted(machine.tree())
    old = chance.choice(known)
    new = chance.choice(known).rstrip(b"/") + b"/" + chance.choice(NAMES).encode()
    how = chance.choice(["write", "write", "mkdir", "unlink", "remove", "remove", "rename", "rename", "rename", "symlink",
                         "link", "chmod", "chown", "truncate", "utime", "replace", "fifo"])
    when = chance.randrange(-10**18, 10**18)
    try:
        if how == "write":
            machine.write(chance.choice([old, new]), chance.choice([b"", b"new", b"more" * 2000]))
        elif how == "remove":
            remove(machine, old)
        elif how == "replace":
            remove(machine, old)
            machine.call("mkdir", old, 0o755)
        elif how == "rename":
            machine.rename(old, chance.choice([new, chance.choice(known)]), chance.choice([0, 0, 2]))
        elif how == "link":
            machine.link(old, new)
        elif how == "symlink":
            machine.call("symlink", new, chance.choice([b"a", b"../b", b"nowhere"]))
        elif how == "chmod":
            machine.root_do("chmod", old, chance.choice(MODES))
        elif how == "chown":
            machine.root_do("chown", old, chance.choice(OWNERS), chance.choice(OWNERS))
        elif how == "truncate":
            machine.call("truncate", old, chance.choice([0, 2, 100000]))
        elif how == "utime":
            machine.call("utime", old, when, when)
        elif how == "fifo":
            machine.call("mknod", new, 0o010644, 0)
        else:
            machine.call(how, *([old] if how == "unlink" else [new, 0o750]))
    except OSError:
        return


def remove(machine, path):
    node = machine.ns.at(path)
    if path == b"/":
        return
    if node.kind == 0o040000:
        for name in machine.names(path, caller=machine.root):
            remove(machine, path + b"/" + name)
        machine.root_do("rmdir", path)
    else:
        machine.root_do("unlink", path)


@settings(max_examples=int(os.environ.get("APPPOT_TEST_EXAMPLES", "60")), deadline=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_changes_arrive(seed):
    chance = random.Random(seed)
    top = Path(tempfile.mkdtemp(prefix="apppot-snap-"))
    machines = []

    def machine(archives=()):
        machines.append(Machine(top / f"m{len(machines)}", top / "image", archives))
        return machines[-1]

    def changed(*same):
        state = chance.getstate()
        for one in same:
            chance.setstate(state)
            for _ in range(chance.randrange(12)):
                change(one, chance)

    try:
        plant(top / "image", some_tree(chance))
        one = machine()
        changed(one)
        part = one.changes("1.tar.gz")
        state = one.tree()
        two = machine()
        two.merge(part)
        assert two.tree() == state
        three = machine([part])
        assert three.tree() == state

        changed(one, three)                         # the same on both, whatever layers are below
        assert without_times(three.tree()) == without_times(one.tree())
        all_of_it = three.changes("2.tar.gz")
        four = machine()
        four.merge(all_of_it)
        assert four.tree() == three.tree()

        two.snapshots.base()                        # from here on, only what comes later
        changed(two)
        rest = two.changes("3.tar.gz")
        expected = two.tree()
        five = machine([part, rest])
        assert five.tree() == expected
        six = machine()
        six.merge(part)
        six.merge(rest)
        assert six.tree() == expected
        six.merge(rest)
        assert six.tree() == expected
    finally:
        for one in machines:
            one.close()
        remove_tree(os.fsencode(top))


def without_times(tree):
    """For what two machines did at different moments."""
    return {name: [part for at, part in enumerate(shown) if at != 5 or name == b"/"] for name, shown in tree.items()}
