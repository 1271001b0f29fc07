"""A read-only layer of a machine's root: a host directory, and what the host's inodes in it can't say.

The files of an unpacked or lazily filled layer belong to the host user. Their true owners, modes and device numbers
come from `record`; the overlay asks once for each name that it finds and keeps the answer in its ownership records.
A plain directory has no records: what its inodes say is true.
"""

import os


class Layer:
    """host: canonical host path of the layer's top directory. Subclasses say more than the disk does.

    recorded   `record` may have an answer
    lazy       files are made while they are used: `enter`, `reach` and `content` must be called first
    devices    host directories that hold stand-ins (regular files) of device nodes
    late       host directories that guests may have opened before their entries were made, where the kernel shows those to nobody
               who did
    """

    recorded = False
    lazy = False
    devices = late = frozenset()

    def __init__(self, host):
        self.host = os.path.realpath(host).rstrip(b"/")

    def record(self, directory, name, ino):
        """(uid, gid, mode, rdev), and what else a vfs Record takes, of `name` in the layer's host directory `directory`, or None: the disk is right.

        ino: the inode number on the host. Each is -1 where the disk is right. mode: the 07777 bits, and for devices the
        type too. The layer's own top directory has an empty name.
        """
        return None

    def enter(self, host):
        """Names are about to be looked up in the layer's host directory `host`."""

    def reach(self, directory, name):
        """Make `name` in the layer's host directory `directory`, if the image has it and it isn't there yet."""

    def complete(self, host, needed=True):
        """Make all entries of the layer's host directory `host`; whether they are all there.

        needed: else only if so many of them were looked up that this is cheaper than going on name by name.
        """
        return True

    def content(self, host):
        """Make the contents of the layer's regular file `host`, if they aren't there yet."""

    def whole(self, host, st=None):
        """Whether the contents of the layer's file `host` are there. st: its os.stat_result, if that is known."""
        return True

    def close(self):
        """Let go of what is held open."""


def layers_of(lowers):
    """Layers of what `Machine.lowers` may hold: host directories (bytes) or Layers."""
    return [lower if isinstance(lower, Layer) else Layer(lower) for lower in lowers]
