"""The guest's tree of names: every call that takes one, with what the kernel checks whatever the file system is."""

from errno import (EBUSY, EEXIST, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EROFS,
                   EXDEV)
import os
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from apppot.vfs import abi
from apppot.vfs.caller import KERNEL
from apppot.vfs.layers import merged_attributes
from apppot.vfs.listing import DT_DIR, Listing
from apppot.vfs.mounttable import MountTable
from apppot.vfs.node import DOT, DOTDOT, SLASH, VIA_LINK, fail
from apppot.vfs.resolver import PATH_MAX


class Namespace(MountTable):
    """All that a machine's tasks can name. Operations take who asks (a Caller) and nodes; they raise OSError."""

    # Opening

    def open(self, caller, node, flags, mode=0):
        """The host path that the guest opens with the same flags, those of resolve_open(). Raises what the kernel would."""
        kind = node.kind
        fs = node.mount.fs
        if flags & abi.O_PATH:
            flags &= abi.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            if not kind:
                fail(ENOENT)
            if flags & os.O_DIRECTORY and kind != S_IFDIR:
                fail(ENOTDIR)
            return fs.open(caller, node, flags, mode)
        unnamed = flags & abi.O_TMPFILE == abi.O_TMPFILE
        writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC)
        if not kind:
            if not flags & os.O_CREAT or unnamed:
                fail(ENOENT)
            if node.slash:
                fail(EISDIR)
            if fs.readonly:
                fail(EROFS)
            return fs.open(caller, node, flags, mode)
        if unnamed:
            if kind != S_IFDIR:
                fail(ENOTDIR)
            if fs.readonly:
                fail(EROFS)
            return fs.open(caller, node, flags, mode)
        if flags & os.O_CREAT:
            if node.slash & (SLASH | VIA_LINK):
                fail(EISDIR)
            if flags & os.O_EXCL:
                fail(EEXIST)
            if kind == S_IFDIR:
                fail(EISDIR)
        if flags & os.O_DIRECTORY and kind != S_IFDIR:
            fail(ENOTDIR)
        if kind == S_IFLNK:
            fail(ELOOP)
        if writing:
            if kind == S_IFDIR:
                fail(EISDIR)
            if kind == S_IFREG and fs.readonly:
                node = self._to_change(caller, node)
                fs = node.mount.fs
        return fs.open(caller, node, flags, mode)

    @staticmethod
    def content(node):
        """The host path of an existing file whose contents the supervisor itself, or the stub, is about to read."""
        return node.mount.fs.content(node) if node.mount is not None else node.host

    def create_path(self, caller, node):
        """Where a guest may natively create the missing `node` (bind, linkat of an unnamed file): its host path."""
        self._creatable(node)
        return node.mount.fs.create(caller, node)

    def long_work(self, node, flags):
        """What opening an existing regular file with `flags` begins with that takes long: a function to call in a process
        beside this one, which returns an exit status; open() is to be called after its end. None: nothing does.

        Calls that change the file and don't open it begin as opening it for writing does, execve as for reading.
        """
        return node.mount.fs.long_work(node, flags)

    def watched(self, caller, node):
        """The host path whose inotify(7) events are those of the node."""
        return node.mount.fs.watched(caller, node)

    # Looking

    def stat(self, caller, node):
        if not node.kind:
            fail(ENOENT)
        return node.mount.fs.stat(caller, node)

    def plain_stat(self, caller, node):
        """Whether the host's own stat of node.host shows exactly what `stat` does. False may mean: don't know."""
        return bool(node.kind) and node.mount.fs.plain_stat(caller, node)

    def attributes(self, caller, st):
        """What fstat must show of the file with the host's os.stat_result `st`."""
        if S_IFMT(st.st_mode) == S_IFDIR and self.ownership.merged:
            directory = self.ownership.merged.get((st.st_dev, st.st_ino))
            if directory is not None:
                try:
                    upper = os.lstat(directory.upper)
                    return merged_attributes(self.ownership.attributes(caller, upper), directory)
                except OSError:      # removed or renamed
                    del self.ownership.merged[st.st_dev, st.st_ino]
        return self.ownership.attributes(caller, st)

    def access(self, caller, node, amode):
        if not node.kind:
            fail(ENOENT)
        if amode & ~7:
            fail(EINVAL)
        if amode & os.W_OK and node.mount.fs.readonly and node.kind in (S_IFREG, S_IFDIR, S_IFLNK):
            self._check_copied(caller, node)
        node.mount.fs.access(caller, node, amode)

    def readlink(self, caller, node):
        if not node.kind:
            fail(ENOENT)
        if node.kind != S_IFLNK:
            fail(EINVAL)
        return node.mount.fs.readlink(caller, node)

    def directory(self, caller, node):
        """The `Directory` of a node."""
        if node.kind != S_IFDIR:
            fail(ENOTDIR if node.kind else ENOENT)
        return node.dir or node.mount.fs.directory(caller, node)

    def plain_directory(self, node):
        """Whether the host's own getdents of node.host shows exactly the guest's listing."""
        directory = self.directory(KERNEL, node)
        return not directory.mounts and directory.fs.plain_directory(directory)

    def readdir(self, caller, node, cookie=0):
        """Entries behind `cookie`: an iterator of (name, ino, d_type, cookie)."""
        directory = self.directory(caller, node)
        listing = directory.listing
        if listing is None:
            listing = directory.listing = Listing()
        if cookie == 0 or listing.snapshot is None:
            listing.refresh(self._entries(caller, directory))
        if cookie < 1:
            yield b".", self._ino(caller, directory), DT_DIR, 1
        if cookie < 2:
            top = directory.path == caller.root
            yield b"..", self._ino(caller, directory if top else directory.parent), DT_DIR, 2
        yield from listing.after(cookie)

    def _entries(self, caller, directory):
        entries = directory.fs.entries(caller, directory)
        mounts = directory.mounts
        if not mounts:
            return entries
        entries = [entry for entry in entries if entry[0] not in mounts]
        for name, mount in mounts.items():
            entries.append((name, mount.fs.stat(caller, mount.node).st_ino, mount.node.kind >> 12))
        return entries

    @staticmethod
    def _ino(caller, directory):
        return directory.fs.stat(caller, directory.node).st_ino

    # Changing names

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

    def _check_copied(self, caller, node):
        """EROFS, unless a change of the node on a read-only mount may be made to a copy, and the caller may put one there."""
        below = self._holder(node).fs
        if not node.mount.copied or below.readonly or not below.cached:
            fail(EROFS)
        below.may_change(caller, node.parent, node)

    def _to_change(self, caller, node):
        """The node that a change of an existing node is made to: itself, or the copy that takes its place."""
        if not node.mount.fs.readonly:
            return node
        self._check_copied(caller, node)
        path, shown = node.path, node.host
        self.umount(path)
        node = self.at(path)
        if node.kind:
            node.mount.fs.unlink(caller, node)
            node = self.at(path)
        node.mount.fs.bring(caller, node, shown)
        return self.at(path)

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
        if new.kind or new.slash & VIA_LINK:
            fail(EEXIST)
        if new.slash:
            fail(ENOENT)
        if new.mount.fs.readonly:
            fail(EROFS)
        if old.mount is not new.mount:
            fail(EXDEV)
        if old.kind == S_IFDIR:
            new.mount.fs.may_change(caller, new.parent)
            fail(EPERM)
        new.mount.fs.link(caller, old, new)
        new.parent.changed()

    # Changing attributes

    def in_place(self, caller, host, status, times=False):
        """Whether chmod, chown and utime of an open regular file are what the host's kernel makes of them.

        `host`, `status`: its name on the host and os.stat_result; `times`: only utime is meant.
        """
        fs = self.host_names.changeable(host)
        if fs is None or fs.readonly:
            return False
        return times and not caller.uid if caller.virtual else fs.ownership.of(status) is None

    def changes_itself(self, host, status, times):
        """The same for a plain caller's open file, of whatever kind: status() gives its os.stat_result."""
        fs = self.host_names.changeable(host) if host[:1] == b"/" else None
        if fs is None or fs.readonly:
            return False
        if times and not fs.ownership.records:     # of a directory too: guests have open what is changed in it
            return True
        found = status()
        return S_IFMT(found.st_mode) == S_IFREG and fs.ownership.of(found) is None

    def _changeable(self, caller, node):
        if not node.kind:
            fail(ENOENT)
        return self._to_change(caller, node)

    def chmod(self, caller, node, mode):
        node = self._changeable(caller, node)
        node.mount.fs.chmod(caller, node, mode)

    def chown(self, caller, node, uid, gid):
        node = self._changeable(caller, node)
        node.mount.fs.chown(caller, node, uid, gid)

    def utime(self, caller, node, atime_ns, mtime_ns):
        """None keeps a time, abi.UTIME_NOW sets the present."""
        node = self._changeable(caller, node)
        node.mount.fs.utime(caller, node, atime_ns, mtime_ns)

    def truncate(self, caller, node, size):
        if node.kind == S_IFDIR:
            fail(EISDIR)
        node = self._changeable(caller, node)
        node.mount.fs.truncate(caller, node, size)

    def getxattr(self, caller, node, name):
        if not node.kind:
            fail(ENOENT)
        return node.mount.fs.getxattr(caller, node, name)

    def listxattr(self, caller, node):
        if not node.kind:
            fail(ENOENT)
        return node.mount.fs.listxattr(caller, node)

    def setxattr(self, caller, node, name, value, flags=0):
        node = self._changeable(caller, node)
        node.mount.fs.setxattr(caller, node, name, value, flags)

    def removexattr(self, caller, node, name):
        node = self._changeable(caller, node)
        node.mount.fs.removexattr(caller, node, name)


def inside(path, top):
    """Whether a canonical path is strictly below another."""
    return path.startswith(top + b"/") or top == b"/" != path
