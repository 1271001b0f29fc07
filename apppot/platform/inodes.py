"""The inode table in the window: what stat(2) must show of files in place of what the disk says, for the stub.

A bitmap says which inodes may have a record; the table holds records, each in one of a few places that its inode number
gives, so that an old one may have to go for a new one. An inode that is marked, or was found in a layer of which the
supervisor knows more than the disk, and is not in the table is a miss. The layout is that of struct inode in stub/fast.h.
"""

import struct

from apppot.platform.layout import TLB_OFFSET

INODE_BITS, PROBES, RECORD_BITS = 17, 8, 23
TOLD, WHOLE, NOTHING, LISTED = 1, 2, 4, 8

_BITMAP = TLB_OFFSET + 0x300000
_TABLE = TLB_OFFSET + 0x400000
_SIZE = 64
_PLACES = 1 << INODE_BITS
_GOLDEN, _MASK = 0x9E3779B97F4A7C15, 0xFFFFFFFFFFFFFFFF
_SEQUENCE = struct.Struct("<I")
_KEY = struct.Struct("<QQ")
_INODE = struct.Struct("<IQQIIIIIIqII")            # from `flags` on
_FROM_GENERATION = struct.Struct("<II")
_KEEP = 0xFFFFFFFF


class Inodes:
    """Writes the table into the Window. `first()` is called when the first inode is marked; `no_room()` when there is no memory
    for the table: nothing may be answered then that would need it."""

    def __init__(self, window, first, no_room):
        self._window, self._memory = window, window.memory
        self._first, self._no_room = first, no_room
        self._ready = None                 # None: not reserved yet; False: there was no room
        self._turn = 0

    def _writable(self):
        if self._ready is None:
            self._ready = self._window.reserve(_BITMAP, _TABLE + _PLACES * _SIZE - _BITMAP)
            if not self._ready:
                self._no_room()
        return self._ready

    def mark(self, key):
        """The inode (st_dev, st_ino) may have a record."""
        if not self._writable():
            return
        bit = _hash(key) >> 64 - RECORD_BITS
        self._memory[_BITMAP + (bit >> 3)] |= 1 << (bit & 7)
        if self._first is not None:
            self._first()
            self._first = None

    def is_marked(self, key):
        if not self._ready:
            return False
        bit = _hash(key) >> 64 - RECORD_BITS
        return self._memory[_BITMAP + (bit >> 3)] >> (bit & 7) & 1

    def __contains__(self, key):
        return self._find(key) is not None

    def put(self, key, record):
        """What is recorded of an inode; see vfs.ownership.Record."""
        nlink, blocks, mtime = record.told or (0, 0, 0)
        numbers = [_KEEP if number == -1 else number for number in (record.uid, record.gid, record.mode, record.rdev)]
        if max(*numbers, nlink, blocks) > _KEEP or not -1 << 63 <= mtime < 1 << 63:
            self.remove(key)                       # no place for such numbers: always a miss
            return
        flags = (TOLD if record.told else 0) | (WHOLE if record.whole else 0) | (LISTED if record.listed else 0)
        self._write(key, flags, *numbers, nlink, blocks, mtime)

    def put_nothing(self, key):
        """What the disk says of an inode is true."""
        self._write(key, NOTHING | WHOLE, _KEEP, _KEEP, _KEEP, _KEEP, 0, 0, 0)

    def put_directory(self, key, generation, flags):
        """The directory with this record may be looked into by itself: (generation, flags) as of an entry of the
        translation cache. False when its record is not in the table."""
        place = self._find(key)
        if place is None or self._memory[place + 4] & NOTHING:
            return False
        sequence = self._begin(place)
        _FROM_GENERATION.pack_into(self._memory, place + 56, generation, flags)
        self._end(place, sequence)
        return True

    def remove(self, key):
        """Nothing is known of an inode."""
        place = self._find(key)
        if place is not None:
            sequence = self._begin(place)
            _KEY.pack_into(self._memory, place + 8, 0, 0)
            self._end(place, sequence)

    def _write(self, key, flags, *numbers):
        if not self._writable():
            return
        place = self._find(key)
        if place is None:
            place = self._free(key)
        sequence = self._begin(place)
        _INODE.pack_into(self._memory, place + 4, flags, *key, *numbers, 0, 0)
        self._end(place, sequence)

    def _begin(self, place):
        sequence = _SEQUENCE.unpack_from(self._memory, place)[0] | 1
        _SEQUENCE.pack_into(self._memory, place, sequence)
        return sequence

    def _end(self, place, sequence):
        _SEQUENCE.pack_into(self._memory, place, sequence + 1 & 0xFFFFFFFF)

    def _find(self, key):
        """Offset of an inode's record, or None."""
        if not self._ready:
            return None
        start = _hash(key) >> 64 - INODE_BITS
        for probe in range(PROBES):
            place = _TABLE + (start + probe) % _PLACES * _SIZE
            if _KEY.unpack_from(self._memory, place + 8) == key:
                return place
        return None

    def _free(self, key):
        """Offset of a free place for an inode, else of one in turn."""
        start = _hash(key) >> 64 - INODE_BITS
        for probe in range(PROBES):
            place = _TABLE + (start + probe) % _PLACES * _SIZE
            if _KEY.unpack_from(self._memory, place + 8) == (0, 0):
                return place
        self._turn += 1
        return _TABLE + (start + self._turn % PROBES) % _PLACES * _SIZE


def _hash(key):
    """As in recorded() of stub/inodes.c."""
    return (key[0] * 31 + key[1]) * _GOLDEN & _MASK
