"""Keeps the inode table in the window: what records of ownership say of the files that guests look at.

Records are put into it when they are made, changed or found. What a guest missed is put in again; and where it goes
through a directory of an image, what is in there is put in at once, so that the rest makes no stops.
"""

import os

from apppot.platform.inodes import Inodes

_ENTRIES_A_MISS = 16               # telling of that many files costs about as much as three misses
_COUNTED = 10000


class Recorded:
    """`records`: the machine's ownership.Records, which it watches; the others: see Inodes."""

    def __init__(self, window, records, first, no_room):
        self.inodes = Inodes(window, first, no_room)
        self.records = records
        for key in records:
            self.inodes.mark(key)  # those in the table are for the files that are looked at
        records.watch = self._changed
        self._missed = {}          # host directory -> how many of its names may be missed before all are told

    def _changed(self, key, record):
        if record is None:
            if self.inodes.is_marked(key):
                self.inodes.put_nothing(key)
        else:
            self.inodes.mark(key)
            self.inodes.put(key, record)

    def missed(self, node, of_layer):
        """A guest missed an existing file. of_layer: it is in a layer with records. Its (st_dev, st_ino)."""
        status = os.lstat(node.host)
        key = status.st_dev, status.st_ino
        record = self.records.get(key)
        if record is not None and not record.whole and node.mount.fs.whole(node):
            record.whole = True
            self._changed(key, record)
        elif (of_layer or self.inodes.is_marked(key)) and key not in self.inodes:
            if record is None:
                self.inodes.put_nothing(key)
            else:
                self._changed(key, record)
        return key

    def missed_in(self, directory):
        """A name was missed in a directory that is `native` and in a layer with records."""
        host = directory.lowers[0]
        left = self._missed.get(host)
        if left is None:
            if len(self._missed) > _COUNTED:
                self._missed.clear()
            left = len(os.listdir(host)) // _ENTRIES_A_MISS
        self._missed[host] = left - 1
        if left:
            return
        with os.scandir(host) as entries:
            names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
        for name in names:
            node = directory.fixed.get(name)
            if node is None:
                directory.fs.tell(directory, name)
            else:
                self.missed(node, True)
