"""The union of read-only lower layers and a writable one as a file system: how names in it are made, removed and renamed."""

from errno import EACCES, EINVAL, ENAMETOOLONG, ENOTEMPTY, EPERM
import os
from os import lstat
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_ISGID

from apppot.vfs import abi
from apppot.vfs.layers import OPAQUE, OPAQUE_NAME, WHITEOUT
from apppot.vfs.node import fail
from apppot.vfs.ownership import KEEP, Record
from apppot.vfs.upperlayer import UpperLayer


class Overlay(UpperLayer):
    """lowers: host directories or image Layers, topmost first. upper, work: host directories on one file system;
    None: read-only."""

    fstype = b"overlay"
    source = b"apppot"
    cached = True
    owner_bits = True
    keeps_attributes = True

    def create(self, caller, node):
        directory = node.parent
        if node.name[:4] == WHITEOUT:
            fail(EPERM)
        if len(node.name) > 255:
            fail(ENAMETOOLONG)
        self.may_change(caller, directory)
        directory.give_out(node.name)
        directory.changed()
        return self.raise_directory(directory) + b"/" + node.name

    def unnamed(self, caller, node):
        directory = self.directory(caller, node)
        self.may_change(caller, directory)
        return self.raise_directory(directory)

    def mkdir(self, caller, node, mode):
        path = self.create(caller, node)
        directory = node.parent
        mode &= 0o1777
        bits = mode & ~caller.umask
        record = Record()
        if self.ownership.records:
            above = self.ownership.of(lstat(directory.upper))
            if above is not None and above.mode != KEEP and above.mode & S_ISGID:
                record.gid = above.gid
                record.mode = bits | S_ISGID
        before = os.umask(caller.umask & ~0o700 if caller.virtual else caller.umask)
        try:
            if caller.virtual:
                mode |= 0o700
                if bits | 0o700 != bits:
                    record.mode = bits | (S_ISGID if record.mode != KEEP else 0)
            os.mkdir(path, mode)
        finally:
            os.umask(before)
        if record:
            try:
                self.ownership.set(lstat(path), record, self.log_name(node))
            except OSError:
                os.rmdir(path)
                raise
        self._settle(directory, node.name, True)

    def mknod(self, caller, node, mode, dev):
        self._make_node(caller, node, self.create(caller, node), mode, dev)
        self._settle(node.parent, node.name, False)

    def symlink(self, caller, node, target):
        path = self.create(caller, node)
        with self.namespace.cache.links_moving():
            os.symlink(target, path)
            node.parent.changed()
        self._settle(node.parent, node.name, False)

    def link(self, caller, old, new):
        path = self.create(caller, new)
        source = self.copy_up(caller, old)
        with self.namespace.cache.links_moving():         # perhaps it is a symlink
            os.link(source, path, follow_symlinks=False)
            new.parent.changed()
        self._settle(new.parent, new.name, False)
        if self.ownership.records:
            self.ownership.linked(self.log_name(old), self.log_name(new))

    def bring(self, caller, node, source):
        """Make the missing `node` a copy of a host's file that is in no layer."""
        self.create(caller, node)
        self.namespace.cache.names_changed()
        st = lstat(source)
        self._place(source, st, node.parent.upper, node, st.st_mode & 0o1777 | 0o600)
        self._settle(node.parent, node.name, False)

    def unlink(self, caller, node):
        directory = node.parent
        self.may_change(caller, directory, node)
        self.raise_directory(directory)
        self._hide(directory, node.name)
        if node.upper:
            path = directory.upper + b"/" + node.name
            if self.ownership.records:
                self._forget(path, node)
            os.unlink(path)
        self._gone(directory, node)

    def _forget(self, path, node):
        """A name of a file with perhaps a record is about to be removed, if no guest has just done that by itself."""
        try:
            st = lstat(path)
        except FileNotFoundError:
            return
        if st.st_nlink > 1 and S_IFMT(st.st_mode) != S_IFDIR:
            self.ownership.removed(self.log_name(node))
        elif self.ownership.of(st) is not None:
            self.ownership.forget(st, self.log_name(node))

    def rmdir(self, caller, node):
        above = node.parent
        directory = self.directory(caller, node)
        self.may_change(caller, above, node)
        self._check_empty(caller, directory)
        self.raise_directory(above)
        lowers = directory.lowers
        alone = directory if not (lowers or directory.whiteouts or node.name in above.whiteouts) else None
        gone = lstat(directory.upper) if alone else None
        try:
            self._empty(directory)
            if directory.upper is not None:
                if self.ownership.records:
                    self._forget(directory.upper, node)
                os.rmdir(directory.upper)
        except BaseException:
            self._gone(above, node)
            raise
        self._gone(above, node, alone)
        if alone:
            self.namespace.cache.inode_removed((gone.st_dev, gone.st_ino))
        self.namespace.host_names.directory_moved(node.path, None, lowers)

    def _check_empty(self, caller, directory):
        """Fail if a directory is not empty. One that its owner can't read has no lower parts: the host will tell."""
        try:
            if self.entries(caller, directory):
                fail(ENOTEMPTY)
        except PermissionError:
            if directory.lowers or directory.whiteouts:
                raise

    def _empty(self, directory):
        """Cut an empty directory off from its lower parts and clear its markers."""
        above, name = directory.parent, directory.name
        self._hide(above, name)
        if directory.upper is not None:
            for marker in directory.whiteouts:
                os.unlink(directory.upper + b"/" + WHITEOUT + marker)

    def rename(self, caller, old, new, flags):
        here, there = old.parent, new.parent
        if new.name[:4] == WHITEOUT:
            fail(EPERM)
        self.may_change(caller, here, old)
        self.may_change(caller, there, new if new.kind else None)
        for node in (old, new) if flags & abi.RENAME_EXCHANGE else (old,):
            if node.kind == S_IFDIR and here is not there:
                self._may_move(caller, node)
        exchange = flags & abi.RENAME_EXCHANGE
        if new.kind == S_IFDIR and not exchange:
            self._check_empty(caller, self.directory(caller, new))
        lowers = [self.directory(caller, node).lowers if node.kind == S_IFDIR else () for node in (old, new)]
        source, useless = self._detach(caller, old)
        self.raise_directory(there)
        target = there.upper + b"/" + new.name
        if exchange:
            target, more = self._detach(caller, new)
            useless += more
        elif new.kind == S_IFDIR:
            self._empty(self.directory(caller, new))
        elif old.kind == S_IFDIR:
            self._hide(there, new.name)
        elif new.kind:
            self._lose(there, new.name)
        for marker in useless:
            os.unlink(marker)
        replaced = not exchange and new.kind and new.upper
        if replaced and self.ownership.records:
            self._forget(target, new)
        try:
            with self.namespace.cache.links_moving():     # perhaps a symlink comes with it
                if exchange:
                    abi.renameat2(abi.AT_FDCWD, source, abi.AT_FDCWD, target, flags)
                elif new.kind:
                    os.rename(source, target)
                else:
                    self._rename_to_new(source, target, flags)
                here.changed()
                there.changed()
        finally:
            self._gone(here, old)
            self._gone(there, new)
        self._tell_host_names(old, new, lowers, exchange)
        self._settle(there, new.name, old.kind == S_IFDIR)
        if exchange:
            self._settle(here, old.name, new.kind == S_IFDIR)
            self.ownership.exchanged(self.log_name(old), self.log_name(new))
        else:
            self.ownership.renamed(self.log_name(old), self.log_name(new), old.kind == S_IFDIR)
        if S_IFLNK in (old.kind, new.kind) or S_IFDIR in (old.kind, new.kind):
            self.namespace.flush()

    @staticmethod
    def _rename_to_new(source, target, flags):
        """Rename to a name that was missing. FileExistsError: a guest has just made it by itself; that tells not every
        file system (EINVAL: NFS), and then the guest's new file is replaced, as if it had come first."""
        try:
            abi.renameat2(abi.AT_FDCWD, source, abi.AT_FDCWD, target, abi.RENAME_NOREPLACE)
        except OSError as error:
            if error.errno != EINVAL or flags & abi.RENAME_NOREPLACE:
                raise
            os.rename(source, target)

    def _tell_host_names(self, old, new, lowers, exchange):
        names = self.namespace.host_names
        if exchange:
            names.directories_exchanged(old.path, new.path, *lowers)
            return
        if new.kind == S_IFDIR:
            names.directory_moved(new.path, None, lowers[1])
        if old.kind == S_IFDIR:
            names.directory_moved(old.path, new.path, lowers[0])

    def _may_move(self, caller, node):
        """A directory that gets another parent is written to."""
        host = self.physical(node)
        if not self.permits(caller, host, lstat(host), os.W_OK):
            fail(EACCES)

    def _detach(self, caller, node):
        """Copy a node up whole and cut it off from lower layers: (path, markers that are useless now)."""
        self.raise_directory(node.parent)
        useless = []
        if node.kind == S_IFDIR:
            directory = self.directory(caller, node)
            useless = self.copy_up_tree(caller, directory)
            if OPAQUE_NAME in directory.whiteouts:
                useless.append(directory.upper + b"/" + OPAQUE)
            path = directory.upper
        else:
            path = self.copy_up(caller, node)
        self._hide(node.parent, node.name)
        return path, useless
