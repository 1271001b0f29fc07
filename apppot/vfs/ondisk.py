"""File systems whose files are files of the host: attributes and permissions, shared by overlay and hostfs."""

from errno import EACCES, EINVAL, EISDIR, ENXIO, EOPNOTSUPP, EPERM
import os
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, S_ISDIR, S_ISGID, S_ISUID, \
    S_ISVTX

from apppot.vfs import abi
from apppot.vfs.attributes import ExtendedAttributes
from apppot.vfs.filesystem import Filesystem
from apppot.vfs.node import fail
from apppot.vfs.ownership import KEEP, Record

#: Devices that a guest may use: a node with one of these numbers opens the host's.
DEVICES = {os.makedev(1, 3): b"/dev/null", os.makedev(1, 5): b"/dev/zero", os.makedev(1, 7): b"/dev/full",
           os.makedev(1, 8): b"/dev/random", os.makedev(1, 9): b"/dev/urandom", os.makedev(5, 0): b"/dev/tty",
           os.makedev(5, 2): b"/dev/ptmx"}

WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC


class OnDisk(ExtendedAttributes, Filesystem):
    """Calls on one existing file. Subclasses say where it is (`physical`) and make it writable (`pin`)."""

    readonly = False
    ownership = None
    owner_bits = False   # physical files always let their owner read and write (search)

    # For subclasses

    def physical(self, node):
        """The host path with the attributes of an existing node."""
        return node.host

    def _status(self, node):
        """os.stat_result of an existing node, of its look-up if that had it."""
        return node.st if node.st is not None else os.lstat(self.physical(node))

    def pin(self, caller, node, data=True):
        """(path, fd) of an existing node to be changed: `path` for calls that don't follow a symlink at its end,
        `fd` to be closed afterwards, or -1. data: whether the contents are needed."""
        raise NotImplementedError

    def log_name(self, node):
        """Its name in the ownership log, or None when its record ends with the run."""
        return None

    def natural(self, caller, st):
        """Whether the host's kernel knows the caller's rights on the file with `st`."""
        return not caller.virtual and (not self.ownership.records or self.ownership.of(st) is None)

    # Permissions

    def search(self, caller, directory):
        if not caller.uid:
            return
        host = self.physical(directory.node)
        st = os.lstat(host)
        if not self.permits(caller, host, st, os.X_OK):
            if not self.natural(caller, st):
                fail(EACCES)
            abi.faccess(host, os.X_OK)

    def may_change(self, caller, directory, node=None):
        """Raise unless the caller may make names in `directory`, and remove `node` from it."""
        if caller.virtual and not caller.uid:
            return
        host = self.physical(directory.node)
        place = os.lstat(host)
        seen = self.ownership.attributes(caller, place)
        if not self.permits(caller, host, place, os.W_OK | os.X_OK):
            if not self.natural(caller, place) or not self.changes_natively(directory):
                fail(EACCES)
            abi.faccess(host, os.W_OK | os.X_OK)
        if node is not None and seen.st_mode & S_ISVTX and caller.uid and caller.uid != seen.st_uid:
            if self.ownership.attributes(caller, os.lstat(self.physical(node))).st_uid != caller.uid:
                fail(EPERM)

    def changes_natively(self, directory):
        """Whether names are made and removed in the very directory that carries the permissions."""
        return True

    def access(self, caller, node, amode):
        host = self.physical(node)
        st = node.st if node.st is not None else os.lstat(host)
        if self.natural(caller, st):
            if not amode & os.W_OK or self.writable(node):
                abi.faccess(host, amode)
                return
            if amode & ~os.W_OK:
                abi.faccess(host, amode & ~os.W_OK)
        if amode and not self.permits(caller, host, st, amode):
            fail(EACCES)

    def writable(self, node):
        """Whether the node's host file is the one that writing would change."""
        return True

    # Opening an existing file

    def open(self, caller, node, flags, mode):
        if flags & abi.O_PATH:
            return node.host
        if not node.kind:
            return self.create(caller, node)
        if flags & abi.O_TMPFILE == abi.O_TMPFILE:
            return self.unnamed(caller, node)
        writing = flags & WRITING
        if not writing and not node.upper and not caller.uid and node.kind == S_IFREG:
            return node.host
        mask = (0 if writing & os.O_WRONLY else os.R_OK) | (os.W_OK if writing else 0)
        st = node.st
        if st is None and (caller.virtual or self.ownership.records or writing):
            st = os.lstat(self.physical(node))
        if st is not None and not self.natural(caller, st):
            if not self.permits(caller, self.physical(node), st, mask):
                fail(EACCES)
            if node.kind in (S_IFCHR, S_IFBLK) and S_IFMT(st.st_mode) == S_IFREG:
                return self.device(st)
            if self.owner_bits:
                self.unlock(node, st)
        elif node.kind in (S_IFCHR, S_IFBLK) and S_IFMT(st.st_mode if st else node.kind) == S_IFREG:
            return self.device(st)
        if not writing or node.kind != S_IFREG or self.writable(node):
            return node.host
        if not self.permits(caller, self.physical(node), st, mask):
            fail(EACCES)
        path, fd = self.pin(caller, node, not flags & os.O_TRUNC)
        if fd >= 0:
            os.close(fd)
            return node.host
        return path

    def _keep_record(self, node, path, st, record):
        """Set the record of the file at `path`, which had the os.stat_result `st`. Guests remove and rename files by
        themselves; who does that after this look reports it (kernel/fastpath.py)."""
        self.ownership.set(st, record, self.log_name(node))
        try:
            gone = not os.path.samestat(os.lstat(path), st)
        except OSError:
            gone = True
        if gone:
            self.ownership.forget(st, self.log_name(node))

    def unlock(self, node, st):
        """Let the host's user read and write a file of ours; the true mode is recorded."""
        need = 0o700 if node.kind == S_IFDIR else 0o600
        if not node.upper or st.st_mode & need == need or st.st_uid != self.ownership.uid or node.kind == S_IFLNK:
            return
        record = self.ownership.of(st)
        record = Record() if record is None else record.copy()
        if record.mode == KEEP:
            record.mode = st.st_mode & 0o7777
        self._keep_record(node, self.physical(node), st, record)
        abi.chmod(self.physical(node), st.st_mode & 0o7777 | need)

    def device(self, st):
        path = DEVICES.get(self.ownership.of(st).rdev)
        if path is None:
            fail(ENXIO)
        return path

    def unnamed(self, caller, node):
        """The host directory in which a guest may make an O_TMPFILE."""
        return node.host

    # Attributes

    def stat(self, caller, node):
        return self.ownership.attributes(caller, os.lstat(self.physical(node)))

    def _owned(self, caller, node):
        """stat and seen attributes of a file the caller must own."""
        st = self._status(node)
        seen = self.ownership.attributes(caller, st)
        if caller.uid and seen.st_uid != caller.uid:
            fail(EPERM)
        return st, seen

    def chmod(self, caller, node, mode):
        if node.kind == S_IFLNK:
            fail(EOPNOTSUPP)
        mode &= 0o7777
        st, seen = self._owned(caller, node)
        if mode & S_ISGID and caller.uid and seen.st_gid != caller.gid and seen.st_gid not in caller.groups:
            mode &= ~S_ISGID
        path, fd = self.pin(caller, node)
        try:
            self._set_mode(caller, node, path, mode)
        finally:
            if fd >= 0:
                os.close(fd)

    def _set_mode(self, caller, node, path, mode):
        st = os.lstat(path)
        record = self.ownership.of(st)
        if record is None and not caller.virtual and not self.keeps_owner_bits(node):
            abi.chmod(path, mode)
            return
        physical = mode
        if caller.virtual or record is not None:
            physical &= 0o1777
        if self.owner_bits:
            physical |= 0o700 if S_ISDIR(st.st_mode) else 0o600
        record = Record() if record is None else record.copy()
        kind = 0 if record.rdev == KEEP else S_IFMT(record.mode)
        record.mode = mode | kind if mode != physical or kind else KEEP
        self._keep_record(node, path, st, record)
        abi.chmod(path, physical)

    def keeps_owner_bits(self, node):
        """Whether the host's user must keep access to the physical file, whatever mode a plain caller sets."""
        return False

    def chown(self, caller, node, uid, gid):
        if uid == -1 and gid == -1:
            return
        st = self._status(node)
        seen = self.ownership.attributes(caller, st)
        if caller.uid:
            if seen.st_uid != caller.uid or uid not in (-1, caller.uid):
                fail(EPERM)
            if gid not in (-1, seen.st_gid, caller.gid) and gid not in caller.groups:
                fail(EPERM)
        path, fd = self.pin(caller, node)
        try:
            st = os.lstat(path)
            record = self.ownership.of(st)
            if record is None and not caller.virtual:
                os.chown(path, uid, gid, follow_symlinks=False)
                return
            record = Record() if record is None else record.copy()
            mode = seen.st_mode
            if uid != -1:
                record.uid = uid
            if gid != -1:
                record.gid = gid
            self._keep_record(node, path, st, record)
            if not S_ISDIR(mode) and mode & (S_ISUID | S_ISGID):
                self._set_mode(caller, node, path, mode & 0o7777 & ~(S_ISUID | (S_ISGID if mode & 0o010 else 0)))
        finally:
            if fd >= 0:
                os.close(fd)

    def utime(self, caller, node, atime_ns, mtime_ns):
        if atime_ns is None and mtime_ns is None:
            return
        st = self._status(node)
        seen = self.ownership.attributes(caller, st)
        if caller.uid and seen.st_uid != caller.uid:
            if not atime_ns == mtime_ns == abi.UTIME_NOW:
                fail(EPERM)
            if not self.permits(caller, self.physical(node), st, os.W_OK):
                fail(EACCES)
        path, fd = self.pin(caller, node)
        try:
            abi.utimensat(path, atime_ns, mtime_ns)
        finally:
            if fd >= 0:
                os.close(fd)

    def truncate(self, caller, node, size):
        if node.kind == S_IFDIR:
            fail(EISDIR)
        if node.kind != S_IFREG or size < 0:
            fail(EINVAL)
        st = os.lstat(self.physical(node))
        if not self.natural(caller, st) or not self.writable(node):
            if not self.permits(caller, self.physical(node), st, os.W_OK):
                fail(EACCES)
            if caller.virtual and self.owner_bits:
                self.unlock(node, st)
        path, fd = self.pin(caller, node, size > 0)
        try:
            abi.truncate(path, size)
        finally:
            if fd >= 0:
                os.close(fd)

    # Making names: shared by the file systems that make them in one host directory

    def _make_node(self, caller, node, path, mode, dev):
        """mknod(2) at the host path, with a recorded placeholder for what only root can make."""
        kind = S_IFMT(mode) or S_IFREG
        bits = mode & 0o7777 & ~caller.umask
        before = os.umask(caller.umask & ~0o600 if caller.virtual else caller.umask)
        try:
            if kind in (S_IFREG, S_IFIFO, S_IFSOCK):
                os.mknod(path, kind | (mode & 0o7777 | 0o600 if caller.virtual else mode & 0o7777))
            elif kind in (S_IFCHR, S_IFBLK):
                if not caller.virtual:
                    os.mknod(path, mode, dev)
                elif caller.uid:
                    fail(EPERM)
                else:
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                    self._record_new(node, path, Record(caller.uid, caller.gid, kind | bits, dev))
                    return
            else:
                fail(EINVAL if kind != S_IFDIR else EPERM)
        finally:
            os.umask(before)
        if caller.virtual and bits | 0o600 != bits:
            self._record_new(node, path, Record(mode=bits))

    def _record_new(self, node, path, record):
        """The record of a file that was just made, which is no file without it."""
        try:
            self.ownership.set(os.lstat(path), record, self.log_name(node))
        except OSError:
            os.unlink(path)
            raise

