"""What the host's disk can't keep of an unpacked layer: owners, full modes, device numbers, extended attributes.

`owners` beside the layer's tree has one line a name, relative to the tree (which itself is "."):

    set UID GID MODE RDEV NAME       as in a COW's ownership.log; MODE octal, with the type for devices
    xattr KEY VALUE NAME             KEY and VALUE escaped like names

In KEY, VALUE and NAME, bytes up to the space, "%" and DEL are written %XX.

`inodes` is made from it, so that a start reads nothing but what it needs: a header, the inode numbers in ascending
order (8 bytes each), for each the number of its record (4 bytes), and the distinct records (4 × 8 bytes). It holds for the
tree whose top directory has the inode number in the header; when the cache was copied it is made anew.
"""

import fcntl
import mmap
import os
import struct
from array import array
from bisect import bisect_left

from apppot.image.layer import Layer
from apppot.image.names import escape, unescape
from apppot.image.replacing import replace

_HEADER = struct.Struct("<8sQQQ")      # magic, inode of the top, number of inodes, number of records
_RECORD = struct.Struct("<4q")
_MAGIC = b"APINODE1"


class Owners:
    """What is to be recorded of the files of one layer, by name relative to its tree."""

    def __init__(self):
        self.records = {}       # name -> (uid, gid, mode, rdev)
        self.xattrs = {}        # name -> {key (str): value}

    def set(self, name, record, xattrs=None):
        self.records[name] = record
        if xattrs:
            self.xattrs[name] = xattrs
        else:
            self.xattrs.pop(name, None)

    def forget(self, name, below=False):
        """A name was removed; below: with everything below it."""
        self.records.pop(name, None)
        self.xattrs.pop(name, None)
        if below:
            prefix = name + b"/"
            for old in [old for old in self.records if old.startswith(prefix)]:
                del self.records[old]
                self.xattrs.pop(old, None)

    def write(self, path):
        with open(path, "wb") as file:
            for name, (uid, gid, mode, rdev) in self.records.items():
                file.write(b"set %d %d %o %d %s\n" % (uid, gid, mode, rdev, escape(name or b".")))
            for name, xattrs in self.xattrs.items():
                for key, value in xattrs.items():
                    file.write(b"xattr %s %s %s\n" % (escape(os.fsencode(key)), escape(value), escape(name or b".")))

    @classmethod
    def read(cls, path):
        self = cls()
        with open(path, "rb") as file:
            for line in file:
                word, *fields = line.rstrip(b"\n").split(b" ")
                name = unescape(fields[-1])
                name = b"" if name == b"." else name
                if word == b"set":
                    self.records[name] = (int(fields[0]), int(fields[1]), int(fields[2], 8), int(fields[3]))
                elif word == b"xattr":
                    self.xattrs.setdefault(name, {})[os.fsdecode(unescape(fields[0]))] = unescape(fields[1])
        return self


def make_table(tree, owners):
    """The bytes of `inodes` for a tree."""
    top = os.lstat(tree).st_ino
    numbers = {}
    records = {}
    for name, record in owners.records.items():
        try:
            ino = os.lstat(tree + b"/" + name if name else tree).st_ino
        except OSError:
            continue
        numbers[ino] = records.setdefault(record, len(records))
    inodes = sorted(numbers)
    return b"".join((_HEADER.pack(_MAGIC, top, len(inodes), len(records)), array("Q", inodes).tobytes(),
                     array("I", [numbers[ino] for ino in inodes]).tobytes(),
                     *(_RECORD.pack(*record) for record in records)))


class UnpackedLayer(Layer):
    """A layer in the cache: `place`/tree, `place`/owners, `place`/inodes. Not removed as long as it is open.

    about: what its layer.json says.
    """

    recorded = True

    def __init__(self, place, about):
        super().__init__(place + b"/tree")
        self.place = place
        self.about = about
        self._lock = use(place)
        devices = [os.fsencode(name) for name in about.get("devices", ())]
        self.devices = frozenset(self.host + b"/" + name if name else self.host for name in devices)
        self._map = None
        self._load()

    def _load(self):
        path = self.place + b"/inodes"
        try:
            with open(path, "rb") as file:
                data = self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            magic, top, count, kinds = _HEADER.unpack_from(data)
            whole = len(data) == _HEADER.size + 12 * count + _RECORD.size * kinds
        except (OSError, ValueError, struct.error):
            whole = False
        if not whole or magic != _MAGIC or top != os.lstat(self.host).st_ino:
            data = make_table(self.host, Owners.read(self.place + b"/owners"))
            try:
                replace(path, data)
            except OSError:      # a cache that can't be written: the table is made at each start
                pass
            _, _, count, kinds = _HEADER.unpack_from(data)
        view = memoryview(data)[_HEADER.size:]
        self._inodes = view[:8 * count].cast("Q")
        self._numbers = view[8 * count:12 * count].cast("I")
        self._records = [_RECORD.unpack_from(view, 12 * count + _RECORD.size * index) for index in range(kinds)]
        self._count = count

    def record(self, directory, name, ino):
        at = bisect_left(self._inodes, ino)
        if at == self._count or self._inodes[at] != ino:
            return None
        return self._records[self._numbers[at]]

    def close(self):
        self._inodes = self._numbers = ()
        self._count = 0
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def use(place, alone=False):
    """A descriptor that keeps a layer from being removed; -1 on a file system without locks. alone: FileNotFoundError
    and BlockingIOError say that it is gone, or that others use it."""
    fd = os.open(place + b"/layer.json", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(fd), os.stat(place + b"/layer.json")):
            raise FileNotFoundError(place)
    except (BlockingIOError, FileNotFoundError):
        os.close(fd)
        raise
    except OSError:
        os.close(fd)
        return -1
    return fd
