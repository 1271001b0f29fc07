"""The translation cache in the window: what the stub answers path calls from. The layout is that of stub/fast.h.

Entries are void when their generation is not the header's (0 is nobody's): `directories` grows whenever the way to a directory may
have changed, `names` whenever what a name in a merged directory or a symlink leads to may have, or what a directory is
called. Both are raised after a change and before the call that made it is answered; entries are made only by that thread.
"""

import struct

from apppot.platform.layout import COPIED, REMOVED, TLB_OFFSET, WINDOW_BASE

ENTRIES, PROBES, TEXT, HOST = 4096, 4, 208, 232
DIRECTORY, NAME, CWD, LIBRARY = 1, 2, 3, 4 # key spaces
MERGED, PURE, FILE, ABSENT, PLACE = range(5)   # kinds
WRITABLE, LISTABLE, VERIFY, DEEP, RECORDED, FOR_ROOT, OWNED, LINK, INSIDE = (1 << bit for bit in range(9))
OFF, PLAIN, ROOT = range(3)                # modes of a process
LOADED, NEARLY, LOADING = range(3)         # how far its dynamic loader is: struct state of stub/fast.h
CWD_UNKNOWN, CWD_KNOWN, CWD_SHARED = range(3)  # what it knows of its current directory

_ENTRY_SIZE = 512
_FIRST = TLB_OFFSET + 0x1000
_COPIED = COPIED - WINDOW_BASE
SIZE = 0x1000 + ENTRIES * _ENTRY_SIZE      # of header and entries, from TLB_OFFSET on
_HEADER = struct.Struct("<10I")
_ENTRY = struct.Struct("<IIQQQQHHHHQQ208s232s")         # from `space` on
_WORD = struct.Struct("<I")
_MASK = 0xFFFFFFFFFFFFFFFF
_HOSTS = 20000                             # host directories whose entries are known
_GOLDEN = 0x9E3779B97F4A7C15
_SHARE = 1 << 57                           # of hashes, for each place in `seen` of stub/fast.h
_COPIED_BITS = 12                          # of hashes: as many as there are bits at COPIED


