"""From a guest path to a Node: caches, symlinks, dots, the RESOLVE flags of openat2(2).

Speed. The resolver is on the way of every traced call. It keeps, for callers whose root is "/", the `Directory` behind the
raw text of the directory part of a path; a hit leaves one look-up of the last component. These caches hold only what
nobody but us can change, are filled after the permissions on the way were checked, are kept apart by identity, and are
emptied by `flush`: when a directory or symlink is renamed or replaced, or is removed and others depend on it, a mount comes or goes, or the record of
a directory changes. On a hostfs mount the way is verified at each look-up instead.
"""

from errno import EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV
import os
from stat import S_IFDIR, S_IFLNK

from apppot.vfs import abi
from apppot.vfs.caller import KERNEL
from apppot.vfs.hostnames import HostNames
from apppot.vfs.node import DOT, DOTDOT, SLASH, VIA_LINK, Node, fail

MAX_LINKS = 40
PATH_MAX = 4096
MAX_CACHED = 20000
_DOTS = (b"", b".", b"..")
_TMPFILE = abi.O_TMPFILE & ~os.O_DIRECTORY           # __O_TMPFILE of <asm-generic/fcntl.h>
_SEARCH_LIMITS = abi.RESOLVE_BENEATH | abi.RESOLVE_IN_ROOT


class NoCache:
    """What Namespace.cache must know: nothing remembers anything of this namespace."""

    def directories_changed(self):
        """The way to a directory, or what a directory consists of, may have changed."""

    def directory_removed(self, host):
        """A directory of one layer, which was empty, is gone from its place on the host."""

    def inode_removed(self, key):
        """The host directory with this inode (st_dev, st_ino) is gone, and one with another name may get that."""

    def file_copied_up(self, key):
        """The lower file with this inode (st_dev, st_ino), which processes may have open, is another file from now on. None: any."""

    def names_changed(self):
        """What a name in a merged directory or a symlink leads to may have changed, or the name of a directory."""

    def links_moving(self):
        """A context in which symlinks are made or moved in the upper layer, perhaps with a directory. What is known of names there is
        void before it ends."""
        return self

    def __enter__(self):
        """It begins."""

    def __exit__(self, *_):
        """It is over."""

    def nothing_recorded(self, key):
        """A layer with records has none of the inode (st_dev, st_ino): what the disk says of it is true."""


