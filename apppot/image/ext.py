"""ext2, ext3 and ext4 (the kernel's Documentation/filesystems/ext4/), read without being mounted.

The one reader without a library behind it. `ext4` from PyPI gives zeros for block-mapped files, which all of ext2 and
ext3 are, never ends on an extent tree with a loop, loses inline data behind its 60th byte, comes compiled for glibc 2.34
and newer only, and pins the exact versions of what it needs; `dissect.extfs` reads block 0 where an indirect block is a
hole. Here is what is needed to read one file at a time; the journal of an image that was not unmounted is replayed in
memory.
"""

from collections import OrderedDict
import os
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT, S_IFREG
import struct

from apppot.errors import AppPotError
from apppot.image import acl
from apppot.image.tree import Inode, Reader

MAGIC_OFFSET, MAGIC = 0x438, b"\x53\xef"

# s_feature_incompat
COMPRESSION, FILETYPE, RECOVER, JOURNAL_DEV, META_BG = 0x1, 0x2, 0x4, 0x8, 0x10
EXTENTS, BIT64, MMP, FLEX_BG, EA_INODE = 0x40, 0x80, 0x100, 0x200, 0x400
DIRDATA, CSUM_SEED, LARGEDIR, INLINE_DATA, ENCRYPT, CASEFOLD = 0x1000, 0x2000, 0x4000, 0x8000, 0x10000, 0x20000
_READABLE = (FILETYPE | RECOVER | META_BG | EXTENTS | BIT64 | MMP | FLEX_BG | EA_INODE | CSUM_SEED | LARGEDIR | INLINE_DATA
             | CASEFOLD)
_FEATURES = {COMPRESSION: "compression", JOURNAL_DEV: "journal_dev", DIRDATA: "dirdata", ENCRYPT: "encrypt"}
_HAS_JOURNAL, _SPARSE_SUPER2 = 0x4, 0x200      # s_feature_compat
_SPARSE_SUPER, _BIGALLOC = 0x1, 0x200          # s_feature_ro_compat

# i_flags
_EXTENTS_FL, _EA_INODE_FL, _INLINE_FL = 0x80000, 0x200000, 0x10000000

_ROOT = 2
_INODE = struct.Struct("<HHIIIIIHHII4x60sIIII")   # up to i_obso_faddr
_OSD2 = struct.Struct("<HHHH")                    # blocks_high, file_acl_high, uid_high, gid_high
_ENTRY = struct.Struct("<IHBB")
_XATTR = struct.Struct("<BBHIII")
_XATTR_MAGIC = 0xEA020000
_PREFIXES = {0: "", 1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.",
             6: "security.", 7: "system.", 8: "system.richacl"}
_PIECE = 1 << 20
_KEPT = 256                    # parts of inode tables and mapping blocks


