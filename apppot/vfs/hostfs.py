"""A host directory, or one host file, seen in the guest.

Others change it behind our back, so nothing about it is kept: neither that a file exists nor where a symlink leads.
Each path is opened below the mount's own descriptor without following symlinks, and every change is made relative to
a directory opened that way, so that a symlink swapped in from outside can't lead out of the mount.
"""

from errno import ENAMETOOLONG, ENOENT
import os
from stat import S_IFDIR, S_IFMT

from apppot.vfs import abi
from apppot.vfs.listing import scan
from apppot.vfs.node import Directory, Node, fail
from apppot.vfs.ondisk import OnDisk
from apppot.vfs.ownership import Record

_open_node = abi.beneath(abi.O_PATH)
_open_directory = abi.beneath(abi.O_PATH | os.O_DIRECTORY)

MAX_DIRECTORIES = 10000


class HostFS(OnDisk):
    """host: directory or file. Symlinks in this path itself are followed once, here."""

    fstype = b"hostfs"

    def __init__(self, host, readonly=False, ownership=None):
        self.host = os.path.realpath(host)
        self.source = self.host
        self.readonly = readonly
        self.ownership = ownership
        kind = S_IFMT(os.stat(self.host).st_mode)
        self.kind = kind
        self.fd = os.open(self.host, abi.O_PATH | os.O_CLOEXEC) if kind == S_IFDIR else -1
        self.changeable = self.host.rstrip(b"/") if kind == S_IFDIR and not readonly else None
        self.directories = {}   # path below the root -> Directory: its mounts and cookies must stay

    def roots(self):
        return ((self.host.rstrip(b"/"), b""),)

    def attach(self, mount):
        if self.ownership is None:
            self.ownership = self.namespace.ownership
        node = Node.at(mount.path, self.host, self.kind, mount, mount.parent, mount.path.rpartition(b"/")[2])
        if self.kind == S_IFDIR:
            self.directories[b""] = Directory.of(self, node)
        return node

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # Look-up

    def lookup(self, caller, directory, name):
        rel = directory.rel + b"/" + name if directory.rel else name
        if len(name) > 255:
            fail(ENAMETOOLONG)
        host = self.host + b"/" + rel if self.host != b"/" else b"/" + rel
        if host in self.concealed:
            return Node(directory, name, host, 0)
        fd, code = _open_node(self.fd, rel)
        if fd >= 0:
            try:
                st = os.fstat(fd)
            finally:
                os.close(fd)
            return Node(directory, name, host, self._kind(st), True, st)
        if code == ENOENT:
            os.close(self.open_directory(directory))
            return Node(directory, name, host, 0, True)
        return fail(code)

    def _kind(self, st):
        if self.ownership.records:
            record = self.ownership.of(st)
            if record is not None and record.rdev >= 0:
                return S_IFMT(record.mode)
        return S_IFMT(st.st_mode)

    def open_directory(self, directory):
        """A descriptor of it, to be closed. A directory that was moved away or replaced gives ENOENT, ENOTDIR, ELOOP."""
        fd, code = _open_directory(self.fd, directory.rel or b".")
        if fd < 0:
            fail(code)
        return fd

    def directory(self, caller, node):
        if node.dir is not None:
            return node.dir
        parent = node.parent
        rel = parent.rel + b"/" + node.name if parent.rel else node.name
        directory = self.directories.get(rel)
        if directory is None:
            if len(self.directories) > MAX_DIRECTORIES:
                self.directories = {key: old for key, old in self.directories.items()
                                    if old.mounts or old.listing or not key}
            directory = self.directories[rel] = Directory.of(self, node)
            directory.rel = rel
        node.dir = directory
        return directory

    # Changes

    def pin(self, caller, node, data=True):
        if node.parent is None or node.mount.node is node or node.path == node.mount.path:
            if self.kind == S_IFDIR:
                return b"/proc/self/fd/%d/." % self.fd, -1
            return self.host, -1
        fd = self.open_directory(node.parent)
        return b"/proc/self/fd/%d/%s" % (fd, node.name), fd

    def create(self, caller, node):
        self.may_change(caller, node.parent)
        node.parent.changed()
        return node.host

    def _changed(self, node):
        node.parent.changed()
        if node.kind == S_IFDIR:
            rel = node.dir.rel if node.dir else (node.parent.rel + b"/" + node.name).lstrip(b"/")
            below = rel + b"/"
            for key in [key for key in self.directories if key == rel or key.startswith(below)]:
                del self.directories[key]

    def mkdir(self, caller, node, mode):
        self.create(caller, node)
        fd = self.open_directory(node.parent)
        before = os.umask(caller.umask)
        try:
            os.mkdir(node.name, mode & 0o1777, dir_fd=fd)
        finally:
            os.umask(before)
            os.close(fd)

    def mknod(self, caller, node, mode, dev):
        self.create(caller, node)
        path, fd = self.pin(caller, node)
        try:
            self._make_node(caller, node, path, mode, dev)
        finally:
            os.close(fd)

    def symlink(self, caller, node, target):
        self.create(caller, node)
        fd = self.open_directory(node.parent)
        try:
            os.symlink(target, node.name, dir_fd=fd)
        finally:
            os.close(fd)

    def unlink(self, caller, node):
        self._remove(caller, node, os.unlink)

    def rmdir(self, caller, node):
        self._remove(caller, node, os.rmdir)

    def _remove(self, caller, node, call):
        self.may_change(caller, node.parent, node)
        fd = self.open_directory(node.parent)
        try:
            removed = self._to_forget(node, fd)
            call(node.name, dir_fd=fd)
        finally:
            os.close(fd)
        self._lost(node, removed)
        self._changed(node)

    def _to_forget(self, node, directory):
        """The os.stat_result of what is gone with this name in the open directory, if anything is kept of it by inode; else None."""
        if node.kind != S_IFDIR and not self.ownership.records:
            return None
        st = os.lstat(node.name, dir_fd=directory)
        return st if st.st_nlink == 1 or node.kind == S_IFDIR else None

    def _lost(self, node, removed):
        if removed is None:
            return
        if self.ownership.records:
            self.ownership.forget(removed)
        if node.kind == S_IFDIR:
            self.namespace.cache.inode_removed((removed.st_dev, removed.st_ino))

    def rename(self, caller, old, new, flags):
        self.may_change(caller, old.parent, old)
        self.may_change(caller, new.parent, new if new.kind else None)
        here = self.open_directory(old.parent)
        try:
            there = self.open_directory(new.parent)
            try:
                replaced = self._to_forget(new, there) if new.kind and not flags & abi.RENAME_EXCHANGE else None
                abi.renameat2(here, old.name, there, new.name, flags)
                self._lost(new, replaced)
            finally:
                os.close(there)
        finally:
            os.close(here)
        self._changed(old)
        self._changed(new)

    def link(self, caller, old, new):
        self.create(caller, new)
        here = self.open_directory(old.parent)
        try:
            there = self.open_directory(new.parent)
            try:
                os.link(old.name, new.name, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
            finally:
                os.close(there)
        finally:
            os.close(here)

    def chmod(self, caller, node, mode):
        try:
            super().chmod(caller, node, mode)
        except PermissionError:
            if not caller.virtual or caller.uid:
                raise
            st = os.lstat(node.host)
            record = self.ownership.of(st) or Record()
            record.mode = mode & 0o7777 | (S_IFMT(record.mode) if record.rdev >= 0 else 0)
            self.ownership.set(st, record)

    # Listings

    def entries(self, caller, directory):
        hidden = [path.rpartition(b"/")[2] for path in self.concealed if path.rpartition(b"/")[0] == directory.host]
        return [entry for entry in scan(directory.host) if entry[0] not in hidden]

    def native(self, directory):
        if not self.plain_directory(directory):
            return None
        return directory.host, not self.readonly, True

    def plain_directory(self, directory):
        return not any(path.rpartition(b"/")[0] == directory.host for path in self.concealed)

    def plain_stat(self, caller, node):
        if caller.virtual:
            return False
        if not self.ownership.records:
            return True
        return self.ownership.of(node.st or os.lstat(node.host)) is None