class Resolver:
    """Finds nodes below `root`, the Directory of "/", which a subclass sets.

    ownership  the records shared by all mounts
    """

    def __init__(self, ownership):
        self.ownership = ownership
        ownership.on_directory = self._rights_changed
        self.root = None
        self._climbed = False          # whether a text in the caches leads through a ".."
        self._root_cache = {}          # raw directory text -> Directory, for virtual root: no permissions
        self._plain_cache = {}         # the same for callers with the host's own ids
        self._other_caches = {}        # (uid, gid, groups) -> the same, for other virtual identities
        self.cache = NoCache()         # told of every change that what is remembered elsewhere depends on
        self.host_names = HostNames()

    # Caches

    def flush(self):
        """Forget where directory names lead."""
        self._root_cache.clear()
        self._plain_cache.clear()
        self._other_caches.clear()
        self._climbed = False
        self.cache.directories_changed()

    def directory_removed(self, directory):
        """Forget an empty directory that was of one layer and is gone. Only a ".." leads through it to others."""
        if self._climbed or directory.texts is None:
            self.flush()
            return
        for cache in (self._root_cache, self._plain_cache, *self._other_caches.values()):
            for text in directory.texts:
                if cache.get(text) is directory:
                    del cache[text]
        self.cache.directory_removed(directory.upper)

    def _rights_changed(self):
        self._plain_cache.clear()
        self._other_caches.clear()
        self.cache.directories_changed()

    def known_directory(self, caller, path, start=None):
        """The Directory behind the text before the last "/" of `path`, if resolve() has just found it; else None."""
        return self._cache(caller).get(_head(caller, path, start))

    def plain_may_search(self, caller, path, start=None):
        """Whether a caller with the host's own ids has gone the way to the last "/" of `path` too; of that of an open
        directory when `path` is empty."""
        return self._plain_cache.get(_head(caller, path, start)) is not None

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
        """`resolve` for open(2) with `flags`: whether a symlink at the end is followed, and names ending in "/".

        Flags that make no sense together are EINVAL whatever the path leads to.
        """
        if flags & os.O_DIRECTORY and flags & (os.O_CREAT | abi.O_PATH) == os.O_CREAT:
            fail(EINVAL)
        if flags & _TMPFILE and not flags & abi.O_PATH and not (flags & os.O_DIRECTORY and flags & os.O_ACCMODE):
            fail(EINVAL)
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
        else:
            head, slash, name = target.rpartition(b"/")
            above = self._cache(caller).get(head if target[:1] == b"/" else directory.path + slash + head)
            if above is not None and above.fs.cached and name not in _DOTS and len(target) < PATH_MAX:
                end = above.fixed.get(name) or above.fs.lookup(caller, above, name)
                if end.kind != S_IFLNK:
                    return end
        return self._walk(caller, target, directory.path, True, 0, 1)

    def _walk(self, caller, path, start, follow, flags, links=0):
        if not path:
            fail(ENOENT)
        if len(path) >= PATH_MAX:
            fail(ENAMETOOLONG)
        root, here = self._begin(caller, path, start, flags)
        checks = caller.uid and (caller.virtual or bool(self.ownership.records))
        todo = path.split(b"/")
        todo.reverse()
        keep = caller.root == b"/" and not flags
        climbed = False
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
                climbed = True
                here.fs.search(caller, here)
                if here is not root:
                    keep = keep and here.fs.cached
                    here = _above(here, flags)
                elif flags & abi.RESOLVE_BENEATH:
                    fail(EXDEV)
                ending = DOTDOT
                continue
            ending = 0
            if checks:
                here.fs.search(caller, here)
            node = here.fixed.get(name)
            if node is None:
                node = here.fs.lookup(caller, here, name)
            elif flags & abi.RESOLVE_NO_XDEV and node.mount is not here.mount:
                fail(EXDEV)
            last = not todo or not todo[0] and not any(todo)
            kind = node.kind
            if keep and not todo:    # the last component of the text that was asked for
                self._remember(caller, path, start, here, climbed)
                keep = False
            if kind == S_IFLNK and (not last or follow or todo and follow is not None):
                links += 1
                if links > MAX_LINKS or flags & abi.RESOLVE_NO_SYMLINKS:
                    fail(ELOOP)
                keep = keep and here.fs.cached
                target = _target(caller, node, here, root, flags)
                if isinstance(target, bytes):
                    if last and todo and not follow:
                        via_link = VIA_LINK
                    if target[0] == 47:
                        here = root
                    todo.extend(reversed(target.split(b"/")))
                    continue
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

    def _begin(self, caller, path, start, flags):
        """(the Directory that nothing leads above, the one that `path` begins at)."""
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
        if absolute and flags & abi.RESOLVE_NO_XDEV and here.mount is not self._place(caller.cwd if start is None else start).mount:
            fail(EXDEV)
        return root, here

    def _remember(self, caller, path, start, directory, climbed):
        """`directory` is what the text before the last "/" of `path` leads to; climbed: through a ".."."""
        if path.rpartition(b"/")[2] in _DOTS:
            return
        head = _head(caller, path, start)
        cache = self._cache(caller)
        if len(cache) > MAX_CACHED:
            cache.clear()
        cache[head] = directory
        directory.known_as(head)
        if climbed:
            self._climbed = True

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
        here.known_as(path)
        return here

    def guest_path(self, host):
        """The guest path of a host file, or None: outside all layers and mounts, deleted, or not a file."""
        return self.host_names.guest_path(host)

    def named(self, host):
        """The node of the open file that the host calls `host`; None when it is no file of the machine's, or deleted.

        Of kind 0 when the guest removed it, or gave its name to another, and a lower layer keeps it.
        """
        names = self.host_names
        path = names.guest_path(host)
        if path is None:
            return None
        node = self.at(path)
        host = names.original(host)
        if node.kind and names.is_nameless(host):
            return Node(node.parent, node.name, node.host, 0)
        if node.kind in (0, S_IFDIR) or node.host == host or node.mount.fs.copied_from(node, host):
            return node
        return None


def _above(directory, flags):
    """The Directory that ".." leads to."""
    above = directory.parent
    if flags & abi.RESOLVE_NO_XDEV and above.mount is not directory.mount:
        fail(EXDEV)
    return above


def _target(caller, link, directory, root, flags):
    """Where a symlink in a directory leads: a text that isn't empty, or the node itself behind a magic link."""
    target = link.mount.fs.follow(caller, link)
    if isinstance(target, bytes):
        if not target:
            fail(ENOENT)
        if target[0] == 47:
            if flags & abi.RESOLVE_BENEATH:
                fail(EXDEV)
            if flags & abi.RESOLVE_NO_XDEV and root.mount is not directory.mount:
                fail(EXDEV)
    elif flags & (abi.RESOLVE_NO_MAGICLINKS | _SEARCH_LIMITS):
        fail(ELOOP if flags & abi.RESOLVE_NO_MAGICLINKS else EXDEV)
    return target


def _head(caller, path, start):
    """What the caches call the directory part of a path."""
    head, slash, _ = path.rpartition(b"/")
    return head if path[:1] == b"/" else (caller.cwd if start is None else start) + slash + head
