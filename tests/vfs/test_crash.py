"""A supervisor that is killed in the middle of a call leaves the tree as it was before or as it is after."""

import os

import pytest

from apppot.vfs import abi
from tests.vfs.test_property import Overlaid, everything
from tests.vfs.world import World

UPPER_DIR = {"a": {"own": b"1"}, "e": {}}
LOWER = {"a": {"f": b"f", "touched": b"", "sub": {"x": b"x"}}, "b": {}, "e": {}, "l": ("link", "a")}

CALLS = {
    "copy up": lambda w: w.call("truncate", "/a/sub/x", 0),
    "remove a lower file": lambda w: w.call("unlink", "/a/f"),
    "remove a copied file": lambda w: w.call("unlink", "/a/touched"),
    "remove a directory": lambda w: w.call("rmdir", "/b"),
    "remove a merged directory": lambda w: w.call("rmdir", "/e"),
    "rename a file": lambda w: w.rename("/a/f", "/b/f"),
    "rename over a file": lambda w: w.rename("/a/f", "/a/own"),
    "rename a directory": lambda w: w.rename("/a", "/c"),
    "exchange": lambda w: w.rename("/a", "/b", 2),
    "link": lambda w: w.link("/a/f", "/b/f"),
    "make": lambda w: w.call("mkdir", "/a/sub/new", 0o755),
    "chmod": lambda w: w.call("chmod", "/a/f", 0o600),
}
MUTATORS = ("rename", "unlink", "rmdir", "mkdir", "open", "symlink", "link", "utime", "chmod", "mknod", "write")


class Killed(BaseException):
    pass


def kill_at(monkeypatch, step):
    """Let the call number `step` of those that change something not happen, nor anything after it."""
    left = [step]

    def guarded(real, changes=lambda *args: True):
        def call(*args, **options):
            if changes(*args):
                if left[0] <= 0:
                    raise Killed
                left[0] -= 1
            return real(*args, **options)
        return call
    for name in MUTATORS:
        changes = (lambda path, flags, *mode: flags & os.O_CREAT) if name == "open" else lambda *args: True
        monkeypatch.setattr(os, name, guarded(getattr(os, name), changes))
    monkeypatch.setattr(abi, "renameat2", guarded(abi.renameat2))


def prepared(top):
    world = World(top, UPPER_DIR, LOWER)
    world.write("/a/upper", b"3")
    world.write("/a/touched", b"4")
    return world


@pytest.mark.parametrize("what", CALLS)
def test_killed_at_every_step(tmp_path, monkeypatch, what):
    def fresh(name):
        return prepared(tmp_path / name)
    world = fresh("model")
    before = everything(Overlaid(world))
    CALLS[what](world)
    allowed = [before, everything(Overlaid(world))]
    world.close()
    for step in range(200):
        world = fresh(f"{step}")
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            try:
                CALLS[what](world)
                done = True
            except Killed:
                done = False
        world.reopen(False)
        after = everything(Overlaid(world))
        assert after in allowed, step
        assert os.listdir(world.cow.work) == []
        world.close()
        if done:
            break
    assert step > 0

