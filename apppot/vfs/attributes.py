"""Extended attributes and access control lists of files that are files of the host: shared by overlay and hostfs."""

from errno import EACCES, ENODATA, EOPNOTSUPP, EPERM
import os
from stat import S_IFDIR, S_IFLNK, S_ISGID, S_ISLNK

from apppot.image import acl, xattrs
from apppot.vfs.node import fail
from apppot.vfs.ownership import permitted


class ExtendedAttributes:
    """A part of OnDisk.

    keeps_attributes    attributes that an ordinary user can't set are kept under private names for all callers
                        (`image.xattrs`); else only where the host refuses them to virtual root
    """

    keeps_attributes = False
    _has_lists = None          # whether the host keeps access control lists of changed files; None: not asked yet

    def permits(self, caller, host, st, mask):
        """Whether owner and mode of a host file, or its list, give the caller the R_OK, W_OK, X_OK bits of `mask`."""
        seen = self.ownership.attributes(caller, st)
        if not caller.uid or seen.st_uid == caller.uid or not seen.st_mode & 0o070 or S_ISLNK(st.st_mode):
            return permitted(caller, seen, mask)
        try:
            if not os.listxattr(host, follow_symlinks=False):
                return permitted(caller, seen, mask)
            return acl.permitted(acl.parse(xattrs.get(host, acl.ACCESS)), caller, seen, mask)
        except OSError:
            return permitted(caller, seen, mask)

    # Looking

    def getxattr(self, caller, node, name):
        name = os.fsdecode(name)
        self._may_xattr(caller, node, name, os.R_OK)
        host = self.physical(node)
        if name not in acl.NAMES:
            return xattrs.get(host, name)
        if node.kind == S_IFLNK:
            fail(EOPNOTSUPP)
        value = xattrs.get(host, name)
        if name == acl.ACCESS:
            value = acl.pack(acl.with_mode(acl.parse(value), self.stat(caller, node).st_mode))
        return value

    def listxattr(self, caller, node):
        return [os.fsencode(name) for name in xattrs.names(self.physical(node))
                if not caller.uid or not name.startswith("trusted.")]

    # Changing

    def setxattr(self, caller, node, name, value, flags):
        name = os.fsdecode(name)
        if name in acl.NAMES and self.keeps_attributes:
            self._set_acl(caller, node, name, acl.parse(value) if value else [])
            return
        self._may_xattr(caller, node, name, os.W_OK)
        self._pinned(caller, node, self._set, name, value, flags)

    def removexattr(self, caller, node, name):
        name = os.fsdecode(name)
        if name in acl.NAMES and self.keeps_attributes:
            self._set_acl(caller, node, name, [])
            return
        self._may_xattr(caller, node, name, os.W_OK)
        self._pinned(caller, node, self._remove_attribute, name)

    def _pinned(self, caller, node, change, *arguments):
        path, fd = self.pin(caller, node)
        try:
            change(path, caller, *arguments)
        finally:
            if fd >= 0:
                os.close(fd)

    def _set(self, path, caller, name, value, flags):
        if not xattrs.is_kept(name):
            os.setxattr(path, name, value, flags, follow_symlinks=False)
            return
        if not self.keeps_attributes:
            try:
                os.setxattr(path, name, value, flags, follow_symlinks=False)
                return
            except PermissionError:
                if not self._keeps_for(caller, name):
                    raise
        os.setxattr(path, xattrs.kept_name(name), value, flags, follow_symlinks=False)

    def _remove_attribute(self, path, caller, name):
        if self.keeps_attributes and xattrs.is_kept(name):
            os.removexattr(path, xattrs.kept_name(name), follow_symlinks=False)
            return
        try:
            os.removexattr(path, name, follow_symlinks=False)
        except OSError:
            if not self._keeps_for(caller, name):
                raise
            os.removexattr(path, xattrs.kept_name(name), follow_symlinks=False)

    @staticmethod
    def _keeps_for(caller, name):
        return caller.virtual and not caller.uid and xattrs.is_kept(name) and name not in acl.NAMES

    def _may_xattr(self, caller, node, name, mask):
        if name.startswith(xattrs.PRIVATE):
            fail(ENODATA if mask == os.R_OK else EPERM)
        if name.startswith("trusted."):
            if caller.uid:
                fail(ENODATA if mask == os.R_OK else EPERM)
        elif not name.startswith("user."):
            if mask == os.W_OK and caller.uid:
                self._owned(caller, node)
                if self.keeps_attributes and xattrs.is_kept(name):
                    fail(EPERM)
        else:
            host = self.physical(node)
            st = os.lstat(host)
            if not self.natural(caller, st) or not self.writable(node):
                if not self.permits(caller, host, st, mask):
                    fail(EACCES)

    # Access control lists. Their bits for owner, mask and others are the file's mode, so a minimal list is none

    def sets_list_itself(self, host, value):
        """Whether nothing is left to do when the host's kernel gives the file `host` the list `value`, in binary form."""
        if not self.keeps_attributes:
            return True
        return bool(value) and acl.is_minimal(acl.parse(value)) and self._host_has_lists() \
            and not os.listxattr(host, follow_symlinks=False)

    def _host_has_lists(self):
        if self._has_lists is None:
            try:
                os.getxattr(self.upper, acl.ACCESS)
                self._has_lists = True
            except OSError as error:
                self._has_lists = error.errno == ENODATA
        return self._has_lists

    def _set_acl(self, caller, node, name, entries):
        if node.kind == S_IFLNK:
            fail(EOPNOTSUPP)
        if name == acl.DEFAULT and node.kind != S_IFDIR:
            if entries:
                fail(EACCES)
            return
        st, seen = self._owned(caller, node)
        self._pinned(caller, node, self._write_acl, node, seen, name, entries)

    def _write_acl(self, path, caller, node, seen, name, entries):
        if name == acl.ACCESS and entries:
            mode = seen.st_mode & 0o7000 | acl.mode_of(entries)
            if caller.uid and seen.st_gid != caller.gid and seen.st_gid not in caller.groups:
                mode &= ~S_ISGID
        if entries and (name == acl.DEFAULT or not acl.is_minimal(entries)):
            os.setxattr(path, xattrs.kept_name(name), acl.pack(entries), follow_symlinks=False)
        else:
            _remove_if_there(path, xattrs.kept_name(name))
        _remove_if_there(path, name)                 # what the host handed down from the directory
        if name == acl.DEFAULT:
            xattrs.hand_down(path)
        elif entries:
            self._set_mode(caller, node, path, mode)


def _remove_if_there(path, name):
    try:
        os.removexattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (ENODATA, EOPNOTSUPP):
            raise
