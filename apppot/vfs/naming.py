"""Making, moving and removing names: what the kernel checks whatever the file system is."""

from errno import EBUSY, EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EROFS, EXDEV
import os
from stat import S_IFDIR

from apppot.vfs import abi
from apppot.vfs.mounttable import MountTable
from apppot.vfs.node import DOT, DOTDOT, SLASH, VIA_LINK, fail
from apppot.vfs.resolver import PATH_MAX


class Naming(MountTable):
    """The operations that change which names there are; see Namespace."""

    def _mount_point(self, node):
        """The node below a soft mount, which goes away; a hard mount is busy."""
        if node.path != node.mount.path or not node.kind:
            return node
        if not node.mount.soft:
            fail(EBUSY)
        path, slash = node.path, node.slash
        self.umount(path)
        node = self.at(path)
        return node.ending(slash) if slash else node

    @staticmethod
    def _creatable(node):
        if node.kind or node.slash & VIA_LINK:
            fail(EEXIST)
        if node.slash:
            fail(ENOENT)
        if node.mount.fs.readonly:
            fail(EROFS)

    def mkdir(self, caller, node, mode):
        if node.kind or node.slash & VIA_LINK:
            fail(EEXIST)
        if node.mount.fs.readonly:
            fail(EROFS)
        node.mount.fs.mkdir(caller, node, mode)
        node.parent.changed()

    def mknod(self, caller, node, mode, dev=0):
        self._creatable(node)
        node.mount.fs.mknod(caller, node, mode, dev)
        node.parent.changed()

    def symlink(self, caller, node, target):
        if not target:
            fail(ENOENT)
        if len(target) >= PATH_MAX:
            fail(ENAMETOOLONG)
        self._creatable(node)
        node.mount.fs.symlink(caller, node, target)
        node.parent.changed()

    def unlink(self, caller, node):
        if node.slash & (DOT | DOTDOT) or node.path == caller.root:
            fail(EISDIR)
        if node.mount.fs.readonly and not node.mount.soft:
            fail(EROFS)
        if node.slash:
            fail(ENOENT if not node.kind else EISDIR if node.kind == S_IFDIR and node.slash == SLASH else ENOTDIR)
        if not node.kind:
            fail(ENOENT)
        if node.kind == S_IFDIR:
            if node.path != node.mount.path:
                node.mount.fs.may_change(caller, node.parent, node)
            fail(EISDIR)
        node = self._mount_point(node)
        if node.kind:
            if node.mount.fs.readonly:
                fail(EROFS)
            node.mount.fs.unlink(caller, node)

    def rmdir(self, caller, node):
        if node.slash & DOT:
            fail(EINVAL)
        if node.slash & DOTDOT:
            fail(ENOTEMPTY)
        if node.path == b"/" or node.path == caller.root:
            fail(EBUSY)
        if node.slash & VIA_LINK:
            fail(ENOTDIR)
        if node.mount.fs.readonly and not node.mount.soft:
            fail(EROFS)
        if node.kind != S_IFDIR:
            fail(ENOTDIR if node.kind else ENOENT)
        node = self._mount_point(node)
        if self._mounts_below(node.path):
            fail(ENOTEMPTY)
        if node.mount.fs.readonly:
            fail(EROFS)
        node.mount.fs.rmdir(caller, node)
        self._directory_moved(node.path, None)

    def rename(self, caller, old, new, flags=0):
        exchange = flags & abi.RENAME_EXCHANGE
        if flags & ~(abi.RENAME_NOREPLACE | abi.RENAME_EXCHANGE) or flags == 3:
            fail(EINVAL)
        if self._holder(old) is not self._holder(new):
            fail(EXDEV)
        if old.slash & (DOT | DOTDOT) or old.path == caller.root:
            fail(EBUSY)
        if new.slash & (DOT | DOTDOT) or new.path == caller.root:
            fail(EEXIST if flags & abi.RENAME_NOREPLACE else EBUSY)
        if self._soft(old):
            old = self._mount_point(old)
        if self._soft(new):
            new = self._mount_point(new)
        if self._holder(old).fs.readonly:
            fail(EROFS)
        if old.slash & VIA_LINK:
            fail(ENOTDIR)
        if not old.kind:
            fail(ENOENT)
        self._check_ends(old, new, flags)
        if old.path == new.path:
            return
        if new.slash & VIA_LINK:
            fail(ENOTDIR)
        if new.kind and self._same_file(old, new):
            return
        self._check_kinds(old, new, exchange)
        old.mount.fs.rename(caller, old, new, flags)
        if new.kind == S_IFDIR and not exchange:
            self._directory_moved(new.path, None)
        old.parent.changed()
        new.parent.changed()
        if old.kind == S_IFDIR:
            self._directory_moved(old.path, new.path)
        if exchange and new.kind == S_IFDIR:
            self._directory_moved(new.path, old.path)

    @staticmethod
    def _check_ends(old, new, flags):
        """Fail for an existing `old` where the two names alone forbid its renaming, with what the kernel looks at first."""
        exchange = flags & abi.RENAME_EXCHANGE
        if new.kind and flags & abi.RENAME_NOREPLACE:
            fail(EEXIST)
        if exchange:
            if new.slash & VIA_LINK:
                fail(ENOTDIR)
            if not new.kind:
                fail(ENOENT)
            if new.kind != S_IFDIR and new.slash:
                fail(ENOTDIR)
        if old.kind != S_IFDIR and (old.slash or new.slash and not exchange):
            fail(ENOTDIR)
        if inside(new.path, old.path):
            fail(EINVAL)
        if inside(old.path, new.path):
            fail(EINVAL if exchange else ENOTEMPTY)

    def _check_kinds(self, old, new, exchange):
        """Fail where one can't take the place of the other, or something is mounted there."""
        if not exchange and new.kind:
            if old.kind == S_IFDIR and new.kind != S_IFDIR:
                fail(ENOTDIR)
            if old.kind != S_IFDIR and new.kind == S_IFDIR:
                fail(EISDIR)
        for node in (old, new):
            if node.kind and node.path == node.mount.path:
                fail(EBUSY)
            if node.kind == S_IFDIR and self._mounts_below(node.path):
                fail(EBUSY)

    def _directory_moved(self, old, new):
        self.cache.names_changed()
        for tell in self.moved:
            tell(old, new)

    @staticmethod
    def _soft(node):
        return node.kind and node.mount.soft and node.path == node.mount.path

    @staticmethod
    def _holder(node):
        """The mount of the directory a node is found in."""
        return node.parent.mount if node.parent is not None else node.mount

    @staticmethod
    def _same_file(old, new):
        if old.kind == S_IFDIR or new.kind == S_IFDIR or old.upper != new.upper:
            return False
        try:
            return os.path.samestat(os.lstat(old.host), os.lstat(new.host))
        except OSError:
            return False

    def link(self, caller, old, new):
        if not old.kind:
            fail(ENOENT)
        self._creatable(new)
        if old.mount is not new.mount:
            fail(EXDEV)
        if old.kind == S_IFDIR:
            new.mount.fs.may_change(caller, new.parent)
            fail(EPERM)
        new.mount.fs.link(caller, old, new)
        new.parent.changed()


def inside(path, top):
    """Whether a canonical path is strictly below another."""
    return path.startswith(top + b"/") or top == b"/" != path
