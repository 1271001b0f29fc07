"""What an overlay's lower layers know of their files beyond what the disk says, see `image.layer.Layer`.

Layers with records tell owner, mode and device number of each name that is found; lazy ones make their files while they
are used.
"""

import os
from os import lstat
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from apppot.image.layer import layers_of
from apppot.vfs import abi
from apppot.vfs.ondisk import OnDisk
from apppot.vfs.ownership import KEEP, Record


class ImageLayers(OnDisk):
    """lowers: host directories or image Layers, topmost first."""

    def __init__(self, lowers):
        layers = layers_of(lowers)
        self.lowers = tuple(layer.host for layer in layers)
        self.own = None          # (uid, gid) of who is the host's user: their files have no owner of their own
        self.recorded = [(layer.host + b"/", layer) for layer in layers if layer.recorded]
        self.lazy = any(layer.lazy for layer in layers)
        if self.lazy:
            self.open = self._open_filled     # what is no lazy layer doesn't pay for it

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

    def _is_late(self, lower):
        """Whether the host may hide entries of a lower directory from who opened it, see `Layer.late`."""
        layer = self._layer_of(lower)
        return layer is not None and lower in layer.late

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


def _has_attributes(host):
    """Whether a file has extended attributes, as which access control lists are kept."""
    try:
        return bool(os.listxattr(host, follow_symlinks=False))
    except OSError:              # a file system that has none
        return False
