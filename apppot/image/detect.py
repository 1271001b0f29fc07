"""What an image is, told from its content. Names and suffixes are never looked at."""

import hashlib
import os
from stat import S_ISDIR, S_ISREG
import struct

from apppot.errors import AppPotError
from apppot.image import compression
from apppot.image.tree import DamagedImage, Window
from apppot.image.umlcow import MAGIC as UML_MAGIC, UmlCow

#: Formats that start without being unpacked.
LAZY = ("ext", "squashfs", "sif", "uml-cow")
#: Formats that are unpacked first.
UNPACKED = ("oci-layout", "oci-archive", "docker-archive", "tar")

SECTOR = 512
_ENDS = 1 << 18                        # bytes that are hashed of each end of an image
# Partition types of Linux file systems: MBR, and GPT as the 16 bytes on disk (UEFI specification, Discoverable Partitions)
_MBR_LINUX, _MBR_EXTENDED, _MBR_GPT, _MBR_ACTIVE = 0x83, (0x05, 0x0F, 0x85), 0xEE, 0x80
_GPT_LINUX = {bytes.fromhex("af3dc60f838472478e793d69d8477de4"),      # Linux file system
              bytes.fromhex("e3bc684fcde8b14d96e7fbcaf984b709"),      # root, x86-64
              bytes.fromhex("45b0211b00e9e14bb7210e4d30ba5d3d")}      # root, 64-bit Arm
_GPT_BOOTABLE = 1 << 2
_MAX_PARTITIONS = 128

# SIF (github.com/sylabs/sif, the definition of Header and rawDescriptor)
_SIF_MAGIC = b"SIF_MAGIC\0"
_SIF_HEADER = struct.Struct("<32s10s3s3s16s8q")
_SIF_DESCRIPTOR = struct.Struct("<i?III7q128s384s")
_SIF_PARTITION, _SIF_SQUASHFS, _SIF_ENCRYPTED, _SIF_SYSTEM = 0x4004, 1, 5, 2

# What is no image of ours but has a name: (offset, bytes, name)
_OTHERS = ((0, b"QFI\xfb", "a qcow2 disk image"), (0, b"sqsh", "a big-endian squashfs image of an old version"),
           (0, b"PK\x03\x04", "a zip archive"), (0, b"\x7fELF", "a program"), (0, b"#!", "a script"),
           (0, b"XFSB", "an XFS image"), (0x10040, b"_BHRfS_M", "a btrfs image"), (0x8001, b"CD001", "an ISO 9660 image"),
           (1024, b"\xe2\xe1\xf5\xe0", "an EROFS image"), (0, b"VMDK", "a VMDK disk image"),
           (0, b"conectix", "a VHD disk image"))


class Found:
    """What `detect` found.

    path          the image file or directory
    format        "directory", one of LAZY or UNPACKED, or None: of no format that AppPot starts
    what          the same in words, for messages: "an ext2/3/4 image"
    offset, size  where the file system lies in it
    detail        "partition 2 of an MBR disk image", "gzip"..., or ""
    """

    __slots__ = ("path", "format", "what", "offset", "size", "detail")

    def __init__(self, path, format, what, offset=0, size=None, detail=""):
        self.path, self.format, self.what = path, format, what
        self.offset, self.size, self.detail = offset, size, detail

    def __repr__(self):
        return f"Found({self.format!r}, {self.what!r}, {self.offset}, {self.size}, {self.detail!r})"


def detect(path, look_inside=True):
    """The Found of a file or directory; AppPotError when it can't be read.

    look_inside: tell archives apart by what is in them. Else each has the format "archive", and nothing is unpacked.
    """
    path = os.fsencode(path)
    try:
        st = os.stat(path)
    except OSError as error:
        raise AppPotError(f"image {os.fsdecode(path)}: {error.strerror}") from None
    if S_ISDIR(st.st_mode):
        if os.path.lexists(path + b"/oci-layout"):
            return Found(path, "oci-layout", "an OCI layout")
        return Found(path, "directory", "a directory")
    if not S_ISREG(st.st_mode):
        return Found(path, None, "neither a file nor a directory")
    window = Window(path)
    try:
        return _of_file(path, window, look_inside)
    finally:
        window.close()


