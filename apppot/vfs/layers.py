"""The union of read-only lower directories and one writable upper directory, in OCI's terms of whiteouts: what is there.

Layers. A whiteout `.wh.NAME` hides NAME in the layers below; `.wh..wh..opq` in a directory hides all of it below. A
whiteout may stand beside a file of that name in the same layer: it only hides what is below, and a directory beside
it is not merged with lower ones. Every change uses that: the whiteout is made first, then the name is removed; so a
run that is killed in between leaves the tree as it was.

Invariants. Lower layers never change, so what was found in them is kept for ever. In the upper layer guests create, write,
rename, link and remove plain files, and make directories, behind our back where we have told them the host path. Symlinks
and whiteouts there are made, moved and removed by `Overlay` alone, directories moved and removed, so a `Directory` is kept
until it removes it.
"""

from errno import ENAMETOOLONG, ENOENT
import os
from os import lstat
from stat import S_IFDIR, S_IFMT

from apppot.vfs.caller import KERNEL
from apppot.vfs.imagelayers import ImageLayers
from apppot.vfs.listing import DT_REG, scan
from apppot.vfs.node import Attributes, Directory, Node, fail
from apppot.vfs.ownership import KEEP, Ownership, Record

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
OPAQUE_NAME = OPAQUE[len(WHITEOUT):]   # how `Directory.whiteouts` says that the directory is opaque

MAX_CACHED = 60000


class Layers(ImageLayers):
    """Look-up, listings and attributes. See `overlay.Overlay`."""

    def __init__(self, lowers, upper=None, ownership=None):
        super().__init__(lowers)
        self.upper = os.path.realpath(upper) if upper is not None else None
        self.readonly = upper is None
        self.ownership = ownership if ownership is not None else Ownership(self.upper)
        self.top = None
        self.in_part = frozenset()   # lower host directories of which something is left out: guests open the upper part
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

    def _unmark(self, directory, name):
        os.unlink(directory.upper + b"/" + WHITEOUT + name)
        directory.whiteouts.discard(name)

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
        directory.data = None
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

    def copied_from(self, node, host):
        directory = node.parent
        return node.upper and bool(directory.lowers) and self._in_lowers(directory, node.name).host == host

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

    def native(self, directory):
        if directory.upper is not None and (not directory.lowers or self._all_in_upper(directory)):
            return directory.upper, True, False     # markers in it hide nothing, and guests can't name them
        if self.lazy and directory.upper is None and not self._complete(directory.lowers[0], needed=False):
            return None                             # the host does not know all of its names
        if not self._has_own_names_only(directory):
            return None
        return directory.lowers[0] or b"/", False, False

    def _all_in_upper(self, directory):
        """Whether there is nothing in the lower parts of a merged directory, as in an image's /tmp."""
        if directory.data is None:
            directory.data = not any(lower in self.in_part or not self._complete(lower, needed=False) or _has_entries(lower)
                                     for lower in directory.lowers)
        return directory.data

    def plain_directory(self, directory):
        return self._has_own_names_only(directory) and not (self.lazy and directory.upper is None and self._is_late(directory.lowers[0]))

    def _has_own_names_only(self, directory):
        """Whether the names in its host directory, when all are made, are those that the guest is to see."""
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


def _has_entries(host):
    """Whether a host directory has any, or may have: perhaps only its owner can see."""
    try:
        with os.scandir(host or b"/") as entries:
            return next(entries, None) is not None
    except PermissionError:
        return True
