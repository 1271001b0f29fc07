"""The guest's tree of names: mounts, resolution, and every call that takes a name.

Speed. The resolver is on the way of every traced call. `Namespace` keeps, for callers whose root is "/", the
`Directory` behind the raw text of the directory part of a path; a hit leaves one look-up of the last component. These
caches hold only what nobody but us can change, are filled after the permissions on the way were checked, are kept
apart by identity, and are emptied by `flush`: when a directory or symlink is removed, renamed or replaced, a mount
comes or goes, or the record of a directory changes. On a hostfs mount the way is verified at each look-up instead.
"""

from errno import EBUSY, EEXIST, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EROFS, \
    EXDEV
import os
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from apppot.vfs import abi
from apppot.vfs.caller import KERNEL
from apppot.vfs.hostnames import HostNames
from apppot.vfs.listing import DT_DIR, Listing
from apppot.vfs.node import DOT, DOTDOT, SLASH, VIA_LINK, Mount, fail
from apppot.vfs.overlay import merged_attributes
from apppot.vfs.ownership import Ownership

MAX_LINKS = 40
PATH_MAX = 4096
MAX_CACHED = 20000
_DOTS = (b"", b".", b"..")
_SEARCH_LIMITS = abi.RESOLVE_BENEATH | abi.RESOLVE_IN_ROOT


class NoCache:
    """What Namespace.cache must know: nothing remembers anything of this namespace."""

    def directories_changed(self):
        """The way to a directory, or what a directory consists of, may have changed."""

    def names_changed(self):
        """What a name in a merged directory or a symlink leads to may have changed."""