def _of_file(path, window, look_inside):
    at = window.peek
    head = at(0, 1024)
    if head.startswith(UML_MAGIC):
        return Found(path, "uml-cow", "a User-Mode Linux COW file")
    inner = _file_system(at, 0)
    if inner:
        return Found(path, inner, "an ext2/3/4 image" if inner == "ext" else "a squashfs image")
    if head[32:42] == _SIF_MAGIC:
        return _sif(path, window)
    word = compression.kind(head)
    if word or head[257:262] == b"ustar" or _old_tar(head):
        return _archive(path, word) if look_inside else Found(path, "archive", "an archive")
    for offset, magic, what in _OTHERS:
        if at(offset, len(magic)) == magic:
            return Found(path, None, what)
    if head[510:512] == b"\x55\xaa":
        return _disk(path, window)
    return Found(path, None, "a file of no image format that AppPot knows" if head else
                 "an empty file, of no image format")


def _file_system(at, offset):
    if at(offset + 0x438, 2) == b"\x53\xef":
        return "ext"
    if at(offset, 4) == b"hsqs":
        return "squashfs"
    return None


# Disk images with partitions

def _disk(path, window):
    at = window.peek
    kind, partitions = _gpt(at) or ("MBR", _mbr(at))
    linux = []
    for number, active, start, size in partitions:
        inner = _file_system(at, start)
        if inner and size > 0:
            linux.append((not active, number, inner, start, size))
    if not linux:
        return Found(path, None, f"{'a' if kind == 'GPT' else 'an'} {kind} disk image without a Linux partition that can be "
                                 "read (ext2/3/4, squashfs)")
    _, number, inner, start, size = min(linux)
    if start + size > window.size:
        raise DamagedImage(window.name, f"it is cut short: partition {number} ends at {start + size} bytes, "
                                        f"{window.size} are there")
    article = "a" if kind == "GPT" else "an"
    return Found(path, inner, f"{article} {kind} disk image", start, size, f"partition {number} of {article} {kind} disk image")


def _mbr(at):
    """(number, active, start, size) of the Linux partitions."""
    table = at(446, 64)
    found, extended = [], None
    for index in range(4):
        status, kind, start, count = _mbr_entry(table, index)
        if kind == _MBR_LINUX:
            found.append((index + 1, status == _MBR_ACTIVE, start * SECTOR, count * SECTOR))
        elif kind in _MBR_EXTENDED:
            extended = start
    here = extended
    number = 5
    while here and number < _MAX_PARTITIONS:
        sector = at(here * SECTOR, SECTOR)
        if sector[510:] != b"\x55\xaa":
            break
        status, kind, start, count = _mbr_entry(sector[446:], 0)
        if kind == _MBR_LINUX:
            found.append((number, status == _MBR_ACTIVE, (here + start) * SECTOR, count * SECTOR))
        number += 1
        _, kind, start, _ = _mbr_entry(sector[446:], 1)
        here = extended + start if kind in _MBR_EXTENDED and start else None
    return found


def _mbr_entry(table, index):
    status, _, kind, _, start, count = struct.unpack_from("<B3sB3sII", table, 16 * index)
    return status, kind, start, count


def _gpt(at):
    """("GPT", partitions) or None."""
    if at(450, 1)[0] != _MBR_GPT:
        return None
    for sector in (512, 4096):
        head = at(sector, 92)
        if head[:8] != b"EFI PART":
            continue
        first, count, size, _ = struct.unpack_from("<QIII", head, 72)
        if not 128 <= size <= 4096:
            continue
        found = []
        for number in range(min(count, _MAX_PARTITIONS)):
            entry = at(first * sector + number * size, 56)
            if len(entry) < 56:
                break
            kind, start, last, flags = entry[:16], *struct.unpack_from("<QQQ", entry, 32)
            if kind in _GPT_LINUX:
                found.append((number + 1, bool(flags & _GPT_BOOTABLE), start * sector, (last - start + 1) * sector))
        return "GPT", found
    return None


# SIF

def _sif(path, window):
    name = window.name
    fields = _SIF_HEADER.unpack(window.read(_SIF_HEADER.size, 0))
    total, place = fields[8], fields[9]
    if not 0 <= total <= 4096 or place < 0:
        raise DamagedImage(name, "the SIF header has impossible numbers")
    encrypted, best = False, None
    for index in range(total):
        kind, used, *numbers, _, extra = _SIF_DESCRIPTOR.unpack(
            window.read(_SIF_DESCRIPTOR.size, place + index * _SIF_DESCRIPTOR.size))
        if not used or kind != _SIF_PARTITION:
            continue
        start, size = numbers[3:5]
        inner, part = struct.unpack_from("<ii", extra)
        encrypted |= inner == _SIF_ENCRYPTED
        if inner == _SIF_SQUASHFS and (best is None or part == _SIF_SYSTEM and best[2] != _SIF_SYSTEM):
            best = start, size, part
    if best is None:
        return Found(path, None, "a SIF image whose root is encrypted" if encrypted else
                     "a SIF image without a squashfs partition")
    start, size, _ = best
    if start < 0 or size < 0 or start + size > window.size:
        raise DamagedImage(name, f"it is cut short: its root ends at {start + size} bytes, {window.size} are there")
    return Found(path, "sif", "a SIF image", start, size)


