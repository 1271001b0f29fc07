"""POSIX access control lists, acl(5): their two binary forms and the text of tar archives, and whom they permit what.

In extended attributes (linux/posix_acl_xattr.h) a list is a version number and entries of tag, permissions and id, all
little-endian. ext2/3/4 keep the same entries on disk with another version, and without ids where none is needed
(fs/ext4/acl.h). The permissions of the owner, of the mask (of the group where there is no mask) and of others are those of
the file's mode: the mode is what counts, see `with_mode`.
"""

from errno import EINVAL
import os
import struct

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
NAMES = (ACCESS, DEFAULT)

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF                                     # id of entries that need none
_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")                           # tag, permissions, id
_SHORT = struct.Struct("<HH")
_IN_XATTR, _ON_EXT = 2, 1
_TAGS = {("u", False): USER_OBJ, ("u", True): USER, ("g", False): GROUP_OBJ, ("g", True): GROUP, ("m", False): MASK,
         ("o", False): OTHER}                            # by the first letter, and whether a name follows
_NEXT = {None: (USER_OBJ,), USER_OBJ: (USER, GROUP_OBJ), USER: (USER, GROUP_OBJ), GROUP_OBJ: (GROUP, MASK, OTHER),
         GROUP: (GROUP, MASK), MASK: (OTHER,), OTHER: ()}


def parse(value):
    """[(tag, permissions, id)] of an attribute's value; [] where it lists nobody. OSError(EINVAL): it is no proper list."""
    if len(value) < 4 or (len(value) - 4) % _ENTRY.size or _VERSION.unpack_from(value)[0] != _IN_XATTR:
        raise OSError(EINVAL, os.strerror(EINVAL))
    entries = list(_ENTRY.iter_unpack(value[4:]))
    before, named = None, False
    for tag, bits, _ in entries:
        if tag not in _NEXT[before] or bits & ~7:
            raise OSError(EINVAL, os.strerror(EINVAL))
        named = named or tag in (USER, GROUP)
        if tag == OTHER and named and before != MASK:
            raise OSError(EINVAL, os.strerror(EINVAL))
        before = tag
    if entries and before != OTHER:
        raise OSError(EINVAL, os.strerror(EINVAL))
    return entries


def pack(entries):
    return _VERSION.pack(_IN_XATTR) + b"".join(_ENTRY.pack(tag, bits, number if tag in (USER, GROUP) else _NOBODY)
                                               for tag, bits, number in entries)


def from_ext(data):
    """The attribute's value of a list as ext2/3/4 keep it; OSError(EINVAL) as for `parse`."""
    try:
        if _VERSION.unpack_from(data)[0] != _ON_EXT:
            raise OSError(EINVAL, os.strerror(EINVAL))
        entries, at = [], 4
        while at < len(data):
            tag, bits = _SHORT.unpack_from(data, at)
            named = tag in (USER, GROUP)
            entries.append(_ENTRY.unpack_from(data, at) if named else (tag, bits, _NOBODY))
            at += _ENTRY.size if named else _SHORT.size
    except struct.error:
        raise OSError(EINVAL, os.strerror(EINVAL)) from None
    value = pack(entries)
    parse(value)
    return value


def from_text(text, number_of):
    """The attribute's value of a list in the text that tar archives have (acl(5), "ACL text forms"); OSError(EINVAL).

    GNU tar writes names where it knows them, star and libarchive put numbers behind them. number_of(tag, name): the number of
    a name that stands alone, or None. Entries of names without a number are left out: nobody knows whom they mean.
    """
    entries = []
    for line in text.replace(",", "\n").split("\n"):
        fields = line.partition("#")[0].strip().removeprefix("default:").split(":")
        if fields == [""]:
            continue
        if len(fields) == 2:                             # mask:rwx
            fields.insert(1, "")
        kind, name, bits = fields[:3] if len(fields) in (3, 4) else ("", "", "")
        tag = _TAGS.get((kind[:1], bool(name)))
        if tag is None or len(bits) != 3 or any(letter not in (bit, "-") for letter, bit in zip(bits, "rwx")):
            raise OSError(EINVAL, os.strerror(EINVAL))
        number = _number(tag, fields[-1] if len(fields) == 4 else name, name, number_of) if name else _NOBODY
        if number is not None:
            entries.append((tag, sum(4 >> place for place, letter in enumerate(bits) if letter != "-"), number))
    value = pack(sorted(entries, key=lambda entry: (entry[0], entry[2])))
    parse(value)
    return value


def _number(tag, digits, name, number_of):
    if digits.isdecimal() and digits.isascii():
        return int(digits) if len(digits) < 10 else None
    return number_of(tag, name)


def mode_of(entries):
    """The 0777 bits that a file with this list has."""
    bits = {tag: bits for tag, bits, _ in entries}
    return bits[USER_OBJ] << 6 | bits.get(MASK, bits[GROUP_OBJ]) << 3 | bits[OTHER]


def is_minimal(entries):
    """Whether it says no more than a mode does."""
    return len(entries) == 3


def with_mode(entries, mode):
    """The list after its file's mode became `mode`."""
    group = MASK if any(tag == MASK for tag, _, _ in entries) else GROUP_OBJ
    now = {USER_OBJ: mode >> 6 & 7, group: mode >> 3 & 7, OTHER: mode & 7}
    return [(tag, now.get(tag, bits), number) for tag, bits, number in entries]


def permitted(entries, caller, st, wanted):
    """Whether a file's list gives a caller other than root the R_OK, W_OK, X_OK bits `wanted` (acl(5), "Access check
    algorithm"). st: owner, group and mode as the caller sees them."""
    entries = with_mode(entries, st.st_mode)
    bits = {tag: bits for tag, bits, _ in entries}
    if caller.uid == st.st_uid:
        return not wanted & ~bits[USER_OBJ]
    mask = bits.get(MASK, 7)
    groups = []
    for tag, given, number in entries:
        if tag == USER and number == caller.uid:
            return not wanted & ~(given & mask)
        group = st.st_gid if tag == GROUP_OBJ else number if tag == GROUP else None
        if group is not None and (group == caller.gid or group in caller.groups):
            groups.append(given & mask)
    if groups:
        return any(not wanted & ~given for given in groups)
    return not wanted & ~bits[OTHER]
