"""The union of read-only lower directories and one writable upper directory, in OCI's terms of whiteouts.

Layers. A whiteout `.wh.NAME` hides NAME in the layers below; `.wh..wh..opq` in a directory hides all of it below. A
whiteout may stand beside a file of that name in the same layer: it only hides what is below, and a directory beside
it is not merged with lower ones. Every change uses that: the whiteout is made first, then the name is removed; so a
run that is killed in between leaves the tree as it was.

Invariants. Lower layers never change, so what was found in them is kept for ever. In the upper layer guests create, write,
rename, link and remove plain files, and make directories, behind our back where we have told them the host path. Symlinks
and whiteouts there are made, moved and removed here alone, directories moved and removed, so a `Directory` is kept until
we remove it.
"""

from errno import EACCES, ENAMETOOLONG, ENOENT, ENOTEMPTY, EPERM
import os
from os import lstat
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISGID

from apppot.image.layer import layers_of
from apppot.vfs import abi, copyup
from apppot.vfs.caller import KERNEL
from apppot.vfs.listing import DT_REG, scan
from apppot.vfs.node import Attributes, Directory, Node, fail
from apppot.vfs.ondisk import OnDisk
from apppot.vfs.ownership import KEEP, Ownership, Record

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
OPAQUE_NAME = OPAQUE[len(WHITEOUT):]   # how `Directory.whiteouts` says that the directory is opaque

MAX_CACHED = 60000
LARGE = 16 << 20                       # bytes; copying less does not keep other tasks waiting


