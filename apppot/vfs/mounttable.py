"""The mounts of a machine."""

from errno import EBUSY, EINVAL
import os
from stat import S_IFLNK, S_IFREG

from apppot.vfs.caller import KERNEL
from apppot.vfs.node import Mount, fail
from apppot.vfs.ownership import Ownership
from apppot.vfs.resolver import Resolver


class MountTable(Resolver):
    """File systems and where they are.

    root       the file system on "/"
    ownership  the records shared by all mounts
    hidden     host paths that no guest may see, in whatever mount they are
    cow        the `Cow` that remembers made mount points, or None
    moved      functions (old, new guest path or None) called when a directory was renamed or removed
    """

    def __init__(self, root, ownership=None, hidden=(), cow=None):
        super().__init__(ownership or getattr(root, "ownership", None) or Ownership())
        self.hidden = frozenset(os.path.realpath(path) for path in hidden)
        self.cow = cow
        self.moved = []
        self._made = 0
        self._mounts = {}
        self._attach(Mount(b"/", root))
        self.root = self._mounts[b"/"].node.dir

    def _attach(self, mount):
        fs = mount.fs
        self._made += 1
        mount.number = self._made
        fs.namespace = self
        fs.concealed = self.hidden | fs.left_out
        mount.node = fs.attach(mount)
        self._mounts[mount.path] = mount
        self._mounts_changed()

    def _mounts_changed(self):
        self.host_names.set_mounts(self._mounts.values())
        self.flush()

    def mount(self, path, fs, soft=False, copied=False):
        """Mount `fs` on the canonical guest path. Its parent must exist, the mount point itself need not."""
        node = self.at(path)
        directory = node.parent
        if node.path == b"/" or directory is None:
            fail(EBUSY)
        if path in self._mounts:
            self.umount(path)
        mount = Mount(path, fs, soft, directory, copied)
        self._attach(mount)
        directory.fixed[node.name] = mount.node
        if directory.mounts is None:
            directory.mounts = {}
        directory.mounts[node.name] = mount
        directory.changed()
        self.flush()
        return mount

    def umount(self, path):
        mount = self._mounts.get(path)
        if mount is None:
            fail(EINVAL)
        if path == b"/" or self._mounts_below(path):
            fail(EBUSY)
        del self._mounts[path]
        name = mount.node.name
        del mount.parent.fixed[name]
        del mount.parent.mounts[name]
        mount.parent.mounts = mount.parent.mounts or None
        mount.parent.changed()
        mount.fs.close()
        self._mounts_changed()

    def mounts(self):
        """All mounts, "/" first, in the order they were made."""
        return list(self._mounts.values())

    def _mounts_below(self, path):
        prefix = path + b"/"
        return any(other.startswith(prefix) for other in self._mounts)

    def make_mountpoint(self, path, directory=True):
        """Make a missing mount point and its parents, as far as they are on a writable overlay: the new paths."""
        made = []
        names = path.strip(b"/").split(b"/")
        at = b""
        for index, name in enumerate(names):
            node = self.at(at + b"/" + name)
            if node.kind == S_IFLNK:
                node = self.resolve(KERNEL, at + b"/" + name)
            at = node.path
            if node.kind or node.mount.readonly or not node.mount.fs.cached:
                continue
            if index < len(names) - 1 or directory:
                self.mkdir(KERNEL, node, 0o755)
            else:
                self.mknod(KERNEL, node, S_IFREG | 0o644, 0)
            made.append(at)
        if made and self.cow is not None:
            self.cow.add_mountpoints(made)
        return made

    def close(self):
        for mount in self._mounts.values():
            mount.fs.close()

    def has_one_name(self, mount):
        """Whether no other mount shows a part of what this one shows: a file of the host has one guest path then."""
        mine = [host + b"/" for host, _ in mount.fs.roots()]
        others = [host + b"/" for other in self._mounts.values() if other is not mount for host, _ in other.fs.roots()]
        return not any(one.startswith(two) or two.startswith(one) for one in mine for two in others)

    def nothing_below(self, directory):
        """Whether no mount and no hidden host path is anywhere below a directory that is `native`: under this name, or
        another where the same host directory is mounted twice."""
        host = directory.fs.native(directory)[0].rstrip(b"/") + b"/"
        holders = (mount.parent.host for mount in self._mounts.values() if mount.parent is not None)
        return not self._mounts_below(directory.prefix.rstrip(b"/")) \
            and not any((holder + b"/").startswith(host) for holder in holders) \
            and not any(path.startswith(host) for path in directory.fs.concealed)
