"""squashfs 4.0, on PySquashfsImage's structures.

Of that library we use the layouts of superblock, inodes and tables. Its SquashFsImage reads the whole tree of names
before it answers anything, keeps every block, takes names for UTF-8, has extended attributes of one block only and
unpacks lz4 in another framing; what is needed of it to read one file at a time is here.
"""

from collections import OrderedDict
import ctypes
import os
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK
import struct
import zlib

from PySquashfsImage.const import SQUASHFS_INVALID_BLK, SQUASHFS_INVALID_FRAG, SQUASHFS_INVALID_XATTR
from PySquashfsImage.structure import FragmentEntry, Superblock, XattrId, XattrTable
from PySquashfsImage.structure.inode import InodeHeader, inomap

from apppot.errors import AppPotError
from apppot.image.tree import Inode, Reader

METADATA = 8192                       # size of an unpacked metadata block
_NAMES = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_KINDS = (0, S_IFDIR, S_IFREG, S_IFLNK, S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK) + (
    S_IFDIR, S_IFREG, S_IFLNK, S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK)
_LONG = 7                             # types above are the extended forms
_PREFIXES = ("user.", "trusted.", "security.")
_HEADER = struct.Struct("<HHHHII")    # InodeHeader
_DIRECTORY_HEADER = struct.Struct("<III")
_ENTRY = struct.Struct("<HhHH")
_KEPT_METADATA = 512                  # blocks kept: 4 MiB
_KEPT_FRAGMENTS = 8


def _layout(structure):
    """A struct.Struct with the fields of one of the library's ctypes structures, and their names: 10 times as fast."""
    letters = {ctypes.c_uint16: "H", ctypes.c_int16: "h", ctypes.c_uint32: "I", ctypes.c_uint64: "Q"}
    fields = [field for base in reversed(structure.__mro__) for field in base.__dict__.get("_fields_", ())]
    return struct.Struct("<" + "".join(letters[kind] for _, kind in fields)), [name for name, _ in fields]


_LAYOUTS = {number: _layout(structure) for number, structure in inomap.items()}
assert _HEADER.size == ctypes.sizeof(InodeHeader)


