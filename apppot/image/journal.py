"""The journal of an ext3 or ext4 image that was not unmounted (JBD2, fs/jbd2/recovery.c): which blocks it has newer."""

import struct

from apppot.errors import AppPotError

_MAGIC = 0xC03B3998
_DESCRIPTOR, _COMMIT, _REVOKE = 1, 2, 5
_REVOKES, _BIT64, _ASYNC_COMMIT, _CSUM_V2, _CSUM_V3, _FAST_COMMIT = 1, 2, 4, 8, 16, 32     # s_feature_incompat
_ESCAPED, _SAME_UUID, _LAST = 1, 2, 8


def newer_blocks(fs, journal, runs):
    """{block: (block that holds its newest committed contents, whether its first word is escaped)}."""
    places = [disk + index for _, disk, count in runs for index in range(count)]
    if not places:
        fs.damaged("its journal is empty")
    head = fs.read(places[0], 1024)
    magic, kind, _, size, length, first, sequence, start = struct.unpack_from(">8I", head)
    if magic != _MAGIC or kind not in (3, 4) or size != fs.block_size:
        fs.damaged("its journal has no head")
    features = struct.unpack_from(">I", head, 0x28)[0] if kind == 4 else 0
    if features & ~(_REVOKES | _BIT64 | _ASYNC_COMMIT | _CSUM_V2 | _CSUM_V3 | _FAST_COMMIT):
        raise AppPotError(f"image {fs.name} was not unmounted, and its journal has features (0x{features:x}) that are "
                          "not supported; run e2fsck on it")
    length = min(length, len(places))
    if features & _FAST_COMMIT:
        length -= struct.unpack_from(">I", head, 0x54)[0] or 256
    if not start:
        return {}
    if not first <= start < length:
        fs.damaged("its journal has an impossible start")
    found, revoked = {}, {}
    at, steps = start, 0
    while steps < length:
        written, revokes, at, steps = _transaction(fs, places, features, first, length, at, steps, sequence)
        if written is None:
            break
        for block, place in written:
            found[block] = sequence, place
        for block in revokes:
            revoked[block] = sequence
        sequence = sequence + 1 & 0xFFFFFFFF
    return {block: place for block, (when, place) in found.items() if revoked.get(block, -1) < when}


def _transaction(fs, places, features, first, length, at, steps, sequence):
    """(blocks, revoked blocks, what is behind, steps gone) of one; blocks is None when it was not committed."""
    written, revokes = [], []

    def after(at):
        return at + 1 if at + 1 < length else first
    while steps < length:
        data = fs.window.read(fs.block_size, places[at] * fs.block_size)
        magic, kind, number = struct.unpack_from(">III", data)
        if magic != _MAGIC or number != sequence:
            break
        at, steps = after(at), steps + 1
        if kind == _COMMIT:
            return written, revokes, at, steps
        if kind == _REVOKE:
            revokes += _revoked(data, features)
        elif kind == _DESCRIPTOR:
            for block, escaped in _tags(data, features):
                written.append((block, (places[at], escaped)))
                at, steps = after(at), steps + 1
        else:
            break
    return None, (), at, steps


def _revoked(data, features):
    end, = struct.unpack_from(">I", data, 12)
    width = ">Q" if features & _BIT64 else ">I"
    step = struct.calcsize(width)
    return [struct.unpack_from(width, data, at)[0] for at in range(16, min(end, len(data) - step + 1), step)]


def _tags(data, features):
    end = len(data) - (4 if features & (_CSUM_V2 | _CSUM_V3) else 0)
    at = 12
    while at + 8 <= end:
        if features & _CSUM_V3:
            block, flags, high, _ = struct.unpack_from(">IIII", data, at)
            size = 16
        else:
            block, _, flags = struct.unpack_from(">IHH", data, at)
            high, size = 0, 8
            if features & _BIT64:
                high, = struct.unpack_from(">I", data, at + 8)
                size = 12
        if features & _BIT64:
            block |= high << 32
        at += size if flags & _SAME_UUID else size + 16
        yield block, bool(flags & _ESCAPED)
        if flags & _LAST:
            return
