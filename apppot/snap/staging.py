"""Carries out an archive's members on an overlay over the present state: what comes out is a layer beside it.

Every name goes through the namespace, as a guest's would: a symlink leads where it leads inside of the tree, and ".."
is refused, so no archive can write outside. Layers of OCI and changes of old AppPots (GNU tar's incremental format,
whose directories carry a list of what they hold) both come here.
"""

import os
import tarfile
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT

from apppot.errors import AppPotError
from apppot.image import tarstream, xattrs
from apppot.image.cow import remove_tree
from apppot.snap.archive import USER
from apppot.snap.members import Refused, clean, device, mtime_ns
from apppot.snap.upper import write_records
from apppot.vfs.caller import KERNEL
from apppot.vfs.layers import OPAQUE, OPAQUE_NAME, WHITEOUT
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay
from apppot.vfs.ownership import KEEP, Ownership, Record
from apppot.vfs.upperlayer import mark

_DUMPDIR = b"D"                       # GNU: a directory with the list of what is in it
_KINDS = {tarfile.CHRTYPE: S_IFCHR, tarfile.BLKTYPE: S_IFBLK}
_MOST_DUMPDIR = 1 << 26


class Staging:
    """lowers: the present state, topmost first. place: an empty host directory; makes `tree` and `ownership.log` in it.

    uid, gid      the machine's user
    ours          the archive is of AppPot: empty owner names mean that nobody was recorded
    protected     guest directories (names without "/" before them) that must stay: something is mounted below
    """

    def __init__(self, lowers, place, uid, gid, ours, protected=()):
        self.place, self.tree = place, place + b"/tree"
        for path, mode in ((self.tree, 0o755), (place + b"/work", 0o700)):
            os.mkdir(path, mode)
            os.chmod(path, mode)
        self.ours, self.uid, self.gid, self.protected = ours, uid, gid, protected
        self.ownership = Ownership(self.tree, None, uid, gid)
        self.overlay = Overlay(lowers, self.tree, place + b"/work", self.ownership)
        self._copy_top()
        self.ns = Namespace(self.overlay, self.ownership)
        self.made = set()             # guest paths that the archive has
        self._directories = {}        # guest path → (member, mtime), to be given their attributes at the end
        self._temporary = None        # of GNU's renames
        self.notes = []

    def _copy_top(self):
        below = self.overlay.lowers[0]
        st = os.lstat(below or b"/")
        if st.st_uid == self.uid:
            os.chmod(self.tree, st.st_mode & 0o7777 | 0o700)
        os.utime(self.tree, ns=(st.st_atime_ns, st.st_mtime_ns))

    # -- names

    def _resolve(self, name, make_parents=True):
        """The node of a name of the archive, taken for itself; missing directories above it are made."""
        path = b"/" + name
        for _ in range(256):
            try:
                return self.ns.resolve(KERNEL, path, None, None)
            except NotADirectoryError:
                raise Refused("a directory above it is no directory") from None
            except FileNotFoundError:
                if not make_parents:
                    raise
                self._make_above(name)
            except OSError as error:
                raise Refused(error.strerror) from None
        raise Refused("its directory can't be made")

    def _make_above(self, name):
        at = b""
        for part in name.split(b"/")[:-1]:
            at += b"/" + part
            try:
                node = self.ns.resolve(KERNEL, at)
                if not node.kind:
                    self.ns.mkdir(KERNEL, node, 0o755)
            except OSError as error:
                raise Refused(f"its directory can't be made: {error.strerror}") from None

    # -- members

    def member(self, tar, member):
        """Carry one out. tar, member: of image.tarstream."""
        name = clean(tarstream.as_bytes(member.name))
        try:
            self._member(tar, member, name)
        except Refused as error:
            raise AppPotError(f"/{os.fsdecode(name)} can't be merged: {error}") from None

    def _member(self, tar, member, name):
        last = name.rpartition(b"/")[2]
        if last[:4] == WHITEOUT:
            self._marker(name, last)
            return
        kind = member.type
        if kind in (tarfile.DIRTYPE, _DUMPDIR):
            self._directory(tar, member, name)
        elif not name:
            raise Refused("the root must be a directory")
        elif kind == tarfile.LNKTYPE:
            self._link(member, name)
        elif kind == tarfile.SYMTYPE:
            self._symlink(member, name)
        elif kind in _KINDS:
            path = self._place(name)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._attributes(path, name, member, _KINDS[kind])
        elif kind == tarfile.FIFOTYPE:
            path = self._place(name)
            os.mkfifo(path, 0o600)
            self._attributes(path, name, member)
        elif member.isreg() or member.sparse is not None:
            self._regular(tar, member, name)
        elif kind != b"V":
            self.notes.append(f"/{os.fsdecode(name)}: left out, of unknown type {os.fsdecode(kind)!r}")

    def _place(self, name):
        """Where a new non-directory is to be made, with nothing there any more."""
        node = self._resolve(name)
        self._may_replace(node)
        if node.kind == S_IFDIR:
            self._remove(node)
        elif node.kind and node.upper:
            self.ns.unlink(KERNEL, node)
        elif node.kind == S_IFLNK:
            self.ns.flush()
        directory = node.parent
        directory.changed()
        path = self.overlay.raise_directory(directory) + b"/" + node.name
        if len(node.name) > 255:
            raise Refused("its name is too long")
        if node.name in directory.whiteouts:
            os.unlink(directory.upper + b"/" + WHITEOUT + node.name)
            directory.whiteouts.discard(node.name)
        self.made.add(node.path)
        return path

    def _may_replace(self, node):
        if node.path == b"/":
            raise Refused("the root must be a directory")
        if node.path[1:] in self.protected:
            raise Refused("something is mounted there, or below")

    def _remove(self, node):
        """Remove a file or a whole tree, wherever it is."""
        directory = node.parent
        if node.path == b"/":
            raise Refused("the root can't be removed")
        self.overlay.raise_directory(directory)
        self.overlay._hide(directory, node.name)
        path = directory.upper + b"/" + node.name
        if os.path.lexists(path):
            name = self.overlay.log_name(node)
            below = name + b"/"
            for other in [other for other in self.ownership.names if other == name or other.startswith(below)]:
                self.ownership.records.pop(self.ownership.names[other], None)
                self.ownership.removed(other)
            remove_tree(path)
        self.overlay._gone(directory, node)
        self.ns.flush()

    def _directory(self, tar, member, name):
        if not name:
            node = self.ns.root.node
        else:
            node = self._resolve(name)
            if node.kind and node.kind != S_IFDIR:
                self._remove(node)
                node = self._resolve(name)
            if not node.kind:
                self.ns.mkdir(KERNEL, node, 0o700)
                node = self._resolve(name)
        directory = self.ns.directory(KERNEL, node)
        self.overlay.raise_directory(directory)
        self.made.add(node.path)
        self._directories[node.path] = member
        if member.type == _DUMPDIR:
            self._dumpdir(tar, member, directory)

    def _regular(self, tar, member, name):
        path = self._place(name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            end = 0
            for at, data in tarstream.contents(tar, member):
                end = at + len(data)
                while data:
                    done = os.pwrite(fd, data, at)
                    data, at = data[done:], at + done
            if end != member.size:
                os.ftruncate(fd, member.size)
        finally:
            os.close(fd)
        self._attributes(path, name, member)

    def _symlink(self, member, name):
        target = tarstream.as_bytes(member.linkname)
        if not target or len(target) > 4095 or b"\0" in target:
            raise Refused("it is a symbolic link without a proper target")
        path = self._place(name)
        os.symlink(target, path)
        self._attributes(path, name, member)

    def _link(self, member, name):
        target = clean(tarstream.as_bytes(member.linkname))
        try:
            old = self._resolve(target, make_parents=False)
        except FileNotFoundError:
            old = None
        if old is None or not old.kind or old.kind == S_IFDIR:
            raise Refused(f"it is a hard link to /{os.fsdecode(target)}, which is not there")
        new = self._resolve(name)
        if new.path == old.path:
            return
        self._may_replace(new)
        if new.kind:
            self._remove(new)
            new = self._resolve(name)
        self.ns.link(KERNEL, old, new)
        self.made.add(new.path)

    def _marker(self, name, last):
        directory = name[:-len(last)].rstrip(b"/")
        if last == OPAQUE:
            node = self._resolve(directory) if directory else self.ns.root.node
            if node.kind == S_IFDIR:
                self._clear(node, b"")
                self._seal(self.ns.directory(KERNEL, node))
        elif not last.startswith(OPAQUE[:8]):          # .wh..wh.*: another union file system's own affairs
            hidden = last[4:]
            if hidden in (b"", b".", b".."):
                raise Refused("it is a whiteout of no name")
            target = (directory + b"/" if directory else b"") + hidden
            try:
                node = self._resolve(target, make_parents=False)
            except (FileNotFoundError, Refused):
                return
            if node.path in self.made and node.kind == S_IFDIR:
                self._clear(node, b"")
            elif node.kind and node.path not in self.made:
                self._remove(node)

    def _seal(self, directory):
        """Say "opaque" of an empty directory rather than name all that it hides, as its archive does."""
        if self.overlay.entries(KERNEL, directory):
            return
        upper = self.overlay.raise_directory(directory)
        marker = upper + b"/" + OPAQUE
        if not os.path.lexists(marker):
            mark(marker)
        for name in directory.whiteouts - {OPAQUE_NAME}:
            os.unlink(upper + b"/" + WHITEOUT + name)
        directory.whiteouts, directory.lowers = {OPAQUE_NAME}, ()
        directory.fixed.clear()
        directory.below.clear()
        directory.node.host = upper
        self.ns.flush()

    def _clear(self, node, keep):
        """Remove what is in a directory, but what the archive has and the names in `keep`."""
        directory = self.ns.directory(KERNEL, node)
        for name, *_ in self.overlay.entries(KERNEL, directory):
            path = directory.prefix + name
            if path in self.made or name in keep:
                continue
            self._remove(self.ns.at(path))

    # -- GNU's incremental format

    def _dumpdir(self, tar, member, directory):
        """Remove what the directory's list does not name (GNU tar manual, "Dumpdir")."""
        if member.size > _MOST_DUMPDIR:
            raise Refused("its list of names is too long")
        text = b"".join(data for _, data in tarstream.contents(tar, member))
        there = set()
        source = None
        for item in text.split(b"\0"):
            code, rest = item[:1], item[1:]
            if code in (b"Y", b"N", b"D"):
                there.add(rest)
            elif code == b"X":
                self._temporary = clean(rest) + b"/apppot-rename"
            elif code == b"R":
                source = clean(rest) if rest else self._temporary
            elif code == b"T" and source is not None:
                self._move(source, clean(rest) if rest else self._temporary)
                source = None
        inside = directory.path.strip(b"/")
        if inside in self.protected:
            there.update(name.rpartition(b"/")[2] for name in self.protected if name.rpartition(b"/")[0] == inside)
        self._clear(directory.node, there)

    def _move(self, old, new):
        try:
            source = self._resolve(old, make_parents=False)
            target = self._resolve(new)
            if not source.kind or target.path in self.made:
                return
            if target.kind:
                self._remove(target)
                target = self._resolve(new)
            self.ns.rename(KERNEL, source, target)
        except (OSError, Refused):          # it was renamed by an earlier archive already
            return

    # -- attributes

    def _attributes(self, path, name, member, kind=0):
        """Give a file of the layer the member's owner, mode, times and extended attributes."""
        st = os.lstat(path)
        link = S_IFMT(st.st_mode) == S_IFLNK
        mode = member.mode & 0o7777
        record = Record(self._number(member.uid, member.uname, self.uid), self._number(member.gid, member.gname, self.gid))
        if kind:
            record.mode, record.rdev = kind | mode, device(member)
        elif not link:
            physical = mode & 0o1777 | (0o700 if S_IFMT(st.st_mode) == S_IFDIR else 0o600)
            if physical != mode:
                record.mode = mode
            os.chmod(path, physical)
        self._xattrs(path, member, S_IFMT(st.st_mode) == S_IFDIR)
        self.ownership.set(st, record, self._canonical(path))
        when = mtime_ns(member)
        os.utime(path, ns=(when, when), follow_symlinks=False)

    def _canonical(self, path):
        return path[len(self.tree) + 1:]

    def _number(self, number, name, user):
        """The id to record."""
        name = tarstream.as_bytes(name)
        if self.ours:
            if not name:
                return KEEP
            if name == USER:
                return user
        if not 0 <= number < 0xFFFFFFFF:
            raise Refused(f"its owner {number} is no number of a user")
        return number

    def _xattrs(self, path, member, directory):
        for name in xattrs.settable(path):
            os.removexattr(path, name, follow_symlinks=False)
        for name, error in xattrs.put(path, tarstream.xattrs(member)).items():
            self.notes.append(f"/{os.fsdecode(self._canonical(path))}: attribute {name}: {error.strerror or error}")
        if directory:
            xattrs.hand_down(path)

    # -- the end

    def finish(self):
        """Attributes of directories, and the log of records for all that the layer has."""
        for path in self.protected:
            self._make_above(path + b"/.")
        for path in sorted(self._directories, reverse=True):
            node = self.ns.at(path) if path != b"/" else self.ns.root.node
            if node.kind == S_IFDIR:
                directory = self.ns.directory(KERNEL, node)
                if directory.upper is not None:
                    self._attributes(directory.upper, path[1:], self._directories[path])
        self.ownership.close(False)
        write_records(self.tree, self.ownership, self.place + b"/ownership.log")
        remove_tree(self.place + b"/work")
        self.ns.close()
