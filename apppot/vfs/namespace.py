"""The guest's tree of names: every call that takes one, with what the kernel checks whatever the file system is."""

from errno import EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, EROFS
import os
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from apppot.vfs import abi
from apppot.vfs.caller import KERNEL
from apppot.vfs.layers import merged_attributes
from apppot.vfs.listing import DT_DIR, Listing
from apppot.vfs.naming import Naming
from apppot.vfs.node import SLASH, VIA_LINK, fail


class Namespace(Naming):
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

    # Changing what is there

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

    def sets_list_itself(self, host, value):
        """The same of a file for which that holds, when its access control list is to become `value`."""
        return self.host_names.changeable(host).sets_list_itself(host, value)

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
