"""Upper layers: read as one of several, and the log of their owners written."""

import os
from stat import S_IFDIR, S_IFMT

from apppot.image.layer import Layer
from apppot.image.names import escape
from apppot.vfs.layers import WHITEOUT
from apppot.vfs.ownership import KEEP


class UpperLayer(Layer):
    """An upper layer as a read-only one. records: by inode, as in Ownership."""

    recorded = True

    def __init__(self, host, records):
        super().__init__(host)
        self._records = records
        self.devices = _Everywhere() if any(record.rdev != KEEP for record in records.values()) else frozenset()
        self._device = os.lstat(self.host).st_dev

    def record(self, directory, name, ino):
        record = self._records.get((self._device, ino))
        return None if record is None else (record.uid, record.gid, record.mode, record.rdev)


class _Everywhere:
    def __contains__(self, directory):
        return True


def write_records(tree, ownership, log):
    """A line for every file of a layer: its record, or that it has none. The times of directories go to `times`."""
    lines, times = [], []
    for top, directories, files in os.walk(tree):
        for path in [top + b"/" + name for name in directories + files if name[:4] != WHITEOUT] + [tree] * (top == tree):
            name = escape(path[len(tree) + 1:])
            st = os.lstat(path)
            record = ownership.of(st)
            if S_IFMT(st.st_mode) == S_IFDIR:
                times.append(b"%d %d %s\n" % (st.st_atime_ns, st.st_mtime_ns, name))
            if record:
                mode = b"-1" if record.mode == KEEP else b"%o" % record.mode
                lines.append(b"set %d %d %s %d %s\n" % (record.uid, record.gid, mode, record.rdev, name))
            else:
                lines.append(b"delete %s\n" % name)
    with open(log, "wb") as file:
        file.write(b"".join(lines))
    with open(os.path.dirname(log) + b"/times", "wb") as file:
        file.write(b"".join(times))
