"""User-Mode Linux COW files, version 3 (struct cow_header_v3 of arch/um/drivers/cow_user.c): blocks over an image."""

import os
import struct

from apppot.errors import AppPotError
from apppot.image.tree import DamagedImage, Window

MAGIC = b"OOOM"                              # COW_MAGIC, 0x4f4f4f4d
_HEADER = struct.Struct(">4sIIQIII4096s")    # magic, version, mtime, size, sector size, alignment, format, backing file
_MAX_SIZE = 1 << 44


class UmlCow:
    """A COW file and the image it was made over, read as one image. `image`: where it lies now, if said."""

    def __init__(self, path, image=None):
        self.cow = Window(path)
        self.name = self.cow.name
        try:
            self._open(path, image)
        except BaseException:
            self.cow.close()
            raise

    def _open(self, path, image):
        if self.cow.size < 8 or self.cow.read(4, 0) != MAGIC:
            raise AppPotError(f"COW {self.name} is no User-Mode Linux COW file")
        version, = struct.unpack(">I", self.cow.read(4, 4))
        if version != 3:
            raise AppPotError(f"COW {self.name} has version {version} of User-Mode Linux's format; only 3 is known: "
                              "merge it into its image with uml_moo")
        _, _, mtime, self.size, self.sector, align, kind, backing = _HEADER.unpack(self.cow.read(_HEADER.size, 0))
        if kind:
            raise AppPotError(f"COW {self.name}: cow_format {kind} is not known, only 0 (bitmap)")
        if not 512 <= self.sector <= 1 << 20 or self.sector & self.sector - 1 or not align or self.size > _MAX_SIZE:
            raise DamagedImage(self.name, "the header of the COW file has impossible sizes")
        self.backing = os.path.join(os.path.dirname(os.path.abspath(path)), backing.split(b"\0", 1)[0])
        named = self.backing
        if image is not None and image != named and os.path.basename(image) != os.path.basename(named) \
                and os.path.realpath(image) != os.path.realpath(named):
            raise AppPotError(f"COW {self.name} was made over {os.fsdecode(named)}, not over {os.fsdecode(image)}")
        image = named if image is None else image
        self._check(image, mtime)
        start = -(-_HEADER.size // align) * align
        count = -(-(-(-self.size // self.sector)) // 8)
        self.data = -(-(start + count) // align) * align
        self.bitmap = self.cow.read(count, start)
        self.image = Window(image)

    def _check(self, image, mtime):
        shown = os.fsdecode(image)
        try:
            st = os.stat(image)
        except OSError as error:
            raise AppPotError(f"COW {self.name}: its image {shown}: {error.strerror}; say where it is now with "
                              f"COW:IMAGE") from None
        if st.st_size != self.size:
            raise AppPotError(f"COW {self.name} was made over an image of {self.size} bytes; {shown} has {st.st_size}")
        if int(st.st_mtime) & 0xFFFFFFFF != mtime:
            raise AppPotError(f"COW {self.name}: its image {shown} was changed since the COW was made (its time stamp "
                              f"was {mtime}, it is {int(st.st_mtime)}); if only the time changed: touch -d @{mtime}")

    def read(self, size, at):
        if at < 0 or at + size > self.size:
            raise DamagedImage(self.name, "it ends too early")
        sector, bitmap = self.sector, self.bitmap
        parts = []
        end = at + size
        while at < end:
            number = at // sector
            changed = bitmap[number >> 3] >> (number & 7) & 1
            stop = number + 1
            while stop * sector < end and bitmap[stop >> 3] >> (stop & 7) & 1 == changed:
                stop += 1
            upto = min(end, stop * sector)
            parts.append(self.cow.read(upto - at, self.data + at) if changed else self.image.read(upto - at, at))
            at = upto
        return b"".join(parts)

    def part(self, offset, size):
        return _Part(self, offset, size)

    def identity(self):
        return self.cow.identity() + b" over " + self.image.identity()

    def close(self):
        self.cow.close()
        self.image.close()


class _Part:
    """A partition of the whole."""

    def __init__(self, whole, offset, size):
        self.whole, self.offset, self.size, self.name = whole, offset, size, whole.name

    def read(self, size, at):
        if at < 0 or at + size > self.size:
            raise DamagedImage(self.name, "it ends too early")
        return self.whole.read(size, self.offset + at)

    def identity(self):
        return b"%d %d " % (self.offset, self.size) + self.whole.identity()

    def close(self):
        self.whole.close()
