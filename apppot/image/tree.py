"""What a reader of a single-file image answers: the one interface behind which the formats stand.

A reader never trusts the image: names are checked here, numbers by the reader itself, and whatever goes wrong while an
image is taken apart is a `DamagedImage` that names it.
"""

from contextlib import contextmanager
import os
import struct
import zlib

from apppot.errors import AppPotError

MAX_SYMLINK = 4095


class DamagedImage(AppPotError):
    """The image can't be what its format says: cut short, changed, or never right."""

    def __init__(self, name, what):
        super().__init__(f"image {name} is damaged: {what}; get the file again, or check how it was made")


class Inode:
    """One file of an image.

    number   small and unique: names that share it are hard links
    ref      what `Reader.inode` finds it by again, 64 bits
    mode     type and 07777 bits
    blocks   of 512 bytes, as st_blocks
    detail   for the reader
    """

    __slots__ = ("number", "ref", "mode", "uid", "gid", "mtime_ns", "nlink", "rdev", "size", "blocks", "detail")

    def __repr__(self):
        return "Inode(" + ", ".join(f"{slot}={getattr(self, slot)!r}" for slot in self.__slots__) + ")"


class Reader:
    """An open image. Subclasses give what raises NotImplementedError here.

    name      the image's name, for messages
    format    "squashfs", "ext4"...
    inodes    numbers of inodes are not larger
    root      Inode of the top directory
    detail    what `apppot image inspect` may want to tell: a dict
    """

    name = format = ""
    inodes = 0
    root = None
    detail = {}

    def inode(self, ref):
        """The Inode with this `ref`."""
        raise NotImplementedError

    def list(self, inode):
        """The (name, ref) pairs of a directory, without "." and ".."."""
        raise NotImplementedError

    def target(self, inode):
        """The text of a symlink."""
        raise NotImplementedError

    def xattrs(self, inode):
        """Extended attributes: full names (str) to bytes."""
        raise NotImplementedError

    def chunks(self, inode):
        """The contents of a regular file: (offset, bytes) in ascending order. What is left out is a hole."""
        raise NotImplementedError

    def close(self):
        """Let go of the file."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    # The same, with everything that can go wrong told as DamagedImage

    def entries(self, inode):
        """The [(name, Inode)] of a directory. Names are safe to be made on the host."""
        with self.guard():
            found = {}
            for name, ref in self.list(inode):
                if name in (b".", b"..", b"") or b"/" in name or b"\0" in name or len(name) > 255 or name in found:
                    self.damaged(f"a directory entry is called {os.fsdecode(name)!r}")
                found[name] = self.inode(ref)
            return list(found.items())

    def readlink(self, inode):
        with self.guard():
            target = self.target(inode)
            if not target or b"\0" in target or len(target) > MAX_SYMLINK:
                self.damaged("a symbolic link leads to no possible name")
            return target

    def copy(self, inode, fd):
        """Write the contents into a descriptor whose file is one hole of the right size."""
        chunks = iter(self.chunks(inode))
        while True:
            with self.guard():          # not around the writing: a full disk is no damage
                chunk = next(chunks, None)
            if chunk is None:
                return
            at, data = chunk
            if at + len(data) > inode.size:
                self.damaged("a file has more contents than its size says")
            data = memoryview(data)
            while data:
                done = os.pwrite(fd, data, at)
                data, at = data[done:], at + done

    def damaged(self, what):
        raise DamagedImage(self.name, what)

    @contextmanager
    def guard(self):
        """What taking an image apart may raise, as DamagedImage."""
        try:
            yield
        except AppPotError:
            raise
        except OSError as error:
            raise DamagedImage(self.name, f"it can't be read: {error.strerror or error}") from error
        except (struct.error, zlib.error, ValueError, IndexError, KeyError, TypeError, EOFError, OverflowError,
                MemoryError, RuntimeError) as error:
            raise DamagedImage(self.name, str(error) or type(error).__name__) from error


class Window:
    """Part of a file: where an image lies in it. `read` gives exactly what was asked for."""

    def __init__(self, path, offset=0, size=None):
        self.name = os.fsdecode(path)
        self.offset = offset
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise AppPotError(f"image {self.name}: {error.strerror}") from None
        self.size = os.fstat(self.fd).st_size - offset if size is None else size

    def read(self, size, at):
        if at < 0 or at + size > self.size:
            raise DamagedImage(self.name, "it ends too early")
        parts = []
        while size:
            data = self.peek(at, size)
            if not data:
                raise DamagedImage(self.name, "it ends too early")
            parts.append(data)
            size -= len(data)
            at += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def peek(self, at, size):
        """Up to `size` bytes from `at` on; none behind the end."""
        if at >= self.size:
            return b""
        try:
            return os.pread(self.fd, size, self.offset + at)
        except OSError as error:
            raise DamagedImage(self.name, f"it can't be read: {error.strerror}") from error

    def part(self, offset, size):
        """A Window on a part of this one; both must be closed but once."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.offset += offset
        made.size = size
        return made

    def identity(self):
        """Bytes that differ when the file is another one: size and time."""
        st = os.fstat(self.fd)
        return b"%d %d %d %d" % (self.offset, self.size, st.st_size, st.st_mtime_ns)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
