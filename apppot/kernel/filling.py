"""Fills the translation cache: the entries that would have answered a call which has just missed.

They are made after the slow path has answered, from the same Directory that the answer came from. Which mistakes that must
not make is said in platform/tlb.py and docs/architecture.md.
"""

import os

from apppot.platform import tlb
from apppot.platform.registers import R10, RDI, RDX, RSI
from apppot.syscalls.decode import Int
from apppot.syscalls.table import by_name, numbers
from apppot.vfs.caller import KERNEL, Caller

_AT_FDCWD = -100
_S_IFCHR, _S_IFDIR, _S_IFREG, _S_IFLNK = 0o020000, 0o040000, 0o100000, 0o120000
_STARTS = 1000                             # starting points of relative names whose entries are remembered to be made
_LATELY, _AGAIN = 64, 16                   # so many names; one of so many misses

_NEWFSTATAT, _GETCWD = by_name["newfstatat"].number, by_name["getcwd"].number
_OF_DESCRIPTOR = numbers("getdents64", "fstat")
# Where calls have their names: pairs of registers (descriptor or None, path).
_ONE, _ONE_AT = ((None, RDI),), ((RDI, RSI),)
_TWO, _TWO_AT = ((None, RDI), (None, RSI)), ((RDI, RSI), (RDX, R10))
_NAMES = {
    **dict.fromkeys(numbers("open", "creat", "stat", "lstat", "access", "readlink", "mkdir", "unlink", "getxattr", "lgetxattr",
                            "listxattr", "llistxattr", "statfs", "execve"), _ONE),
    **dict.fromkeys(numbers("openat", "newfstatat", "readlinkat", "faccessat", "faccessat2", "statx", "mkdirat", "unlinkat"),
                    _ONE_AT),
    **dict.fromkeys(numbers("rename", "link"), _TWO),
    **dict.fromkeys(numbers("renameat", "renameat2", "linkat"), _TWO_AT),
}
FILLED = _OF_DESCRIPTOR.union(_NAMES, (_GETCWD,))
# These are served in directories of one layer only, never by an entry of a whole name.
CHANGING = numbers("creat", "mkdir", "mkdirat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat")


def _start(task, dirfd):
    """(st_dev, st_ino) of the directory that relative names start from."""
    status = os.stat(b"/proc/%d/cwd" % task.tid) if dirfd == _AT_FDCWD else task.fd_stat(dirfd)
    return status.st_dev, status.st_ino


def _excepted(directory):
    """The except_bits of the mount points in a directory."""
    bits = 0
    for name in directory.mounts or ():
        bits |= tlb.except_bit(name)
    return bits


def _changes_unseen(directory):
    """Whether guests make names in a directory by themselves where they name it by a text that has an entry."""
    native = directory.fs.native(directory)
    return native is not None and native[1] and not directory.mounts