class Tlb:
    """Writes the cache. `memory` is the window's map. `generation`: of directories; `names`: of names.

    `by_flags`: files are opened in ways of platform/hows.py only.
    """

    def __init__(self, memory, uid, gid, by_flags=False):
        self._memory, self._on, self._by_flags = memory, 1, by_flags
        self.generation = self.names = 1
        self._recorded = self._unsettled = self._named = self._removals = 0
        self._uid, self._gid = uid, gid
        self._places = {}                  # host directory -> offsets of entries that lead there, in this generation
        self._next = {}                    # hash -> how often its places were taken, to take them in turn
        self._header()

    def _header(self):
        _HEADER.pack_into(self._memory, TLB_OFFSET, self._on, self.generation, self.names, self._recorded, self._uid, self._gid,
                          self._unsettled, self._by_flags, self._named, self._removals)

    def switch_off(self):
        """From now on the stub answers nothing, in no process."""
        self._on = 0
        self._header()

    # -- voiding

    def directories_changed(self):
        self.generation += 1
        self._places.clear()
        self.names_changed()

    def directory_removed(self, host):
        """Void the entries that lead to one host directory."""
        memory = self._memory
        for place in self._places.pop(host, ()):
            if _ENTRY.unpack_from(memory, place + 8)[-1].rstrip(b"\0") == host:     # no other took its place
                sequence = _WORD.unpack_from(memory, place)[0] | 1
                _WORD.pack_into(memory, place, sequence)
                _WORD.pack_into(memory, place + 12, 0)
                _WORD.pack_into(memory, place, sequence + 1 & 0xFFFFFFFF)

    def inode_removed(self, key):
        """Void what processes remember of the removed directory with this inode (st_dev, st_ino): a new one may get that."""
        self._removals = self._removals + 1 & 0xFFFFFFFF
        self._header()
        place = REMOVED - WINDOW_BASE + ((key[0] * 31 + key[1]) * _GOLDEN & _MASK) // _SHARE * _WORD.size
        _WORD.pack_into(self._memory, place, _WORD.unpack_from(self._memory, place)[0] + 1 & 0xFFFFFFFF)

    def file_copied_up(self, key):
        """From now on a descriptor of the lower file with this inode (st_dev, st_ino) does not tell what the file's attributes are.
        None: it may be any."""
        if key is None:
            self._memory[_COPIED:_COPIED + (1 << _COPIED_BITS - 3)] = b"\xff" * (1 << _COPIED_BITS - 3)
            return
        bit = ((key[0] * 31 + key[1]) * _GOLDEN & _MASK) >> 64 - _COPIED_BITS
        self._memory[_COPIED + (bit >> 3)] |= 1 << (bit & 7)

    def names_changed(self):
        self.names += 1
        self._header()

    def now_recorded(self):
        """From now on what the host says of an inode may not be shown unless the inode table agrees."""
        self._recorded = 1
        self._header()

    def now_named(self):
        """From now on the machine has a host or domain name of its own."""
        self._named = 1
        self._header()

    def links_moving(self):
        """A context: symlinks are made or moved. Guests that remove a name meanwhile report it."""
        return self

    def __enter__(self):
        self._unsettled |= 1
        self._header()

    def __exit__(self, *_):
        self._unsettled = (self._unsettled | 1) + 1
        self._header()

    # -- filling

    def put(self, space, base, text, kind, flags, host, identity=(0, 0), mount=0, excepted=0):
        """Make the entry of (`base`, `text`). `base`: (st_dev, st_ino) a relative text starts from, else (0, 0).
        `identity`: the same of the host's directory. `mount`: the number of what a directory is on.
        `excepted`: the except_bit of each name in it that the entry does not serve."""
        if len(text) > TEXT or len(host) > HOST:
            return
        key = _hash(text, base, space)
        place = self._place(key, base, text, space)
        if space == DIRECTORY and host:
            if len(self._places) > _HOSTS:
                self.directories_changed()
            self._places.setdefault(host, set()).add(place)
        memory = self._memory
        sequence = _WORD.unpack_from(memory, place)[0]
        _WORD.pack_into(memory, place, sequence | 1)
        generation = self.generation if space == DIRECTORY else self.names
        _WORD.pack_into(memory, place + 4, key)
        _ENTRY.pack_into(memory, place + 8, space, generation, *base, *identity, len(text), len(host), kind, flags, mount, excepted,
                         text, host)
        _WORD.pack_into(memory, place, (sequence | 1) + 1 & 0xFFFFFFFF)

    def _place(self, key, base, text, space):
        """Offset of this key's entry, else of a void one among its places, else of one in turn."""
        void = None
        for probe in range(PROBES):
            place = _FIRST + (key + probe) % ENTRIES * _ENTRY_SIZE
            hashed, = _WORD.unpack_from(self._memory, place + 4)
            kind, generation, dev, ino, _, _, length, _, _, _, _, _, known, _ = _ENTRY.unpack_from(self._memory, place + 8)
            if hashed == key and (kind, dev, ino) == (space, *base) and known[:length] == text:
                return place
            if void is None and generation != (self.generation if kind == DIRECTORY else self.names):
                void = place
        if void is not None:
            return void
        turn = self._next[key & 0xFF] = self._next.get(key & 0xFF, 0) + 1
        return _FIRST + (key + turn % PROBES) % ENTRIES * _ENTRY_SIZE


def except_bit(name):
    """The bit of a last component in an entry's `excepted`, as in excepted() of stub/names.c: others may have the same."""
    h = 0
    for byte in name:
        h = h * 31 + byte & 0xFFFFFFFF
    return 1 << ((h * _GOLDEN & _MASK) >> 58)


def _hash(text, base, space):
    """hash() of stub/names.c."""
    h = ((base[0] * 31 + base[1]) * _GOLDEN + space + len(text)) & _MASK
    for start in range(0, len(text), 8):
        h = (h ^ int.from_bytes(text[start:start + 8], "little")) * _GOLDEN & _MASK
        h ^= h >> 32
    h ^= h >> 29
    return (h ^ h >> 32) & 0xFFFFFFFF | 1