class Namespace:
    """All mounts of a machine.

    root       the file system on "/"
    ownership  the records shared by all mounts
    hidden     host paths that no guest may see, in whatever mount they are
    cow        the `Cow` that remembers made mount points, or None
    moved      functions (old, new guest path or None) called when a directory was renamed or removed
    """

    def __init__(self, root, ownership=None, hidden=(), cow=None):
        self.ownership = ownership or getattr(root, "ownership", None) or Ownership()
        self.ownership.on_directory = self._rights_changed
        self.hidden = frozenset(os.path.realpath(path) for path in hidden)
        self.cow = cow
        self.moved = []
        self.generation = 0            # grows with every flush
        self._mounts = {}
        self._root_cache = {}          # raw directory text -> Directory, for virtual root: no permissions
        self._plain_cache = {}         # the same for callers with the host's own ids
        self._other_caches = {}        # (uid, gid, groups) -> the same, for other virtual identities
        self.cache = NoCache()         # told of every change that what is remembered elsewhere depends on
        self.host_names = HostNames()
        self._attach(Mount(b"/", root))
        self.root = self._mounts[b"/"].node.dir

    # Mounts

    def _attach(self, mount):
        fs = mount.fs
        fs.namespace = self
        fs.concealed = self.hidden
        mount.node = fs.attach(mount)
        self._mounts[mount.path] = mount
        self._mounts_changed()

    def _mounts_changed(self):
        self.host_names.set_mounts(self._mounts.values())
        self.flush()

    def mount(self, path, fs, soft=False):
        """Mount `fs` on the canonical guest path. Its parent must exist, the mount point itself need not."""
        node = self.at(path)
        directory = node.parent
        if node.path == b"/" or directory is None:
            fail(EBUSY)
        if path in self._mounts:
            self.umount(path)
        mount = Mount(path, fs, soft, directory)
        self._attach(mount)
        directory.fixed[node.name] = mount.node
        if directory.mounts is None:
            directory.mounts = {}
        directory.mounts[node.name] = mount
        directory.changed()
        self.flush()
        return mount

    def umount(self, path):
        mount = self._mounts.get(path)
        if mount is None:
            fail(EINVAL)
        if path == b"/" or self._mounts_below(path):
            fail(EBUSY)
        del self._mounts[path]
        name = mount.node.name
        del mount.parent.fixed[name]
        del mount.parent.mounts[name]
        mount.parent.mounts = mount.parent.mounts or None
        mount.parent.changed()
        mount.fs.close()
        self._mounts_changed()

    def mounts(self):
        """All mounts, "/" first, in the order they were made."""
        return list(self._mounts.values())

    def _mounts_below(self, path):
        prefix = path + b"/"
        return any(other.startswith(prefix) for other in self._mounts)

    def make_mountpoint(self, path, directory=True):
        """Make a missing mount point and its parents, as far as they are on a writable overlay: the new paths."""
        made = []
        names = path.strip(b"/").split(b"/")
        at = b""
        for index, name in enumerate(names):
            node = self.at(at + b"/" + name)
            if node.kind == S_IFLNK:
                node = self.resolve(KERNEL, at + b"/" + name)
            at = node.path
            if node.kind or node.mount.readonly or not node.mount.fs.cached:
                continue
            if index < len(names) - 1 or directory:
                self.mkdir(KERNEL, node, 0o755)
            else:
                self.mknod(KERNEL, node, S_IFREG | 0o644, 0)
            made.append(at)
        if made and self.cow is not None:
            self.cow.add_mountpoints(made)
        return made

    def close(self):
        for mount in self._mounts.values():
            mount.fs.close()

    # Caches

    def flush(self):
        """Forget where directory names lead."""
        self._root_cache.clear()
        self._plain_cache.clear()
        self._other_caches.clear()
        self.generation += 1
        self.cache.directories_changed()

    def _rights_changed(self):
        self._plain_cache.clear()
        self._other_caches.clear()
        self.generation += 1
        self.cache.directories_changed()

    def known_directory(self, caller, path, start=None):
        """The Directory behind the text before the last "/" of `path`, if resolve() has just found it; else None."""
        head, slash, _ = path.rpartition(b"/")
        if path[:1] != b"/":
            head = (caller.cwd if start is None else start) + slash + head
        return self._cache(caller).get(head)

    def has_one_name(self, mount):
        """Whether no other mount shows a part of what this one shows: a file of the host has one guest path then."""
        mine = [host + b"/" for host, _ in mount.fs.roots()]
        others = [host + b"/" for other in self._mounts.values() if other is not mount for host, _ in other.fs.roots()]
        return not any(one.startswith(two) or two.startswith(one) for one in mine for two in others)

    def nothing_below(self, directory):
        """Whether no mount and no hidden host path is anywhere below a directory that is `native`."""
        host = directory.fs.native(directory)[0].rstrip(b"/") + b"/"
        return not self._mounts_below(directory.prefix.rstrip(b"/")) and not any(path.startswith(host)
                                                                                for path in self.hidden)

    def _cache(self, caller):
        if not caller.virtual:
            return self._plain_cache
        if not caller.uid:
            return self._root_cache
        key = caller.uid, caller.gid, tuple(caller.groups)
        cache = self._other_caches.get(key)
        if cache is None:
            cache = self._other_caches[key] = {}
        return cache

    # Resolution

    def resolve(self, caller, path, start=None, follow=True, resolve_flags=0):
        """The node a path leads to. See docs/architecture.md.

        start: canonical guest directory of relative names; default: the caller's.
        follow: go through a symlink at the end. None, for calls that make, remove or rename a name: never, not even
        when a "/" stands behind it; the name is taken for itself, and the call judges by node.slash.
        """
        if caller.root == b"/" and not resolve_flags:
            head, slash, name = path.rpartition(b"/")
            if name not in _DOTS:
                if path[0] != 47:
                    base = caller.cwd if start is None else start
                    head = base + slash + head
                if not caller.virtual:
                    cache = self._plain_cache
                elif not caller.uid:
                    cache = self._root_cache
                else:
                    cache = self._cache(caller)
                directory = cache.get(head)
                if directory is not None and len(path) < PATH_MAX:
                    node = directory.fixed.get(name)
                    if node is None:
                        if directory.fs.cached:
                            node = directory.fs.lookup(caller, directory, name)
                        else:
                            try:
                                node = directory.fs.lookup(caller, directory, name)
                            except OSError:      # the way there has changed: walk again
                                del cache[head]
                                return self._walk(caller, path, start, follow, 0)
                    if not follow or node.kind != S_IFLNK:
                        return node
                    if node.target is not None or directory.fs.cached:
                        return self._walk_link(caller, directory, node)
        return self._walk(caller, path, start, follow, resolve_flags)

    def resolve_open(self, caller, path, flags, start=None, resolve_flags=0):
        """`resolve` for open(2) with `flags`: whether a symlink at the end is followed, and names ending in "/"."""
        exclusive = os.O_CREAT | os.O_EXCL
        follow = not flags & os.O_NOFOLLOW and flags & exclusive != exclusive
        if path[-1:] == b"/" and flags & (os.O_CREAT | abi.O_PATH) == os.O_CREAT:
            bare = path.rstrip(b"/")
            if bare and bare.rpartition(b"/")[2] not in _DOTS:
                self.resolve(caller, bare, start, False, resolve_flags)
                fail(EISDIR)
        return self.resolve(caller, path, start, follow, resolve_flags)

    def at(self, path):
        """The node of a canonical guest path; a symlink at its end is not followed."""
        return self.resolve(KERNEL, path, None, False)

    def _walk_link(self, caller, directory, node):
        """Go on at a symlink that is the last component of a cached way."""
        target = node.mount.fs.follow(caller, node)
        if not isinstance(target, bytes):
            return target
        # Most links lead to a neighbour: no need for a new walk.
        if b"/" not in target and target not in _DOTS:
            end = directory.fixed.get(target) or directory.fs.lookup(caller, directory, target)
            if end.kind != S_IFLNK:
                return end
        return self._walk(caller, target, directory.path, True, 0, 1)

    def _walk(self, caller, path, start, follow, flags, links=0):
        if not path:
            fail(ENOENT)
        if len(path) >= PATH_MAX:
            fail(ENAMETOOLONG)
        root = self._place(caller.root)
        absolute = path[0] == 47
        if absolute and not flags & _SEARCH_LIMITS:
            here = root
        else:
            here = self._place(caller.cwd if start is None else start, caller)
        if flags & _SEARCH_LIMITS:
            if absolute and flags & abi.RESOLVE_BENEATH:
                fail(EXDEV)
            root = here
        checks = caller.uid and (caller.virtual or bool(self.ownership.records))
        no_xdev = flags & abi.RESOLVE_NO_XDEV
        if no_xdev and absolute and here.mount is not self._place(caller.cwd if start is None else start).mount:
            fail(EXDEV)
        todo = path.split(b"/")
        todo.reverse()
        keep = caller.root == b"/" and not flags and not links
        ending = 0      # how the name ended up to now
        via_link = 0
        while todo:
            name = todo.pop()
            if name == b"" or name == b".":
                if name:
                    here.fs.search(caller, here)
                    ending = DOT
                else:
                    ending = ending or SLASH
                continue
            if name == b"..":
                here.fs.search(caller, here)
                if here is root:
                    if flags & abi.RESOLVE_BENEATH:
                        fail(EXDEV)
                else:
                    above = here.parent
                    if no_xdev and above.mount is not here.mount:
                        fail(EXDEV)
                    if not here.fs.cached:
                        keep = False
                    here = above
                ending = DOTDOT
                continue
            ending = 0
            if checks:
                here.fs.search(caller, here)
            node = here.fixed.get(name)
            if node is None:
                node = here.fs.lookup(caller, here, name)
            elif no_xdev and node.mount is not here.mount:
                fail(EXDEV)
            last = not todo or not todo[0] and not any(todo)
            kind = node.kind
            if keep and not todo:    # the last component of the text that was asked for
                self._remember(caller, path, start, here)
                keep = False
            if kind == S_IFLNK and (not last or follow or todo and follow is not None):
                links += 1
                if links > MAX_LINKS or flags & abi.RESOLVE_NO_SYMLINKS:
                    fail(ELOOP)
                if not here.fs.cached:
                    keep = False
                target = node.mount.fs.follow(caller, node)
                if isinstance(target, bytes):
                    if not target:
                        fail(ENOENT)
                    if last and todo and not follow:
                        via_link = VIA_LINK
                    if target[0] == 47:
                        if flags & abi.RESOLVE_BENEATH:
                            fail(EXDEV)
                        if no_xdev and root.mount is not here.mount:
                            fail(EXDEV)
                        here = root
                    todo.extend(reversed(target.split(b"/")))
                    continue
                if flags & (abi.RESOLVE_NO_MAGICLINKS | _SEARCH_LIMITS):
                    fail(ELOOP if flags & abi.RESOLVE_NO_MAGICLINKS else EXDEV)
                keep = False
                node = target
                kind = node.kind
                if last and not todo:
                    return node
            if last:
                if todo:        # only empty ones: the name ends in "/"
                    if kind and kind != S_IFDIR and follow is not None:
                        fail(ENOTDIR)
                    ending = SLASH
                return node.ending(ending | via_link) if ending else node
            if kind != S_IFDIR:
                fail(ENOTDIR if kind else ENOENT)
            here = node.dir or node.mount.fs.directory(caller, node)
        return here.node.ending(ending | via_link)

    def _remember(self, caller, path, start, directory):
        """`directory` is what the text before the last "/" of `path` leads to."""
        head, slash, name = path.rpartition(b"/")
        if name in _DOTS:
            return
        if path[0] != 47:
            head = (caller.cwd if start is None else start) + slash + head
        cache = self._cache(caller)
        if len(cache) > MAX_CACHED:
            cache.clear()
        cache[head] = directory

    def _place(self, path, caller=KERNEL):
        """The Directory of a canonical guest path."""
        if path == b"/":
            return self.root
        directory = self._root_cache.get(path)
        if directory is not None and directory.fs.cached:
            return directory
        here = self.root
        for name in path[1:].split(b"/"):
            node = here.fixed.get(name)
            if node is None:
                node = here.fs.lookup(caller, here, name)
            if node.kind != S_IFDIR:
                fail(ENOTDIR if node.kind else ENOENT)
            here = node.dir or node.mount.fs.directory(caller, node)
        self._root_cache[path] = here
        return here

    def guest_path(self, host):
        """The guest path of a host file, or None: outside all layers and mounts, deleted, or not a file."""
        return self.host_names.guest_path(host)

    # Opening

    def open(self, caller, node, flags, mode=0):
        """The host path that the guest opens with the same flags. Raises what the kernel would."""
        if flags & (os.O_CREAT | os.O_DIRECTORY | abi.O_PATH) == os.O_CREAT | os.O_DIRECTORY:
            fail(EINVAL)
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
            if not flags & (os.O_WRONLY | os.O_RDWR):
                fail(EINVAL)
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
                fail(EROFS)
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
        """What opening an existing regular file begins with that takes long: a function to call in a process beside
        this one, which returns an exit status; open() is to be called after its end. None: nothing does.
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
            fail(EROFS)
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

    # Changing names

    def _mount_point(self, node):
        """The node below a soft mount, which goes away; a hard mount is busy."""
        if node.path != node.mount.path or not node.kind:
            return node
        if not node.mount.soft:
            fail(EBUSY)
        path, slash = node.path, node.slash
        self.umount(path)
        node = self.at(path)
        return node.ending(slash) if slash else node

    @staticmethod
    def _creatable(node):
        if node.kind or node.slash & VIA_LINK:
            fail(EEXIST)
        if node.slash:
            fail(ENOENT)
        if node.mount.fs.readonly:
            fail(EROFS)

    def mkdir(self, caller, node, mode):
        if node.kind or node.slash & VIA_LINK:
            fail(EEXIST)
        if node.mount.fs.readonly:
            fail(EROFS)
        node.mount.fs.mkdir(caller, node, mode)
        node.parent.changed()

    def mknod(self, caller, node, mode, dev=0):
        self._creatable(node)
        if S_IFMT(mode) == S_IFDIR:
            fail(EPERM)
        node.mount.fs.mknod(caller, node, mode, dev)
        node.parent.changed()

    def symlink(self, caller, node, target):
        if not target:
            fail(ENOENT)
        if len(target) >= PATH_MAX:
            fail(ENAMETOOLONG)
        self._creatable(node)
        node.mount.fs.symlink(caller, node, target)
        node.parent.changed()

    def unlink(self, caller, node):
        if node.slash & (DOT | DOTDOT) or node.path == caller.root:
            fail(EISDIR)
        if node.mount.fs.readonly and not node.mount.soft:
            fail(EROFS)
        if node.slash:
            fail(ENOENT if not node.kind else EISDIR if node.kind == S_IFDIR and node.slash == SLASH else ENOTDIR)
        if not node.kind:
            fail(ENOENT)
        if node.kind == S_IFDIR:
            if node.path != node.mount.path:
                node.mount.fs.may_change(caller, node.parent, node)
            fail(EISDIR)
        node = self._mount_point(node)
        if node.kind:
            if node.mount.fs.readonly:
                fail(EROFS)
            node.mount.fs.unlink(caller, node)

    def rmdir(self, caller, node):
        if node.slash & DOT:
            fail(EINVAL)
        if node.slash & DOTDOT:
            fail(ENOTEMPTY)
        if node.path == b"/" or node.path == caller.root:
            fail(EBUSY)
        if node.slash & VIA_LINK:
            fail(ENOTDIR)
        if node.mount.fs.readonly and not node.mount.soft:
            fail(EROFS)
        if node.kind != S_IFDIR:
            fail(ENOTDIR if node.kind else ENOENT)
        node = self._mount_point(node)
        if self._mounts_below(node.path):
            fail(ENOTEMPTY)
        if node.mount.fs.readonly:
            fail(EROFS)
        node.mount.fs.rmdir(caller, node)
        self._directory_moved(node.path, None)

    def rename(self, caller, old, new, flags=0):
        exchange = flags & abi.RENAME_EXCHANGE
        if flags & ~(abi.RENAME_NOREPLACE | abi.RENAME_EXCHANGE) or flags == 3:
            fail(EINVAL)
        if self._holder(old) is not self._holder(new):
            fail(EXDEV)
        if old.slash & (DOT | DOTDOT) or old.path == caller.root:
            fail(EBUSY)
        if new.slash & (DOT | DOTDOT) or new.path == caller.root:
            fail(EEXIST if flags & abi.RENAME_NOREPLACE else EBUSY)
        if self._soft(old):
            old = self._mount_point(old)
        if self._soft(new):
            new = self._mount_point(new)
        if self._holder(old).fs.readonly:
            fail(EROFS)
        if old.slash & VIA_LINK:
            fail(ENOTDIR)
        if not old.kind:
            fail(ENOENT)
        if new.kind and flags & abi.RENAME_NOREPLACE:
            fail(EEXIST)
        if exchange:
            if new.slash & VIA_LINK:
                fail(ENOTDIR)
            if not new.kind:
                fail(ENOENT)
            if new.kind != S_IFDIR and new.slash:
                fail(ENOTDIR)
        if old.kind != S_IFDIR and (old.slash or new.slash and not exchange):
            fail(ENOTDIR)
        if inside(new.path, old.path):
            fail(EINVAL)
        if inside(old.path, new.path):
            fail(EINVAL if exchange else ENOTEMPTY)
        if old.path == new.path:
            return
        if new.slash & VIA_LINK:
            fail(ENOTDIR)
        if new.kind and self._same_file(old, new):
            return
        if not exchange and new.kind:
            if old.kind == S_IFDIR and new.kind != S_IFDIR:
                fail(ENOTDIR)
            if old.kind != S_IFDIR and new.kind == S_IFDIR:
                fail(EISDIR)
        for node in (old, new):
            if node.kind and node.path == node.mount.path:
                fail(EBUSY)
            if node.kind == S_IFDIR and self._mounts_below(node.path):
                fail(EBUSY)
        old.mount.fs.rename(caller, old, new, flags)
        if new.kind == S_IFDIR and not exchange:
            self._directory_moved(new.path, None)
        old.parent.changed()
        new.parent.changed()
        if old.kind == S_IFDIR:
            self._directory_moved(old.path, new.path)
        if exchange and new.kind == S_IFDIR:
            self._directory_moved(new.path, old.path)

    def _directory_moved(self, old, new):
        for tell in self.moved:
            tell(old, new)

    @staticmethod
    def _soft(node):
        return node.kind and node.mount.soft and node.path == node.mount.path

    @staticmethod
    def _holder(node):
        """The mount of the directory a node is found in."""
        return node.parent.mount if node.parent is not None else node.mount

    @staticmethod
    def _same_file(old, new):
        if old.kind == S_IFDIR or new.kind == S_IFDIR or old.upper != new.upper:
            return False
        try:
            return os.path.samestat(os.lstat(old.host), os.lstat(new.host))
        except OSError:
            return False

    def link(self, caller, old, new):
        if not old.kind:
            fail(ENOENT)
        if new.kind or new.slash & VIA_LINK:
            fail(EEXIST)
        if new.slash:
            fail(ENOENT)
        if new.mount.fs.readonly:
            fail(EROFS)
        if old.mount is not new.mount:
            fail(EXDEV)
        if old.kind == S_IFDIR:
            fail(EPERM)
        new.mount.fs.link(caller, old, new)
        new.parent.changed()

    # Changing attributes

    def _changeable(self, node):
        if not node.kind:
            fail(ENOENT)
        if node.mount.fs.readonly:
            fail(EROFS)
        return node.mount.fs

    def chmod(self, caller, node, mode):
        self._changeable(node).chmod(caller, node, mode)

    def chown(self, caller, node, uid, gid):
        self._changeable(node).chown(caller, node, uid, gid)

    def utime(self, caller, node, atime_ns, mtime_ns):
        """None keeps a time, abi.UTIME_NOW sets the present."""
        self._changeable(node).utime(caller, node, atime_ns, mtime_ns)

    def truncate(self, caller, node, size):
        if node.kind == S_IFDIR:
            fail(EISDIR)
        self._changeable(node).truncate(caller, node, size)

    def getxattr(self, caller, node, name):
        if not node.kind:
            fail(ENOENT)
        return node.mount.fs.getxattr(caller, node, name)

    def listxattr(self, caller, node):
        if not node.kind:
            fail(ENOENT)
        return node.mount.fs.listxattr(caller, node)

    def setxattr(self, caller, node, name, value, flags=0):
        self._changeable(node).setxattr(caller, node, name, value, flags)

    def removexattr(self, caller, node, name):
        self._changeable(node).removexattr(caller, node, name)


def inside(path, top):
    """Whether a canonical path is strictly below another."""
    return path.startswith(top + b"/") or top == b"/" != path