class Filling:
    """`tlb`: the tlb.Tlb; `recorded`: the Recorded of the same machine, whose namespace is `ns`."""

    def __init__(self, cache, recorded, ns):
        self.tlb, self.recorded, self.ns = cache, recorded, ns
        self.plain = Caller(uid=os.getuid(), gid=os.getgid(), groups=tuple(os.getgroups()))
        self._starts = {}                  # (st_dev, st_ino) of a starting point -> generation that its entry was made in
        self._lately = {}                  # what missed lately, see _just_put -> how often

    def fill(self, task, number, regs):
        """A call of a patched site, one of FILLED."""
        try:
            if number == _GETCWD:
                self._put_cwd(task)
            elif number in _OF_DESCRIPTOR:
                self._put_descriptor(task, Int(task, regs[RDI]))
            else:
                for dirfd, path in _NAMES[number]:
                    text = task.read_path(regs[path])
                    fd = _AT_FDCWD if dirfd is None else Int(task, regs[dirfd])
                    if text:
                        if not self._just_put(task, number, text):
                            self._put(task, fd, text, number not in CHANGING)
                    elif number == _NEWFSTATAT:
                        self._put_descriptor(task, fd)
        except OSError:
            return

    def _just_put(self, task, number, text):
        """Whether the entries of an absolute name are there: it misses since it can't be served, as that of a device. Now and then
        they are made all the same: others may have taken their places."""
        if text[:1] != b"/":
            return False
        lately = self._lately
        key = number, text, task.creds.virtual, task.creds.fsuid, self.tlb.generation, self.tlb.names
        count = lately.get(key, 0)
        if len(lately) >= _LATELY:
            lately.clear()
        lately[key] = count + 1
        return count >= 2 and count % _AGAIN != 0

    def _put_cwd(self, task):
        path = task.caller.cwd
        node = self.ns.at(path)
        if node.kind != _S_IFDIR or not self.ns.has_one_name(node.mount):
            return
        status = os.stat(b"/proc/%d/cwd" % task.tid)
        self.tlb.put(tlb.CWD, (status.st_dev, status.st_ino), b"", tlb.PURE, 0, path)

    def _put_descriptor(self, task, fd):
        node = self.ns.named(task.fd_link(fd))
        if node is None:
            return
        if node.kind == _S_IFDIR:
            status = task.fd_stat(fd)
            self._put_open_directory(node, (status.st_dev, status.st_ino))
        elif node.kind and node.mount.fs.cached:
            self.recorded.missed(node, node.mount.fs.recorded_file(node))

    def _put(self, task, dirfd, path, whole):
        """The entries of what `path` leads through; whole: of all of it too, where its directory's does not do."""
        head, slash, name = path.rpartition(b"/")
        if name in (b"", b".", b"..") or name.startswith(b".wh."):
            if path == b".":
                self._put_open_directory(self.ns.at(task.directory(dirfd)), _start(task, dirfd))
            elif name == b"." and head.rpartition(b"/")[2] not in (b"", b".", b".."):
                self._put_dotted(task, dirfd, head, whole)
            return
        base, start = (0, 0), None
        if path[:1] != b"/":
            start = task.directory(dirfd)
            base = _start(task, dirfd)
            if head:
                self._put_start(start, base)
        directory = self.ns.known_directory(task.caller, path, start)
        if directory is None:
            if whole:
                self._put_missing(task, path, base, start)
            return
        for_root = self._for_root(task, path, start)
        pure = self._put_directory(directory, base, head, for_root)
        if pure and head == directory.path and not directory.fs.recorded_below(directory):
            self._put_above(directory, for_root)
        if pure and directory.mounts and tlb.except_bit(name) & _excepted(directory):
            pure = False
        node = directory.fixed.get(name)
        if whole and directory.fs.cached:
            node = node or directory.fs.lookup(task.caller, directory, name)
            if pure and node.kind:
                self._put_inode(directory, node)
            self._put_name(task, directory, (base, path, start), node, pure, for_root)
        elif not pure:
            node = node or directory.fs.lookup(task.caller, directory, name)
            if node.mount.fs.unchanging(node):
                writable = tlb.WRITABLE if node.kind == _S_IFCHR else 0
                self.tlb.put(tlb.NAME, base, path, tlb.FILE, writable | for_root, node.host)

    def _put_dotted(self, task, dirfd, path, whole):
        """The entries of a name to which "/." was added: what `resolve` keeps is of the name without it."""
        try:
            self.ns.resolve(task.caller, path, None if path[:1] == b"/" else task.directory(dirfd))
        finally:
            self._put(task, dirfd, path, whole)

    def _put_missing(self, task, path, base, start):
        """The entry of a name that leads through a missing directory, where only the supervisor could make that."""
        head = path.rpartition(b"/")[0]
        while head:
            try:
                node = self.ns.resolve(task.caller, head, start)
            except FileNotFoundError:
                head = head.rpartition(b"/")[0]
                continue
            directory = node.parent
            if not node.kind and directory.fs.cached and node.name not in directory.given_out \
                    and not _changes_unseen(directory):
                self.tlb.put(tlb.NAME, base, path, tlb.ABSENT, self._for_root(task, head, start), b"")
            return

    def _put_start(self, path, base):
        """The entry of the directory that a name starts from: it may serve all that is below."""
        if self._starts.get(base) != self.tlb.generation:
            if len(self._starts) > _STARTS:
                self._starts.clear()
            self._starts[base] = self.tlb.generation
            self._put_open_directory(self.ns.at(path), base)

    def _put_above(self, directory, for_root):
        """The entry of the topmost directory on the way that serves all that is below it."""
        top = None
        above = directory.parent
        while above.mount is directory.mount and not above.mounts and above.fs.native(above) is not None \
                and self.ns.nothing_below(above) and above.parent is not above:
            top, above = above, above.parent
        if top is not None:
            self._put_directory(top, (0, 0), top.path, for_root)

    def _for_root(self, task, path, start):
        """FOR_ROOT, or 0 when plain processes may go the way as well."""
        if task.caller.virtual and self.plain.uid and not self.ns.plain_may_search(task.caller, path, start):
            return tlb.FOR_ROOT
        return 0

    def _put_open_directory(self, node, key):
        """The entry of a directory that guests have open; `key`: its (st_dev, st_ino)."""
        directory = self.ns.directory(KERNEL, node)
        self._put_directory(directory, key, b"", self._search_for_root(directory))

    def _put_own_name(self, node, base, text, flags):
        """The entry that says of a name in a merged directory that it is a directory's, and what that looks like if it is
        merged itself."""
        directory = self.ns.directory(KERNEL, node)
        upper, identity = b"", (0, 0)
        if directory.upper is not None and directory.lowers:
            lower = os.lstat(directory.node.host)
            upper, identity = directory.upper, (lower.st_dev, lower.st_ino)
            flags |= 0 if node.mount.readonly else tlb.WRITABLE
        self.tlb.put(tlb.NAME, base, text, tlb.PLACE, flags, upper, identity)

    def _put_place(self, node, base, text, for_root):
        """The entry of a directory by its whole name, and what is recorded of it."""
        directory = self.ns.directory(KERNEL, node)
        for_root = for_root & tlb.FOR_ROOT | self._search_for_root(directory)
        if self._put_directory(directory, base, text, for_root) and directory.fs.cached:
            self.recorded.missed(directory.node, directory.fs.recorded_file(directory.node))

    def _search_for_root(self, directory):
        """FOR_ROOT, or 0 when plain processes may search a directory themselves."""
        try:
            directory.fs.search(self.plain, directory)
        except OSError:
            return tlb.FOR_ROOT
        return 0

    def _put_inode(self, directory, node):
        """What is recorded of an existing file in a directory that is `native`."""
        of_layer = directory.fs.recorded_below(directory)
        key = self.recorded.missed(node, of_layer)
        if of_layer and node.kind == _S_IFDIR:
            self._put_open_directory(node, key)     # whoever looks at it will open it next
        elif of_layer:
            self.recorded.missed_in(directory)

    def _put_directory(self, directory, base, text, for_root):
        """The entry of a directory; whether names in it need none of their own. for_root: the flag or 0."""
        native = directory.fs.native(directory)
        if native is not None and native[1] and directory.mounts:
            native = None
        if native is not None and not text and base != (0, 0):
            status = os.lstat(native[0])   # a descriptor may be of a lower directory that was renamed since
            if (status.st_dev, status.st_ino) != base:
                native = None
        if native is None:
            self.tlb.put(tlb.DIRECTORY, base, text, tlb.MERGED, 0, b"")
            return False
        host, writable, verify = native
        flags = for_root | (tlb.INSIDE if directory.upper is not None and directory.lowers else 0)
        excepted = _excepted(directory)
        if not excepted and directory.fs.plain_directory(directory):
            flags |= tlb.LISTABLE
        if writable:
            flags |= tlb.WRITABLE
            if self.recorded.records and self.ns.ownership.of(os.lstat(host)) is not None:
                flags |= tlb.OWNED
        if directory.fs.recorded_below(directory):
            flags |= tlb.RECORDED
        elif self.ns.nothing_below(directory):
            flags |= tlb.DEEP
        identity = (0, 0)
        if verify:
            status = os.lstat(host)
            flags, identity = flags | tlb.VERIFY, (status.st_dev, status.st_ino)
        if flags & tlb.RECORDED and not text and not excepted and self.recorded.inodes.put_directory(base, self.tlb.generation, flags):
            return True
        self.tlb.put(tlb.DIRECTORY, base, text, tlb.PURE, flags, host, identity, directory.mount.number,
                     excepted)
        return True

    def put_library(self, task, path, host, copy):
        """The entry for dynamic loaders: of a file of the image that everybody may read."""
        node = self.ns.resolve(task.caller, path)
        if node.host != host or node.upper or not node.mount.fs.cached:
            return
        try:
            self.ns.access(self.plain, node, os.R_OK)
        except OSError:
            return
        self.tlb.put(tlb.LIBRARY, (0, 0), path, tlb.FILE, self._for_root(task, path, None), copy)

    def _put_name(self, task, directory, key, node, pure, flags):
        """The entry of a whole name: of a file, a directory or nothing in a merged directory, of a file behind a symlink."""
        base, path, start = key
        name = node.name
        if node.kind == _S_IFLNK:
            node = self.ns.resolve(task.caller, path, start)
            flags |= tlb.LINK
        elif pure:
            return
        elif node.kind == _S_IFDIR:
            self._put_own_name(node, base, path, flags)
        if node.kind == _S_IFDIR:
            self._put_place(node, base, path, flags)
        if node.kind == _S_IFREG and node.mount.fs.cached:
            of_layer = node.mount.fs.recorded_file(node)
            self.recorded.missed(node, of_layer)
            self.tlb.put(tlb.NAME, base, path, tlb.FILE, flags | (tlb.RECORDED if of_layer else 0), node.host)
        elif not node.kind and not pure and name not in directory.given_out and not _changes_unseen(directory):
            self.tlb.put(tlb.NAME, base, path, tlb.ABSENT, flags, b"")
