"""The writable layer of an overlay: copying files up into it, and hiding what is below it by whiteouts."""

import os
from os import lstat
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_ISDIR

from apppot.vfs import abi, copyup
from apppot.vfs.layers import OPAQUE, WHITEOUT, Layers
from apppot.vfs.ownership import KEEP, Record

LARGE = 16 << 20                       # bytes; copying less does not keep other tasks waiting


class UpperLayer(Layers):
    """See `overlay.Overlay`."""

    def __init__(self, lowers, upper=None, work=None, ownership=None):
        super().__init__(lowers, upper, ownership)
        self.work = work
        self.changeable = self.upper
        self.prepared = {}       # lower host path -> copy of its contents in `work`, made or in the making

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
        self.namespace.cache.file_copied_up((st.st_dev, st.st_ino))
        ours = st.st_uid == self.ownership.uid and not caller.virtual and self.ownership.of(st) is None
        mode = st.st_mode & 0o7777 if ours else st.st_mode & 0o1777 | 0o600
        path = self._place(source, st, above, node, mode, data)
        node.parent.below.pop(node.name, None)
        node.host, node.upper, node.st, node.target = path, True, None, None
        return path

    def _place(self, source, st, above, node, mode, data=True):
        """Copy one file and put it into the upper directory `above`, whose times stay as they were."""
        prepared = self.prepared.pop(source, None)
        made = copyup.make(source, st, self.work, mode, data, prepared)
        try:
            return self._put_in(made, st, above, node, mode)
        except OSError:                # no room for the record, or the name
            self.ownership.forget(lstat(made), self.log_name(node))
            os.rmdir(made) if S_ISDIR(st.st_mode) else os.unlink(made)
            raise

    def _put_in(self, made, st, above, node, mode):
        """Put `made`, a copy in the work directory of what has the os.stat_result `st`, into `above`; what is recorded goes with it."""
        kind = S_IFMT(st.st_mode)
        true_mode = st.st_mode & 0o7777
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
            self._lose(directory, name)

    def _lose(self, directory, name):
        """A lower file, hidden or not, loses its name: it was removed, renamed or replaced."""
        if self._has_below(directory, name):
            node = directory.below.get(name)
            if node is not None:               # else a directory, of which `HostNames` is told by itself
                self.namespace.host_names.lost_name(node.host)

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
                except OSError:           # the whiteout does as well
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


def mark(path):
    """Make a marker file."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