# Archives

def _old_tar(head):
    """Whether the check sum of a tar header of before POSIX is right."""
    if len(head) < 512 or not head[0]:
        return False
    try:
        told = int(head[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return told == sum(head[:148]) + 8 * 32 + sum(head[156:512])


def _archive(path, word):
    """The Found of a tar archive, by its first members. word: its compression, or None."""
    import tarfile
    from apppot.image import tarstream
    plain = f"a {word} tar archive" if word else "a tar archive"
    name = os.fsdecode(path)
    archive = None
    with open(path, "rb") as file:
        try:
            with tarstream.damage(name):
                if word is None:
                    archive = tarfile.open(fileobj=file, mode="r:", tarinfo=tarstream.Member)
                else:
                    archive = tarfile.open(fileobj=compression.reader(file, name), mode="r|", tarinfo=tarstream.Member)
                kind, what = _by_members(archive, ("tar", plain))
        except AppPotError as error:
            if error.__cause__ is None:                 # not the archive's fault: a module is missing
                raise
            if word and archive is None and isinstance(error.__cause__, tarfile.ReadError):
                return Found(path, None, f"a {word} file that holds no tar archive")
            return Found(path, None, f"a damaged {word} file" if word else "a damaged tar archive")
    return Found(path, kind, what, detail=word or "")


def _by_members(archive, plain):
    names = set()
    for count, member in enumerate(archive):
        name = member.name.removeprefix("./")
        names.add(name)
        if name == "oci-layout":
            return "oci-archive", "an OCI archive"
        if name in ("manifest.json", "repositories") and member.isreg():
            return "docker-archive", "a docker save archive"
        top = name.partition("/")[0]
        likely = top in ("blobs", "index.json") or len(top.removesuffix(".json")) == 64
        if count > 4 and not likely or count > 1000:
            break
    if "index.json" in names and any(name.startswith("blobs/") for name in names):
        return "oci-archive", "an OCI archive"
    return plain


# Opening

def open_window(found, image=None):
    """What the file system of a Found with a format of LAZY is read through; (window, format of the file system)."""
    if found.format != "uml-cow":
        return Window(found.path, found.offset, found.size), "squashfs" if found.format == "sif" else found.format
    cow = UmlCow(found.path, image)
    try:
        inner = detect(cow.image.name)
        if inner.format not in ("ext", "squashfs"):
            raise AppPotError(f"image {cow.image.name} below the COW {cow.name} is {inner.what}; an ext2/3/4 image is needed")
        if inner.offset or inner.size is not None:
            return cow.part(inner.offset, inner.size), inner.format
        return cow, inner.format
    except BaseException:
        cow.close()
        raise


def open_reader(found, image=None):
    """The `tree.Reader` of a Found with a format of LAZY. image: where the image below a UML COW file is now."""
    window, kind = open_window(found, image)
    try:
        return reader_of(window, kind)
    except BaseException:
        window.close()
        raise


def reader_of(window, kind):
    """The Reader of what `open_window` gave."""
    if kind == "squashfs":
        try:
            from apppot.image.squashfs import Squashfs
        except ImportError as error:
            raise AppPotError(f"image {window.name} is a squashfs: the Python module {error.name} is missing; "
                              "pip install PySquashfsImage") from None
        return Squashfs(window)
    from apppot.image.ext import Ext
    return Ext(window)


def digests(window, kind):
    """(what names the image's tree in the cache, what names its content).

    Of the content the ends are hashed, where the metadata are, and samples of what is between: reading all of a large image
    would take longer than the run. That tells images apart; it does not prove them equal. So the name in the cache hashes the
    time stamp as well: an image that was made anew has a new one, while a copy that keeps the time, as links, `cp -p` and
    `rsync -t` do, is the same image.
    """
    size = window.size
    hashed = hashlib.sha256(b"%s %d " % (kind.encode(), size))
    ends = min(size, _ENDS)
    for at, count in [(0, ends), (size - ends, ends)] + [(size * part // 33, min(4096, size - size * part // 33))
                                                          for part in range(1, 33)]:
        hashed.update(window.read(count, at))
    content = hashed.hexdigest()
    hashed.update(window.identity())
    return hashed.hexdigest(), content