class Squashfs(Reader):
    """window: where the squashfs lies (`tree.Window`)."""

    format = "squashfs"

    def __init__(self, window):
        self.window = window
        self.name = window.name
        with self.guard():
            self._open()

    def _open(self):
        read = self.window.read
        head = self.sblk = Superblock.from_bytes(read(ctypes.sizeof(Superblock), 0))
        if (head.s_major, head.s_minor) != (4, 0):
            raise AppPotError(f"image {self.name}: squashfs {head.s_major}.{head.s_minor} is not supported, only 4.0; "
                              "make it anew with mksquashfs")
        if head.bytes_used > self.window.size:
            self.damaged(f"it is cut short: {head.bytes_used} bytes are needed, {self.window.size} are there")
        if head.block_size != 1 << head.block_log or not 4096 <= head.block_size <= 1 << 20:
            self.damaged("impossible block size")
        self.end = head.bytes_used
        self._unpack = _unpacker(self.name, head.compression)
        self.inodes = head.inodes
        self._metadata = OrderedDict()
        self._fragments = OrderedDict()
        self._tables = {}
        self._xattr_table = None
        self.detail = {"compression": _NAMES.get(head.compression, "?"), "block size": head.block_size,
                       "files": head.inodes, "size": head.bytes_used}
        self.root = self.inode(head.root_inode)
        if self.root.mode & 0o170000 != S_IFDIR:
            self.damaged("its root is no directory")

    def close(self):
        self.window.close()

    # Blocks

    def _block(self, at):
        """(contents, place of the next one) of the metadata block at `at`."""
        found = self._metadata.get(at)
        if found is None:
            head, = struct.unpack("<H", self.window.read(2, at))
            size = head & 0x7FFF or 0x8000
            data = self.window.read(size, at + 2)
            if not head & 0x8000:
                data = self._unpack(data, METADATA)
            if not data or len(data) > METADATA:
                self.damaged("a metadata block has an impossible size")
            found = self._metadata[at] = data, at + 2 + size
            if len(self._metadata) > _KEPT_METADATA:
                self._metadata.popitem(last=False)
        return found

    def _bytes(self, at, offset, size):
        """`size` bytes from `offset` in the metadata block at `at`; the place behind them."""
        data, after = self._block(at)
        if offset + size <= len(data):
            return data[offset:offset + size], at, offset + size
        if size > self.end * 1000:
            self.damaged("a table has an impossible size")
        parts = []
        while True:
            part = data[offset:offset + size]
            if offset > len(data):
                self.damaged("a reference leads behind the end of a block")
            parts.append(part)
            size -= len(part)
            if not size:
                return b"".join(parts), at, offset + len(part)
            at, offset = after, 0
            data, after = self._block(at)

    def _table(self, start, index, structure_size, count):
        """Entry `index` of a table whose blocks are listed at `start`."""
        if not 0 <= index < count:
            self.damaged("a reference leads behind the end of a table")
        block, offset = divmod(index * structure_size, METADATA)
        key = start, block
        at = self._tables.get(key)
        if at is None:
            at, = self._tables[key] = struct.unpack("<Q", self.window.read(8, start + 8 * block))
        else:
            at = at[0]
        return self._bytes(at, offset, structure_size)[0]

    def _id(self, index):
        key = "id", index
        found = self._tables.get(key)
        if found is None:
            data = self._table(self.sblk.id_table_start, index, 4, self.sblk.no_ids)
            found, = self._tables[key] = struct.unpack("<I", data)
            return found
        return found[0]

    # Inodes

    def inode(self, ref):
        block, offset = ref >> 16, ref & 0xFFFF
        at = self.sblk.inode_table_start + block
        data, next_at, next_offset = self._bytes(at, offset, _HEADER.size)
        kind, mode, uid, gid, mtime, number = _HEADER.unpack(data)
        if kind not in _LAYOUTS:
            self.damaged(f"an inode has the unknown type {kind}")
        layout, names = _LAYOUTS[kind]
        data, next_at, next_offset = self._bytes(next_at, next_offset, layout.size)
        fields = dict(zip(names, layout.unpack(data)))
        made = Inode()
        if not 0 < number <= self.inodes:
            self.damaged("an inode has an impossible number")
        made.number, made.ref, made.mode = number, ref, _KINDS[kind] | mode & 0o7777
        made.uid, made.gid = self._id(uid), self._id(gid)
        made.mtime_ns = mtime * 1_000_000_000
        made.nlink = fields.get("_nlink", 1)
        made.size = made.blocks = made.rdev = 0
        made.detail = fields
        fields["rest"] = next_at, next_offset
        short = kind if kind <= _LONG else kind - _LONG
        if short == 2:
            made.size = fields["_file_size"]
            made.blocks = -(-max(made.size - fields.get("_sparse", 0), 0) // 512)
        elif short == 3:
            made.size = fields["_symlink_size"]
            if made.size > 65535:
                self.damaged("a symbolic link is too long")
            if kind > _LONG:                     # what stands behind the text
                data = self._bytes(next_at, next_offset, made.size + 4)[0]
                fields["_xattr"], = struct.unpack("<I", data[-4:])
        elif short in (4, 5):
            device = fields["_rdev"]
            made.rdev = os.makedev((device & 0xFFF00) >> 8, device & 0xFF | device >> 12 & 0xFFF00)
        elif short == 1:
            made.size = fields["_file_size"]
        return made

    def list(self, inode):
        fields = inode.detail
        left = fields["_file_size"] - 3
        at, offset = self.sblk.directory_table_start + fields["_start_block"], fields["_offset"]
        found = []
        while left > 0:
            data, at, offset = self._bytes(at, offset, _DIRECTORY_HEADER.size)
            count, start, _ = _DIRECTORY_HEADER.unpack(data)
            left -= _DIRECTORY_HEADER.size
            if count > 255:
                self.damaged("a directory has an impossible header")
            for _ in range(count + 1):
                data, at, offset = self._bytes(at, offset, _ENTRY.size)
                place, _, _, size = _ENTRY.unpack(data)
                name, at, offset = self._bytes(at, offset, size + 1)
                left -= _ENTRY.size + size + 1
                found.append((name, start << 16 | place))
        return found

    def target(self, inode):
        return self._bytes(*inode.detail["rest"], inode.size)[0]

    # Contents

    def chunks(self, inode):
        size, block_size = inode.size, self.sblk.block_size
        fragment = inode.detail["_fragment"]
        count, tail = divmod(size, block_size)
        if fragment == SQUASHFS_INVALID_FRAG and tail:
            count, tail = count + 1, 0
        at = 0
        place = inode.detail["_start_block"]
        if count > self.end:                     # each block takes some of its list
            self.damaged("a file has an impossible size")
        rest = inode.detail["rest"]
        while at < count * block_size:
            some = min(count - at // block_size, METADATA)
            data, *rest = self._bytes(*rest, 4 * some)
            for word in struct.unpack("<%dI" % some, data):
                stored = word & 0xFFFFFF
                if stored:
                    full = min(block_size, size - at)
                    data = self._data(place, word, stored)
                    if len(data) != full:
                        self.damaged("a block of a file has the wrong size")
                    yield at, data
                    place += stored
                at += block_size
        if tail:
            start = inode.detail["_offset"]
            data = self._fragment(fragment)[start:start + tail]
            if len(data) != tail:
                self.damaged("the end of a file is missing")
            yield size - tail, data

    def _data(self, place, word, stored):
        if place + stored > self.end:
            self.damaged("a block lies behind the end")
        data = self.window.read(stored, place)
        return data if word & 1 << 24 else self._unpack(data, self.sblk.block_size)

    def _fragment(self, index):
        found = self._fragments.get(index)
        if found is None:
            entry = FragmentEntry.from_bytes(self._table(self.sblk.fragment_table_start, index,
                                                         ctypes.sizeof(FragmentEntry), self.sblk.fragments))
            found = self._data(entry.start_block, entry.size, entry.size & 0xFFFFFF)
            self._fragments[index] = found
            if len(self._fragments) > _KEPT_FRAGMENTS:
                self._fragments.popitem(last=False)
        return found

    # Extended attributes

    def xattrs(self, inode):
        index = inode.detail.get("_xattr", SQUASHFS_INVALID_XATTR)
        start = self.sblk.xattr_id_table_start
        if index == SQUASHFS_INVALID_XATTR or start == SQUASHFS_INVALID_BLK:
            return {}
        with self.guard():
            if self._xattr_table is None:
                self._xattr_table = XattrTable.from_bytes(self.window.read(ctypes.sizeof(XattrTable), start))
            table = self._xattr_table
            entry = XattrId.from_bytes(self._table(start + ctypes.sizeof(XattrTable), index, ctypes.sizeof(XattrId),
                                                   table.xattr_ids))
            at, offset = table.xattr_table_start + (entry.xattr >> 16), entry.xattr & 0xFFFF
            found = {}
            for _ in range(entry.count):
                data, at, offset = self._bytes(at, offset, 4)
                kind, size = struct.unpack("<HH", data)
                name, at, offset = self._bytes(at, offset, size)
                if kind & 0xFF >= len(_PREFIXES):
                    self.damaged("an extended attribute has an unknown prefix")
                value, at, offset = self._sized(at, offset)
                if kind & 0x100:                 # stored elsewhere
                    elsewhere, = struct.unpack("<Q", value)
                    value = self._sized(table.xattr_table_start + (elsewhere >> 16), elsewhere & 0xFFFF)[0]
                found[_PREFIXES[kind & 0xFF] + os.fsdecode(name)] = value
            return found

    def _sized(self, at, offset):
        data, at, offset = self._bytes(at, offset, 4)
        size, = struct.unpack("<I", data)
        if size > 65536:
            self.damaged("an extended attribute is too long")
        return self._bytes(at, offset, size)


# Compressors. Each gives at most `limit` bytes: a small file can't fill the memory.

def _unpacker(name, number):
    word = _NAMES.get(number)
    try:
        make = _UNPACKERS[word]
    except KeyError:
        raise AppPotError(f"image {name}: squashfs compressed with {word or f'method {number}'} is not supported; make "
                          "it anew with gzip, xz or zstd") from None
    try:
        return make()
    except ImportError as error:
        wanted = _DISTRIBUTIONS.get(error.name, error.name)
        raise AppPotError(f"image {name} is compressed with {word}: the Python module {error.name} is missing; "
                          f"pip install {wanted}, or make the image anew with gzip, xz or zstd") from None


def _gzip():
    def unpack(data, limit):
        made = zlib.decompressobj()
        out = made.decompress(data, limit)
        if not made.eof:
            raise ValueError("a gzip block is damaged")
        return out
    return unpack


def _xz():
    import lzma

    def unpack(data, limit):
        try:
            return lzma.LZMADecompressor(memlimit=1 << 28).decompress(data, limit)
        except lzma.LZMAError as error:
            raise ValueError(f"an xz block is damaged: {error}") from None
    return unpack


def _lzma():
    import lzma

    def unpack(data, limit):
        try:
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 28).decompress(data, limit)
        except lzma.LZMAError as error:
            raise ValueError(f"an lzma block is damaged: {error}") from None
    return unpack


def _zstd():
    import zstandard
    made = zstandard.ZstdDecompressor()

    def unpack(data, limit):
        try:
            if zstandard.frame_content_size(data) > limit:
                raise ValueError("a zstd block is too long")
            return made.decompress(data, limit)
        except zstandard.ZstdError as error:
            raise ValueError(f"a zstd block is damaged: {error}") from None
    return unpack


def _lz4():
    import lz4.block

    def unpack(data, limit):
        try:
            return lz4.block.decompress(data, limit)
        except lz4.block.LZ4BlockError as error:
            raise ValueError(f"an lz4 block is damaged: {error}") from None
    return unpack


def _lzo():
    import lzo

    def unpack(data, limit):
        try:
            return lzo.decompress(data, False, limit)
        except lzo.error as error:
            raise ValueError(f"an lzo block is damaged: {error}") from None
    return unpack


_DISTRIBUTIONS = {"lzo": "python-lzo"}           # where a module is called otherwise than its package
_UNPACKERS = {"gzip": _gzip, "xz": _xz, "lzma": _lzma, "zstd": _zstd, "lz4": _lz4, "lzo": _lzo}
