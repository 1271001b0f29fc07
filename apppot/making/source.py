"""The tree that an image is made of: its layers as one, in a fixed order, with owners and times as the image has them."""

import os
from stat import S_IFDIR, S_IFREG

from apppot.errors import AppPotError
from apppot.image.cow import Cow
from apppot.image.layer import Layer
from apppot.image.opening import open_image
from apppot.image.progress import SILENT
from apppot.vfs import users
from apppot.vfs.caller import KERNEL
from apppot.vfs.namespace import Namespace
from apppot.vfs.node import Attributes
from apppot.vfs.overlay import Overlay
from apppot.vfs.ownership import KEEP, Ownership

HOME = b"/home/user"


def epoch():
    """$SOURCE_DATE_EPOCH, the time that no file may be newer than, or None (reproducible-builds.org)."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or len(text) > 11:
        raise AppPotError(f"SOURCE_DATE_EPOCH={text} is not a number of seconds")
    return int(text)


class Frozen(Overlay):
    """Read-only layers that always look the same: entries in order, no time newer than `newest`, files without a
    record in root's hands, except for those in the home of `user`."""

    def __init__(self, layers, ownership=None, newest=None, user=None, without=()):
        super().__init__(layers, ownership=ownership)
        self.without = without          # names that the top directory does not show
        self.newest = None if newest is None else newest * 10**9
        self.user = user

    def entries(self, caller, directory):
        found = sorted(super().entries(caller, directory))
        if directory is self.top and self.without:
            found = [entry for entry in found if entry[0] not in self.without]
        return found

    def plain_directory(self, directory):
        return False

    def plain_stat(self, caller, node):
        return False

    def stat(self, caller, node):
        st = os.lstat(self.physical(node))
        seen = Attributes(self.ownership.attributes(KERNEL, st))
        path = self._path(node)
        if self.user is not None and st.st_uid == self.ownership.uid and (path + b"/").startswith(HOME + b"/"):
            record = self.ownership.of(st)
            if record is None or record.uid == KEEP:
                seen.st_uid, seen.st_gid = self.user
        if self.newest is not None and seen.st_mtime_ns > self.newest:
            seen.st_mtime_ns = self.newest
        seen.st_atime_ns = seen.st_ctime_ns = seen.st_mtime_ns
        return seen

    @staticmethod
    def _path(node):
        return node.path[len(node.mount.path):] if node.mount.path != b"/" else node.path


class CowLayer(Layer):
    """What a COW holds, as a read-only layer."""

    recorded = True

    def __init__(self, cow):
        super().__init__(cow.upper)
        ownership = Ownership(cow.upper, cow.ownership_log)
        device = os.lstat(self.host).st_dev
        self._records = {ino: (record.uid, record.gid, record.mode, record.rdev)
                         for (dev, ino), record in ownership.records.items() if dev == device}
        self.devices = frozenset(self.host + b"/" + name.rpartition(b"/")[0] if b"/" in name else self.host
                                 for name, key in ownership.names.items()
                                 if key in ownership.records and ownership.records[key].rdev != KEEP)

    def record(self, directory, name, ino):
        return self._records.get(ino)


class Entry:
    """One name. path: relative to the root, which is b""; st: what it shows; same: path of an earlier hard link."""

    __slots__ = ("path", "node", "st", "kind", "same")

    def __init__(self, path, node, st, kind, same):
        self.path, self.node, self.st, self.kind, self.same = path, node, st, kind, same


class Source:
    """An image, perhaps with a COW over it and files added. Close it."""

    def __init__(self, image, cow=None, extra=(), newest=None):
        self.image = image
        self.cow = cow
        self.newest = newest
        self.layers = [*extra, *([CowLayer(cow)] if cow is not None else []), *image.layers]
        self.user = None
        self.ns = self._namespace()
        user = users.user_by_name(self.ns, KERNEL, b"user")
        if user is not None:
            self.user = self.ns.root.fs.user = (user.uid, user.gid)

    @classmethod
    def open(cls, path, cow=None, progress=SILENT, newest=None):
        """The Source of an image (path or name), with the COW directory `cow` over it."""
        held = None if cow is None else Cow.open(cow, create=False)
        try:
            return cls(open_image(path, progress), held, newest=epoch() if newest is None else newest)
        except BaseException:
            if held is not None:
                held.close()
            raise

    def _namespace(self):
        return Namespace(self.overlay())

    def overlay(self, ownership=None):
        """A file system with the tree, to be mounted in another namespace."""
        return Frozen(self.layers, ownership or Ownership(), self.newest, self.user,
                      (b"lost+found",) if self.image.format.startswith("ext") else ())   # mke2fs makes another

    def add(self, layer):
        """Put one more layer on top."""
        self.layers.insert(0, layer)
        self.ns.close()
        self.ns = self._namespace()

    def exists(self, path):
        try:
            return bool(self.ns.resolve(KERNEL, path).kind)
        except OSError:
            return False

    def read(self, path):
        """Content of a regular file, symlinks followed; b"" when it is missing."""
        return users.read_file(self.ns, KERNEL, path)

    def entries(self):
        """Every Entry, directories before what is in them, in the order of names."""
        ns = self.ns
        seen = {}
        todo = [(b"", ns.at(b"/"))]
        while todo:
            path, node = todo.pop()
            st = ns.stat(KERNEL, node)
            kind = node.kind
            same = None
            if kind != S_IFDIR and st.st_nlink > 1:
                same = seen.setdefault((st.st_dev, st.st_ino), path)
                same = None if same == path else same
            yield Entry(path, node, st, kind, same)
            if kind == S_IFDIR:
                prefix = path + b"/" if path else b""
                names = [name for name, *_ in ns.readdir(KERNEL, node) if name not in (b".", b"..")]
                for name in sorted(names, reverse=True):
                    todo.append((prefix + name, ns.resolve(KERNEL, b"/" + prefix + name, None, False)))

    def xattrs(self, entry):
        """{name (str): value} of an entry."""
        try:
            return {os.fsdecode(name): self.ns.getxattr(KERNEL, entry.node, os.fsdecode(name))
                    for name in sorted(self.ns.listxattr(KERNEL, entry.node))}
        except OSError:
            return {}

    def content(self, entry):
        """A binary file with the content of a regular file's entry."""
        host = self.ns.open(KERNEL, entry.node, os.O_RDONLY)
        return open(os.open(host, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)

    def target(self, entry):
        return self.ns.readlink(KERNEL, entry.node)

    def measure(self):
        """(number of names, bytes of contents in blocks of 4 KiB)."""
        count = blocks = 0
        for entry in self.entries():
            count += 1
            if entry.same is None:
                blocks += 1 if entry.kind != S_IFREG else (entry.st.st_size + 4095) // 4096
        return count, blocks * 4096

    def close(self):
        self.ns.close()
        self.image.close()
        if self.cow is not None:
            self.cow.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
