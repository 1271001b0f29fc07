"""A quota that is used up in the middle of a call: EDQUOT to the guest, the tree as it was before or as it is after.

Few kernels of test machines have quotas. What the supervisor itself calls is made to fail here as write(2), mkdir(2) and the like
do then: from a certain step on all that needs room, while removing goes on to work. What guests call themselves fails by itself.
"""

import errno
import os

import pytest

from apppot.vfs import abi
from tests.vfs.test_crash import CALLS, prepared
from tests.vfs.test_property import Overlaid, everything

GROWING = ("rename", "mkdir", "open", "symlink", "link", "mknod", "write", "copy_file_range", "setxattr")
AS_ROOT = {
    "chown": lambda w: w.call("chown", "/a/f", 5, 6, caller=w.root),
    "make a device": lambda w: w.call("mknod", "/a/null", 0o020666, os.makedev(1, 3), caller=w.root),
    "a directory of others": lambda w: w.call("mkdir", "/b/d", 0o000, caller=w.root),
}


class Quota:
    """Lets `left` calls that need room succeed; then they fail until it is lifted."""

    def __init__(self, monkeypatch, left):
        self.left, self.lifted, self.refused = left, False, 0
        for name in GROWING:
            needs_room = (lambda path, flags, *mode, **_: flags & os.O_CREAT) if name == "open" else lambda *args, **_: True
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name), needs_room))
        monkeypatch.setattr(abi, "renameat2", self._guarded(abi.renameat2, lambda *args: True))

    def _guarded(self, real, needs_room):
        def call(*args, **options):
            if not self.lifted and needs_room(*args, **options):
                if self.left <= 0:
                    self.refused += 1
                    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
                self.left -= 1
            return real(*args, **options)
        return call


@pytest.mark.parametrize("what", [*CALLS, *AS_ROOT])
def test_a_quota_is_used_up_at_every_step(tmp_path, monkeypatch, what):
    call = CALLS.get(what) or AS_ROOT[what]
    world = prepared(tmp_path / "model")
    before = everything(Overlaid(world))
    call(world)
    after = everything(Overlaid(world))
    world.close()
    for step in range(200):
        world = prepared(tmp_path / f"{step}")
        with monkeypatch.context() as patch:
            quota = Quota(patch, step)
            try:
                call(world)
                done = True
            except OSError as error:
                assert error.errno == errno.EDQUOT, step
                done = False
            quota.lifted = True
            assert everything(Overlaid(world)) == (after if done else before), step
            assert os.listdir(world.cow.work) == [], step
            if not done:
                call(world)
            assert everything(Overlaid(world)) == after, step
        world.reopen()
        assert everything(Overlaid(world)) == after, step
        world.close()
        if not quota.refused:
            break
    assert step > 0