class Ext(Reader):
    """window: where the file system lies."""

    def __init__(self, window):
        self.window = window
        self.name = window.name
        with self.guard():
            self._open()

    def _open(self):
        block = self.window.read(1024, 1024)
        (self.inodes, blocks, _, _, _, first, log, _, self.per_group_blocks, _, self.per_group) = struct.unpack_from(
            "<11I", block)
        revision, = struct.unpack_from("<I", block, 0x4C)
        self.inode_size = struct.unpack_from("<H", block, 0x58)[0] if revision else 128
        self.compat, self.incompat, self.ro_compat = struct.unpack_from("<III", block, 0x5C) if revision else (0, 0, 0)
        unknown = self.incompat & ~_READABLE
        if unknown:
            names = [_FEATURES.get(1 << bit, f"incompat 0x{1 << bit:x}") for bit in range(32) if unknown >> bit & 1]
            raise AppPotError(f"image {self.name}: the ext4 feature {', '.join(names)} is not supported; make it anew "
                              f"with mke2fs -O ^{names[0]}")
        self.format = "ext4" if self.incompat & EXTENTS else "ext3" if self.compat & _HAS_JOURNAL else "ext2"
        if log > 6 or not self.per_group or not self.per_group_blocks or self.inode_size < 128 or self.inodes < _ROOT:
            self.damaged("the superblock has impossible sizes")
        self.block_size = 1024 << log
        if self.inode_size > self.block_size:
            self.damaged("the superblock has impossible sizes")
        self.first = first
        if self.incompat & BIT64:
            blocks |= struct.unpack_from("<I", block, 0x150)[0] << 32
            self.descriptor = struct.unpack_from("<H", block, 0xFE)[0]
        else:
            self.descriptor = 32
        if self.descriptor < 32 or self.descriptor > self.block_size:
            self.damaged("the superblock has impossible sizes")
        self.blocks = blocks
        if blocks * self.block_size > self.window.size:
            self.damaged(f"it is cut short: {blocks * self.block_size} bytes are needed, {self.window.size} are there")
        self.groups = -(-(blocks - first) // self.per_group_blocks)
        self.first_meta = struct.unpack_from("<I", block, 0x104)[0]
        self._kept = OrderedDict()
        self._tables = {}
        self.newer = {}            # block -> place in the journal's file, of blocks that the journal has
        self.detail = {"uuid": block[0x68:0x78].hex(), "label": os.fsdecode(block[0x78:0x88].split(b"\0")[0]),
                       "block size": self.block_size, "size": blocks * self.block_size}
        if self.incompat & RECOVER:
            self._recover(struct.unpack_from("<I", block, 0xE0)[0])
        self.root = self.inode(_ROOT)
        if S_IFMT(self.root.mode) != S_IFDIR:
            self.damaged("its root is no directory")

    def _recover(self, number):
        from apppot.image.journal import newer_blocks
        journal = self.inode(number)
        runs = list(self._runs(journal))
        self.newer = newer_blocks(self, journal, runs)
        self._kept.clear()
        self._tables.clear()

    def close(self):
        self.window.close()

    # Blocks

    def read(self, block, size, offset=0):
        """Bytes of a block and those behind it."""
        if not 0 < block < self.blocks and not (block == 0 and self.first == 0):
            self.damaged(f"a reference leads to the impossible block {block}")
        newer = self.newer
        if not newer:
            return self.window.read(size, block * self.block_size + offset)
        parts = []
        block, offset = block + offset // self.block_size, offset % self.block_size
        while size:
            some = min(size, self.block_size - offset)
            again = newer.get(block)
            if again is None:
                parts.append(self.window.read(some, block * self.block_size + offset))
            else:
                place, escaped = again
                data = self.window.read(self.block_size, place * self.block_size)
                if escaped:
                    data = b"\xc0\x3b\x39\x98" + data[4:]
                parts.append(data[offset:offset + some])
            size -= some
            block, offset = block + 1, 0
        return b"".join(parts)

    def _keep(self, block):
        """A block of metadata, kept for a while."""
        found = self._kept.get(block)
        if found is None:
            found = self._kept[block] = self.read(block, self.block_size)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _has_superblock(self, group):
        if not self.ro_compat & _SPARSE_SUPER or group < 2:
            return True
        for base in (3, 5, 7):
            power = base
            while power < group:
                power *= base
            if power == group:
                return True
        return False

    def _table(self, group):
        """First block of a group's inode table."""
        found = self._tables.get(group)
        if found is None:
            per_block = self.block_size // self.descriptor
            meta, index = divmod(group, per_block)
            if self.incompat & META_BG and meta >= self.first_meta:
                block = self.first + meta * per_block * self.per_group_blocks + self._has_superblock(meta * per_block)
                if self.block_size == 1024 and not meta and not self.first:
                    block += 1
            else:
                block = 1024 // self.block_size + 1 + meta       # behind the superblock
            data = self._keep(block)[index * self.descriptor:]
            found, = struct.unpack_from("<I", data, 8)
            if self.descriptor >= 64:
                found |= struct.unpack_from("<I", data, 0x28)[0] << 32
            self._tables[group] = found
        return found

    # Inodes

    def inode(self, ref):
        if not 0 < ref <= self.inodes:
            self.damaged(f"a reference leads to the impossible inode {ref}")
        group, index = divmod(ref - 1, self.per_group)
        block, offset = divmod(index * self.inode_size, self.block_size)
        data = self._keep(self._table(group) + block)[offset:offset + self.inode_size]
        (mode, uid, size, _, _, mtime, _, gid, links, blocks, flags, place, _, acl, high, _) = _INODE.unpack_from(data)
        blocks_high, acl_high, uid_high, gid_high = _OSD2.unpack_from(data, 116)
        made = Inode()
        made.number = made.ref = ref
        made.mode = mode
        made.uid, made.gid = uid | uid_high << 16, gid | gid_high << 16
        made.nlink, made.size = links, size
        kind = S_IFMT(mode)
        if kind == S_IFREG or kind == S_IFDIR and self.incompat & LARGEDIR:
            made.size |= high << 32
        made.blocks = blocks | blocks_high << 32
        if flags & 0x40000:                                  # counted in blocks (huge_file)
            made.blocks *= self.block_size // 512
        extra = struct.unpack_from("<H", data, 128)[0] if self.inode_size > 128 else 0
        nanoseconds = 0
        if mtime >= 1 << 31:
            mtime -= 1 << 32
        if extra >= 12:
            more, = struct.unpack_from("<I", data, 0x88)
            nanoseconds = more >> 2
            mtime += (more & 3) << 32
        made.mtime_ns = mtime * 1_000_000_000 + nanoseconds
        made.rdev = 0
        if kind in (S_IFCHR, S_IFBLK):
            old, new = struct.unpack_from("<II", place)
            made.rdev = (os.makedev(old >> 8 & 0xFF, old & 0xFF) if old else
                         os.makedev(new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00))
        made.detail = place, flags, acl | acl_high << 32, data[128 + extra:] if extra or self.inode_size > 128 else b""
        return made

    def list(self, inode):
        place, flags, _, extra = inode.detail
        found = []
        if flags & _INLINE_FL:
            found += self._listed(place[4:])                 # behind the number of the parent
            found += self._listed(self._xattrs_in(extra, 4).get("system.data", b""))
        else:
            if inode.size % self.block_size:
                self.damaged("a directory has an impossible size")
            for _, data in self._contents(inode):
                for start in range(0, len(data), self.block_size):
                    found += self._listed(data[start:start + self.block_size])
        return found

    def _listed(self, data):
        at, end = 0, len(data)
        wide = not self.incompat & FILETYPE
        found = []
        while at + 8 <= end:
            number, length, size, kind = _ENTRY.unpack_from(data, at)
            if wide:
                size |= kind << 8
            if self.block_size == 65536 and length in (0, 65535):
                length = 65536
            if length < 8 or length % 4 or at + length > end or number and size > length - 8:
                self.damaged("a directory has an impossible entry")
            name = data[at + 8:at + 8 + size]
            if number and name not in (b".", b".."):
                found.append((name, number))
            at += length
        return found

    def entries(self, inode):
        return [(name, entry) for name, entry in super().entries(inode) if entry.mode or self._unused(name)]

    def _unused(self, name):
        return self.damaged(f"{os.fsdecode(name)!r} leads to an unused inode")

    def target(self, inode):
        place, flags, acl, extra = inode.detail
        if inode.size < 60 and not flags & (_EXTENTS_FL | _INLINE_FL):
            return place[:inode.size]
        if inode.size > self.block_size:
            self.damaged("a symbolic link is too long")
        return b"".join(data for _, data in self.chunks(inode))

    # Contents

    def chunks(self, inode):
        place, flags, _, extra = inode.detail
        if flags & _INLINE_FL:
            data = place + self._xattrs_in(extra, 4).get("system.data", b"")
            if len(data) < inode.size:
                self.damaged("the contents of a small file are missing")
            if inode.size:
                yield 0, data[:inode.size]
            return
        yield from self._contents(inode)

    def _contents(self, inode):
        for at, block, count in self._runs(inode):
            start, end = at * self.block_size, min((at + count) * self.block_size, inode.size)
            base = start
            while start < end:
                some = min(_PIECE, end - start)
                yield start, self.read(block, some, start - base)
                start += some

    def _runs(self, inode):
        """Where the contents are: (first block in the file, block on the disk, count), ascending; without holes."""
        place, flags, _, _ = inode.detail
        limit = -(-inode.size // self.block_size)
        if flags & _EXTENTS_FL:
            return self._extents(place, limit)
        if limit > self.block_size ** 3:                     # more than a triple indirect block can name
            self.damaged("a file has an impossible size")
        return self._mapped(struct.unpack("<15I", place), limit)

    def _extents(self, root, limit):
        last = 0
        todo = [(root, 5)]
        while todo:
            node, above = todo.pop()
            magic, count, _, depth = struct.unpack_from("<HHHH", node)
            if magic != 0xF30A or depth >= above or 12 + 12 * count > len(node):
                self.damaged("an extent tree is broken")
            if depth:
                below = []
                for index in range(count):
                    _, low, high = struct.unpack_from("<IIH", node, 12 + 12 * index)
                    below.append((high << 32 | low, depth))
                todo.extend((self._later(block), level) for block, level in reversed(below))
                continue
            for index in range(count):
                at, length, high, low = struct.unpack_from("<IHHI", node, 12 + 12 * index)
                if length > 32768:                           # not initialized: reads as zeros
                    continue
                if at < last:
                    self.damaged("the extents of a file overlap")
                last = at + length
                block = high << 32 | low
                if block + length > self.blocks:
                    self.damaged("an extent leads behind the end")
                if at < limit:
                    yield at, block, min(length, limit - at)

    def _later(self, block):
        return self._keep(block)

    def _mapped(self, blocks, limit):
        """The runs of a block-mapped file (ext2, ext3)."""
        first = disk = count = 0
        for at, block in self._mapping(blocks, limit):
            if count and at == first + count and block == disk + count:
                count += 1
                continue
            if count:
                yield first, disk, count
            first, disk, count = at, block, 1
        if count:
            yield first, disk, count

    def _mapping(self, blocks, limit):
        for at in range(min(12, limit)):
            if blocks[at]:
                yield at, blocks[at]
        per = self.block_size // 4
        start, span = 12, per
        for level in (1, 2, 3):
            if start >= limit:
                return
            if blocks[11 + level]:
                yield from self._indirect(blocks[11 + level], level, start, limit)
            start, span = start + span, span * per

    def _indirect(self, block, level, start, limit):
        per = self.block_size // 4
        span = per ** (level - 1)
        for index, below in enumerate(struct.unpack("<%dI" % per, self._keep(block))):
            at = start + index * span
            if at >= limit:
                return
            if below and level == 1:
                yield at, below
            elif below:
                yield from self._indirect(below, level - 1, at, limit)

    # Extended attributes

    def xattrs(self, inode):
        _, _, block, extra = inode.detail
        with self.guard():
            found = self._xattrs_in(extra, 4)
            if block:
                found.update(self._xattrs_in(self.read(block, self.block_size), 32))
            found.pop("system.data", None)
            for name in acl.NAMES:
                if name in found:
                    try:
                        found[name] = acl.from_ext(found[name])
                    except OSError:
                        self.damaged("an access control list is no proper one")
            return found

    def _xattrs_in(self, data, at):
        """Those in the end of an inode (at: 4) or in a block of their own (32)."""
        if len(data) < at + 4 or struct.unpack_from("<I", data)[0] != _XATTR_MAGIC:
            return {}
        base = at if at == 4 else 0
        found = {}
        while at + 4 <= len(data) and data[at:at + 4] != b"\0\0\0\0":
            length, prefix, offset, number, size, _ = _XATTR.unpack_from(data, at)
            name = _PREFIXES.get(prefix, f"unknown{prefix}.") + os.fsdecode(data[at + 16:at + 16 + length])
            if number:
                elsewhere = self.inode(number)
                if not elsewhere.detail[1] & _EA_INODE_FL or elsewhere.size > 1 << 20:
                    self.damaged("an extended attribute leads nowhere")
                value = bytearray(elsewhere.size)
                for place, part in self.chunks(elsewhere):
                    value[place:place + len(part)] = part
                found[name] = bytes(value[:size])
            else:
                if base + offset + size > len(data):
                    self.damaged("an extended attribute lies outside")
                found[name] = data[base + offset:base + offset + size]
            at += 16 + (length + 3 & ~3)
        return found
