"""What the cache keeps about the entries of a directory of a lazily filled image: docs/formats.md, "index"."""

from stat import S_IFBLK, S_IFCHR, S_IFMT
import struct
import zlib

_WHOLE, _IN_PART = b"AppPotD1", b"AppPotD2"     # whether all of the entries are made
_HEAD = struct.Struct("<8sII")                  # one of these, number of entries, CRC of the rest
_ENTRY = struct.Struct("<QIHIIQIQq")            # ref, number, mode, uid, gid, rdev, nlink, blocks, mtime_ns
REF, NUMBER, MODE, UID, GID, RDEV, NLINK, BLOCKS, MTIME = range(9)


def entry_of(inode):
    device = inode.rdev if S_IFMT(inode.mode) in (S_IFCHR, S_IFBLK) else 0
    return (inode.ref, inode.number, inode.mode, inode.uid, inode.gid, device, inode.nlink, inode.blocks,
            inode.mtime_ns)


def index_bytes(entries, whole=True):
    body = b"".join(_ENTRY.pack(*entry) for entry in entries.values()) + b"/".join(entries)
    return _HEAD.pack(_WHOLE if whole else _IN_PART, len(entries), zlib.crc32(body)) + body


def parse_index(data):
    """({name: entry}, whether all of them are made), or (None, False): torn, or of another version."""
    if len(data) < _HEAD.size:
        return None, False
    magic, count, told = _HEAD.unpack_from(data)
    body = memoryview(data)[_HEAD.size:]
    if magic not in (_WHOLE, _IN_PART) or zlib.crc32(body) != told:
        return None, False
    end = count * _ENTRY.size
    names = bytes(body[end:]).split(b"/") if count else ()
    return dict(zip(names, _ENTRY.iter_unpack(body[:end]))), magic == _WHOLE