class Overlay(OnDisk):
    """lowers: host directories or image Layers, topmost first. upper, work: host directories on one file system;
    None: read-only."""

    fstype = b"overlay"
    source = b"apppot"
    cached = True
    owner_bits = True
    keeps_attributes = True

    def __init__(self, lowers, upper=None, work=None, ownership=None):
        layers = layers_of(lowers)
        self.lowers = tuple(layer.host for layer in layers)
        self.own = None          # (uid, gid) of who is the host's user: their files have no owner of their own
        self.recorded = [(layer.host + b"/", layer) for layer in layers if layer.recorded]
        self.lazy = any(layer.lazy for layer in layers)
        if self.lazy:
            self.open = self._open_filled     # what is no lazy layer doesn't pay for it
        self.upper = os.path.realpath(upper) if upper is not None else None
        self.work = work
        self.readonly = upper is None
        self.changeable = self.upper
        self.ownership = ownership if ownership is not None else Ownership(self.upper)
        self.top = None
        self.in_part = frozenset()   # lower host directories of which something is left out: guests open the upper part
        self.prepared = {}       # lower host path -> copy of its contents in `work`, made or in the making
        self.kept = 0            # nodes in caches, to keep them from growing without end

    def roots(self):
        layers = self.lowers if self.upper is None else (self.upper,) + self.lowers
        return tuple((layer, b"") for layer in layers)

    def attach(self, mount):
        layers = self.lowers or (self.upper,)
        node = Node.at(mount.path, layers[0] or b"/", S_IFDIR, mount, mount.parent, mount.path.rpartition(b"/")[2])
        self.top = Directory.of(self, node)
        if self.recorded and self.lowers:
            self._recorded_kind(self.lowers[0], b"", lstat(self.lowers[0]))
        opaque = [index for index, lower in enumerate(self.lowers) if os.path.lexists(lower + b"/" + OPAQUE)]
        self.top.lowers = self.lowers[:opaque[0] + 1] if opaque else self.lowers
        self._set_upper(self.top, self.upper)
        if self.recorded and self.upper is not None:
            told, st = self.ownership.of(lstat(node.host)), lstat(self.upper)
            if told is not None and self.ownership.of(st) is None:
                self.ownership.records[st.st_dev, st.st_ino] = told.over(Record())
        return node

    # Look-up

    def lookup(self, caller, directory, name):
        upper = directory.upper
        if upper is None:
            node = self._in_lowers(directory, name)
            directory.fixed[name] = node
            return node
        host = upper + b"/" + name
        try:
            st = lstat(host)
        except OSError as error:
            if error.errno != ENOENT:
                raise
        else:
            return self._in_upper(directory, name, host, st)
        if not directory.lowers or name in directory.whiteouts:
            return Node(directory, name, host, 0)
        below = directory.below
        node = below.get(name)
        if node is None:
            node = self._in_lowers(directory, name)
            if node.kind == S_IFDIR:
                directory.fixed[name] = node
            else:
                below[name] = node
        return node

    def _in_upper(self, directory, name, host, st):
        if name[:4] == WHITEOUT:
            return Node(directory, name, host, 0)
        kind = S_IFMT(st.st_mode)
        if kind == S_IFDIR:
            node = Node(directory, name, host, kind, True)
            self.directory(KERNEL, node)
            directory.fixed[name] = node
            return node
        if directory.whiteouts and name in directory.whiteouts:
            self._unmark(directory, name)   # superfluous by now
        if self.ownership.records:
            record = self.ownership.of(st)
            if record is not None and record.rdev != KEEP:
                kind = S_IFMT(record.mode)
        return Node(directory, name, host, kind, True, st)

    def _in_lowers(self, directory, name):
        """The topmost lower child, of kind 0 when there is none."""
        if len(name) > 255:
            fail(ENAMETOOLONG)
        lowers = directory.lowers
        last = len(lowers) - 1
        self.kept += 1
        if self.kept > MAX_CACHED:
            self._trim()
        if name[:4] != WHITEOUT:
            for index, lower in enumerate(lowers):
                host = lower + b"/" + name
                if self.lazy:
                    self._reach(lower, name)
                try:
                    st = lstat(host)
                except OSError as error:
                    if error.errno != ENOENT:
                        raise
                    if index < last and os.path.lexists(lower + b"/" + WHITEOUT + name):
                        break
                    continue
                if host in self.concealed:
                    break
                kind = self._recorded_kind(lower, name, st) if self.recorded else S_IFMT(st.st_mode)
                return Node(directory, name, host, kind)
        return Node(directory, name, (directory.upper or directory.lowers[0]) + b"/" + name, 0)

    def _layer_of(self, lower, enter=False):
        """The Layer with records that a lower directory is in, or None. enter: its entries are needed."""
        for prefix, layer in self.recorded:
            if lower.startswith(prefix) or lower == layer.host:
                if enter:
                    layer.enter(lower)
                return layer
        return None

    def _reach(self, lower, name):
        layer = self._layer_of(lower)
        if layer is not None:
            layer.reach(lower, name)

    def _complete(self, lower, needed=True):
        """Whether all entries of a lower directory are there, see `Layer.complete`."""
        layer = self._layer_of(lower)
        return layer is None or layer.complete(lower, needed)

    def content(self, node):
        """The host path of a regular file whose contents are needed."""
        if self.lazy and not node.upper and node.kind == S_IFREG:
            layer = self._layer_of(node.host)
            if layer is not None:
                layer.content(node.host)
        return node.host

    def whole(self, node):
        if not self.lazy or node.upper:
            return True
        layer = self._layer_of(node.host)
        return layer is None or layer.whole(node.host)

    def recorded_below(self, directory):
        """Whether a layer with records tells of the names in a directory that is `native`."""
        return bool(self.recorded) and directory.upper is None and self._layer_of(directory.lowers[0]) is not None

    def recorded_file(self, node):
        return bool(self.recorded) and not node.upper and self._layer_of(node.host) is not None

    def tell(self, directory, name):
        """Keep what the layer says of a file in a directory that is `recorded_below`; a directory's only when it was
        looked up."""
        lower = directory.lowers[0]
        st = lstat(lower + b"/" + name)
        if S_IFMT(st.st_mode) != S_IFDIR:
            self._recorded_kind(lower, name, st)

    def _open_filled(self, caller, node, flags, mode):
        host = OnDisk.open(self, caller, node, flags, mode)
        if host == node.host and not flags & abi.O_PATH:
            self.content(node)
        return host

    def _recorded_kind(self, lower, name, st):
        """Keep what the layer says of a file in its directory `lower`; the file's true S_IFMT bits."""
        layer = self._layer_of(lower)
        told = layer.record(lower, name, st.st_ino) if layer is not None else None
        if told is None:
            if layer is not None and self.namespace is not None:
                self.namespace.cache.nothing_recorded((st.st_dev, st.st_ino))
            return S_IFMT(st.st_mode)
        record = Record(*told)
        host = lower + b"/" + name
        record.listed = bool(record.mode & 0o070) and S_IFMT(st.st_mode) != S_IFLNK and _has_attributes(host)
        if layer.lazy and S_IFMT(st.st_mode) == S_IFREG:
            record.whole = layer.whole(host, st)
        if self.own is not None and record.uid == self.own[0]:
            record.uid = KEEP
            if record.gid == self.own[1]:
                record.gid = KEEP
        self.ownership.records[st.st_dev, st.st_ino] = record
        return S_IFMT(record.mode) if record.rdev != KEEP else S_IFMT(st.st_mode)

    def directory(self, caller, node):
        directory = node.dir
        if directory is not None:
            return directory
        parent, name = node.parent, node.name
        directory = Directory.of(self, node)
        upper = node.host if node.upper else None
        if upper is None or name not in parent.whiteouts:
            directory.lowers = self._lower_parts(parent, name)
        self._set_upper(directory, upper)
        return directory

    def _lower_parts(self, parent, name):
        parts = []
        last = len(parent.lowers) - 1
        for index, lower in enumerate(parent.lowers):
            host = lower + b"/" + name
            if self.lazy:
                self._reach(lower, name)
            try:
                if S_IFMT(lstat(host).st_mode) != S_IFDIR:
                    break
            except FileNotFoundError:
                pass
            else:
                if host in self.concealed:
                    break
                if self.lazy:
                    self._layer_of(host, enter=True)
                parts.append(host)
                if index < last and os.path.lexists(host + b"/" + OPAQUE):
                    break
            if index < last and os.path.lexists(lower + b"/" + WHITEOUT + name):
                break
        return tuple(parts)

    def _set_upper(self, directory, upper):
        """Give a directory its upper part: read its markers, see whether it is merged with lower parts."""
        directory.upper = upper
        if upper is None:
            return
        directory.node.upper = True
        directory.below = {}
        try:
            directory.whiteouts = {name[4:] for name in os.listdir(upper) if name[:4] == WHITEOUT}
            if OPAQUE_NAME in directory.whiteouts:
                directory.lowers = ()
        except PermissionError:       # a plain caller took the right away, which is kept if there are markers
            directory.whiteouts, directory.lowers = set(), ()
        if directory.lowers and directory.lowers[0] not in self.in_part:
            host = directory.node.host = directory.lowers[0] or b"/"
            st = lstat(host)
            self.ownership.merged[st.st_dev, st.st_ino] = directory
        else:
            directory.node.host = upper

    def _trim(self):
        """Forget cached files; directories stay, others hold on to them."""
        self.kept = 0
        todo = [self.top]
        while todo:
            directory = todo.pop()
            if directory.below:
                directory.below.clear()
            keep = {name: node for name, node in directory.fixed.items()
                    if node.dir is not None or node.mount is not directory.mount}
            directory.fixed = keep
            todo.extend(node.dir for node in keep.values() if node.dir is not None and node.dir.fs is self)

    def follow(self, caller, node):
        target = node.target
        if target is None:
            target = os.readlink(node.host)
            if not node.upper:
                node.target = target
        return target

    # Where files are

    def physical(self, node):
        directory = node.dir
        if directory is not None and directory.upper is not None:
            return directory.upper
        return node.host

    def writable(self, node):
        return node.upper or (node.dir is not None and node.dir.upper is not None)

    def changes_natively(self, directory):
        return directory.upper is not None

    def keeps_owner_bits(self, node):
        return node.dir is not None and bool(node.dir.lowers or node.dir.whiteouts)

    def log_name(self, node):
        """Its name relative to the upper layer, which is that relative to the root of the mount."""
        path = node.path[len(node.mount.path):] if node.mount.path != b"/" else node.path
        return path.lstrip(b"/")

    # Copy-up

    def raise_directory(self, directory):
        """Make a directory exist in the upper layer; its path there."""
        missing = []
        while directory.upper is None:      # trees can be deeper than Python's stack
            missing.append(directory)
            directory = directory.parent
        path = directory.upper
        for directory in reversed(missing):
            path = self._raise(directory, path)
        return path

    def _raise(self, directory, above):
        self.namespace.cache.directories_changed()
        source = directory.lowers[0]
        st = lstat(source)
        path = self._place(source, st, above, directory.node, st.st_mode & 0o1777 | 0o700)
        directory.below = {}
        for name, node in list(directory.fixed.items()):
            if node.dir is None and node.mount is directory.mount:
                del directory.fixed[name]
                if node.kind:
                    directory.below[name] = node
        self._set_upper(directory, path)
        return path

    def copy_up(self, caller, node, data=True):
        """Make an existing node exist in the upper layer; its path there. data: with its contents."""
        if node.kind == S_IFDIR:
            return self.raise_directory(self.directory(caller, node))
        if node.upper:
            return node.host
        above = self.raise_directory(node.parent)
        self.namespace.cache.names_changed()
        source = self.content(node) if data else node.host
        st = lstat(source)
        ours = st.st_uid == self.ownership.uid and not caller.virtual and self.ownership.of(st) is None
        mode = st.st_mode & 0o7777 if ours else st.st_mode & 0o1777 | 0o600
        path = self._place(source, st, above, node, mode, data)
        node.parent.below.pop(node.name, None)
        node.host, node.upper, node.st, node.target = path, True, None, None
        return path

    def _place(self, source, st, above, node, mode, data=True):
        """Copy one file and put it into the upper directory `above`, whose times stay as they were."""
        kind = S_IFMT(st.st_mode)
        true_mode = st.st_mode & 0o7777
        prepared = self.prepared.pop(source, None)
        made = copyup.make(source, st, self.work, mode, data, prepared)
        ownership = self.ownership
        told = ownership.of(st) if self.recorded else None
        if told is not None and told.told is not None:     # perhaps others are just filling the file
            os.utime(made, ns=(st.st_atime_ns, told.told[2]), follow_symlinks=False)
        record = Record(KEEP if st.st_uid == ownership.uid else st.st_uid,
                        KEEP if st.st_gid == ownership.gid else st.st_gid,
                        KEEP if mode == true_mode or kind == S_IFLNK else true_mode)
        if kind in (S_IFCHR, S_IFBLK):
            record.mode, record.rdev = st.st_mode, st.st_rdev
        if told is not None:
            record = told.over(record)
        if record:
            ownership.set(lstat(made), record, self.log_name(node))
        before = lstat(above)
        path = above + b"/" + node.name
        os.rename(made, path)
        os.utime(above, ns=(before.st_atime_ns, before.st_mtime_ns))
        return path

    def copy_up_tree(self, caller, directory):
        """Copy up everything in a directory; the paths of the markers in it, which have nothing to hide then."""
        markers = []
        todo = [directory]
        while todo:
            directory = todo.pop()
            upper = self.raise_directory(directory)
            if not directory.lowers:
                continue
            markers += [upper + b"/" + WHITEOUT + name for name in directory.whiteouts]
            for name, ino, kind in self.entries(caller, directory):
                node = directory.fixed.get(name) or self.lookup(caller, directory, name)
                if node.kind == S_IFDIR:
                    todo.append(self.directory(caller, node))
                elif node.kind and not node.upper:
                    self.copy_up(caller, node)
        return markers

    def pin(self, caller, node, data=True):
        return self.copy_up(caller, node, data), -1

    # Whiteouts

    def _has_below(self, directory, name):
        """Whether a lower layer has the name, hidden or not."""
        if not directory.lowers:
            return False
        node = directory.below.get(name)
        if node is None:
            node = self._in_lowers(directory, name)
            if node.kind != S_IFDIR:
                directory.below[name] = node
        return node.kind != 0

    def _hide(self, directory, name):
        """Hide what lower layers have under a name; nothing happens to the upper file beside it."""
        if name not in directory.whiteouts and self._has_below(directory, name):
            mark(directory.upper + b"/" + WHITEOUT + name)
            directory.whiteouts.add(name)

    def _unmark(self, directory, name):
        os.unlink(directory.upper + b"/" + WHITEOUT + name)
        directory.whiteouts.discard(name)

    def _settle(self, directory, name, is_directory):
        """Replace the whiteout beside a new upper file by what other programs understand best."""
        if name not in directory.whiteouts:
            return
        if is_directory:
            marker = directory.upper + b"/" + name + b"/" + OPAQUE
            if not os.path.lexists(marker):   # or can't be seen
                st = lstat(directory.upper + b"/" + name)
                try:
                    mark(marker)
                except PermissionError:   # the whiteout does as well
                    return
                os.utime(directory.upper + b"/" + name, ns=(st.st_atime_ns, st.st_mtime_ns))
        self._unmark(directory, name)

    def _gone(self, directory, node, alone=None):
        """A name was removed or moved away: forget what was kept of it. alone: the removed Directory, if it was of one layer."""
        directory.fixed.pop(node.name, None)
        directory.changed()
        if alone is not None:
            self.namespace.directory_removed(alone)
        elif node.kind in (S_IFDIR, S_IFLNK):
            self.namespace.flush()

    # Changing names

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
            self.ownership.set(lstat(path), record, self.log_name(node))
        self._settle(directory, node.name, True)

    def mknod(self, caller, node, mode, dev):
        self._make_node(caller, node, self.create(caller, node), mode, dev)
        self._settle(node.parent, node.name, False)

    def symlink(self, caller, node, target):
        path = self.create(caller, node)
        with self.namespace.cache.links_moving():
            os.symlink(target, path)
        self._settle(node.parent, node.name, False)

    def link(self, caller, old, new):
        path = self.create(caller, new)
        source = self.copy_up(caller, old)
        with self.namespace.cache.links_moving():         # perhaps it is a symlink
            os.link(source, path, follow_symlinks=False)
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
        for marker in useless:
            os.unlink(marker)
        replaced = not exchange and new.kind and new.upper
        if replaced and self.ownership.records:
            self._forget(target, new)
        try:
            with self.namespace.cache.links_moving():     # perhaps a symlink comes with it
                if exchange or not new.kind:
                    abi.renameat2(abi.AT_FDCWD, source, abi.AT_FDCWD, target, flags if exchange else abi.RENAME_NOREPLACE)
                else:
                    os.rename(source, target)
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

    # Listings

    def entries(self, caller, directory):
        found = {}
        hidden = set()
        upper, lowers = directory.upper, directory.lowers
        if upper is not None:
            hidden |= directory.whiteouts
            devices = self.ownership.records
            for name, ino, kind in scan(upper):
                if name[:4] == WHITEOUT:
                    continue
                if kind << 12 == S_IFDIR and lowers:
                    node = directory.fixed.get(name) or self.lookup(caller, directory, name)
                    if node.dir is not None and node.dir.lowers and node.dir.fs is self:
                        ino = lstat(node.host).st_ino
                elif devices:
                    record = devices.get((self._device(upper), ino))
                    if record is not None and record.rdev != KEEP:
                        kind = S_IFMT(record.mode) >> 12
                found[name] = (name, ino, kind)
        for lower in lowers:
            whiteouts = []
            layer = self._layer_of(lower) if self.recorded else None
            devices = layer is not None and lower in layer.devices
            if layer is not None:
                layer.complete(lower)
            for entry in scan(lower or b"/"):
                name = entry[0]
                if devices and entry[2] == DT_REG:
                    told = layer.record(lower, name, entry[1])
                    if told is not None and told[3] != KEEP:
                        entry = (name, entry[1], S_IFMT(told[2]) >> 12)
                if name[:4] == WHITEOUT:
                    whiteouts.append(name[4:])
                elif name not in found and name not in hidden and lower + b"/" + name not in self.concealed:
                    found[name] = entry
            hidden.update(whiteouts)
        return list(found.values())

    def _device(self, upper):
        return lstat(upper).st_dev

    def long_work(self, node, flags):
        """Of a large lower file: making its contents there, and copying it up for a guest that writes to it."""
        if node.upper:
            return None
        writing = flags & (os.O_WRONLY | os.O_RDWR) and not flags & (os.O_TRUNC | abi.O_PATH)
        if self.whole(node) and (not writing or self.readonly) or lstat(node.host).st_size < LARGE:
            return None
        prepared = None
        if writing and not self.readonly:
            prepared = self.prepared.get(node.host)
            if prepared is not None and os.path.lexists(prepared):
                return None            # by a call that came to nothing
            prepared = self.prepared[node.host] = copyup.temporary(self.work)

        def work():
            source = self.content(node)
            if prepared is not None:
                copyup.prepare(source, prepared)
            return 0

        return work

    def watched(self, caller, node):
        """Of a directory the upper part, made if need be: what guests make and remove is made and removed there."""
        if node.kind != S_IFDIR or self.readonly:
            return node.host
        return self.raise_directory(self.directory(caller, node))

    def native(self, directory):
        if directory.upper is not None and not directory.lowers:
            return directory.upper, True, False     # markers in it hide nothing, and guests can't name them
        if self.lazy and directory.upper is None and not self._complete(directory.lowers[0], needed=False):
            return None                             # the host does not know all of its names
        if not self.plain_directory(directory):
            return None
        return directory.lowers[0] or b"/", False, False

    def plain_directory(self, directory):
        lowers = directory.lowers
        if directory.upper is not None:
            return not lowers and not directory.whiteouts
        if self.recorded and any(lowers[0] in layer.devices for _, layer in self.recorded):
            return False
        if len(lowers) > 1 or any(path.rpartition(b"/")[0] == lowers[0] for path in self.concealed):
            return False
        if len(self.lowers) > 1 and directory.data is None:
            directory.data = not any(name[:4] == WHITEOUT for name in os.listdir(lowers[0] or b"/"))
        if directory.data is False:
            return False
        if self.lazy:
            self._complete(lowers[0])
        return True

    # Attributes

    def stat(self, caller, node):
        st = lstat(self.physical(node))
        seen = self.ownership.attributes(caller, st)
        directory = node.dir
        if directory is None or directory.upper is None or not directory.lowers:
            return seen
        return merged_attributes(seen, directory)

    def plain_stat(self, caller, node):
        directory = node.dir
        if directory is not None and directory.upper is not None and directory.lowers:
            return False
        if caller.virtual:
            return False
        if not self.ownership.records or not self.recorded and not self.writable(node):
            return True
        return self.ownership.of(node.st or lstat(node.host)) is None


def merged_attributes(seen, directory):
    """Attributes of the upper part under the identity of the topmost lower one."""
    if not isinstance(seen, Attributes):
        seen = Attributes(seen)
    lower = lstat(directory.node.host)
    seen.st_dev, seen.st_ino, seen.st_nlink = lower.st_dev, lower.st_ino, 1
    return seen


def _has_attributes(host):
    """Whether a file has extended attributes, as which access control lists are kept."""
    try:
        return bool(os.listxattr(host, follow_symlinks=False))
    except OSError:              # a file system that has none
        return False


def mark(path):
    """Make a marker file."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
