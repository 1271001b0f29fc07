"""The objects of name resolution: nodes, directories, mounts and attributes."""

import os
from stat import S_IFDIR

#: `Node.slash`: how the name ended. All but 0 mean that it must be a directory.
SLASH = 1      # in "/"
DOT = 2        # in "."
DOTDOT = 4     # in ".."
VIA_LINK = 8   # in "/", and the last component is a symlink that was followed only because of it

MAX_GIVEN_OUT = 5000
_MAX_TEXTS = 100


class Node:
    """One resolved name: a file, or the place where one may be made (`kind` 0).

    path    canonical guest path
    host    the file as it is now on the host: upper copy, else lower; of a directory in several layers the topmost
            *lower* one, so that its inode number stays. The host path of a missing file is only a hint.
    kind    S_IFMT bits, 0 when missing
    mount   the `Mount` it is on
    slash   how the name ended: 0, SLASH, DOT, DOTDOT, VIA_LINK
    parent  the `Directory` it was found in; for the root of a mount the directory that holds the mount point
    name    last component of `path`
    dir     its `Directory`, once one was made (see `Filesystem.directory`)
    upper   the file is in the writable layer
    st      os.stat_result of the look-up, or None. Only for the call that looked it up: it isn't refreshed
    magic   for file systems with magic links to use
    target  text of a symlink that can't change
    program what exec has found in a file that can't change, or None
    """

    __slots__ = ("path", "host", "kind", "mount", "slash", "parent", "name", "dir", "upper", "st", "magic", "target",
                 "program")

    def __init__(self, parent, name, host, kind, upper=False, st=None, magic=None):
        self.parent = parent
        self.name = name
        self.path = parent.prefix + name
        self.host = host
        self.kind = kind
        self.mount = parent.mount
        self.slash = 0
        self.dir = None
        self.upper = upper
        self.st = st
        self.magic = magic
        self.target = self.program = None

    @classmethod
    def at(cls, path, host, kind, mount, parent=None, name=b""):
        """A node that was not found by name in a directory: the root of a mount, the end of a magic link."""
        self = cls.__new__(cls)
        self.path, self.host, self.kind, self.mount = path, host, kind, mount
        self.parent, self.name = parent, name
        self.slash, self.dir, self.upper, self.st, self.magic = 0, None, False, None, None
        self.target = self.program = None
        return self

    def ending(self, slash):
        """The same node, named with `slash` at the end. Nodes are shared, so this is a copy."""
        copy = Node.__new__(Node)
        for slot in Node.__slots__:
            setattr(copy, slot, getattr(self, slot))
        copy.slash = slash
        return copy

    def __repr__(self):
        return f"<Node {self.path!r} {self.kind:o} host={self.host!r}>"


class _EveryName:
    """A set of names that holds all of them."""

    def __contains__(self, name):
        return True

    def add(self, name):
        """It is in already."""


class Directory:
    """A guest directory, kept as long as nobody renames or removes it. Guests can't do that behind our back.

    path, prefix  canonical guest path, and the same with "/" at the end
    parent        the `Directory` above (of a mount's root: the one that holds the mount point; of "/": itself)
    node          the `Node` that stands for it
    fixed         name -> Node of children that can't change behind our back: roots of mounts, and what the
                  file system puts there (an overlay: directories, and everything in a directory without upper part)
    mounts        name -> Mount of mount points in it, or None
    listing       the cookies of its entries (`listing.Listing`), or None
    upper         host directory in the writable layer, or None
    lowers        host directories in the read-only layers, topmost first, cut at whiteouts and opaque directories
    whiteouts     names hidden by whiteouts in `upper`
    below         cached lower children (name -> Node) of a directory that has an upper part
    rel           path below the root of its file system, without "/" at the ends
    data          for the file system to use
    given_out     names that guests were told they may create natively: whether they exist is never cached
    """

    __slots__ = ("path", "prefix", "fs", "mount", "parent", "name", "node", "fixed", "mounts", "listing",
                 "upper", "lowers", "whiteouts", "below", "rel", "data", "texts", "given_out")

    def __init__(self, fs, mount, path, parent, name, node):
        self.fs = fs
        self.mount = mount
        self.path = path
        self.prefix = path if path == b"/" else path + b"/"
        self.parent = parent if parent is not None else self
        self.name = name
        self.node = node
        self.fixed = {}
        self.mounts = None
        self.listing = None
        self.upper = None
        self.lowers = ()
        self.whiteouts = None
        self.below = None
        self.rel = b""
        self.data = None
        self.texts = set()
        self.given_out = set()
        node.dir = self

    @classmethod
    def of(cls, fs, node):
        """A new directory for `node`, an entry of a directory or the root of a mount."""
        return cls(fs, node.mount, node.path, node.parent, node.name, node)

    @property
    def host(self):
        """Host directory that a guest gets when it opens this one."""
        return self.node.host

    def known_as(self, text):
        """A cache of texts is about to hold it under this one."""
        if self.texts is not None:
            self.texts.add(text)
            if len(self.texts) > _MAX_TEXTS:
                self.texts = None

    def give_out(self, name):
        """A guest is about to be told that it may create `name` natively."""
        self.given_out.add(name)
        if self.given_out.__class__ is set and len(self.given_out) > MAX_GIVEN_OUT:
            self.given_out = _EveryName()  # a directory of temporary files: their names are without end

    def changed(self):
        """Forget the listing: entries were made or removed. Cookies stay."""
        if self.listing is not None:
            self.listing.snapshot = None
        if self.lowers or self.mounts or self.whiteouts:
            self.fs.namespace.cache.names_changed()

    def __repr__(self):
        return f"<Directory {self.path!r} upper={self.upper!r} lowers={self.lowers!r}>"


class Mount:
    """A file system at a place in the guest's tree. A `soft` one goes away when the guest removes its mount point; one
    that is to be `copied`, a file, also when the guest changes it: then a copy takes its place."""

    __slots__ = ("path", "fs", "soft", "copied", "node", "parent", "number")

    def __init__(self, path, fs, soft=False, parent=None, copied=False):
        self.path = path
        self.fs = fs
        self.soft = soft
        self.copied = copied
        self.parent = parent     # Directory that holds the mount point; None for "/"
        self.node = None         # root node
        self.number = 0          # no other mount of the namespace has it

    @property
    def readonly(self):
        return self.fs.readonly

    def __repr__(self):
        return f"<Mount {self.path!r} {self.fs!r}>"


class Attributes:
    """What stat(2) shows, with the names of os.stat_result."""

    __slots__ = ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size", "st_blksize", "st_blocks",
                 "st_rdev", "st_atime_ns", "st_mtime_ns", "st_ctime_ns")

    def __init__(self, st):
        self.st_mode = st.st_mode
        self.st_ino = st.st_ino
        self.st_dev = st.st_dev
        self.st_nlink = st.st_nlink
        self.st_uid = st.st_uid
        self.st_gid = st.st_gid
        self.st_size = st.st_size
        self.st_blksize = st.st_blksize
        self.st_blocks = st.st_blocks
        self.st_rdev = st.st_rdev
        self.st_atime_ns = st.st_atime_ns
        self.st_mtime_ns = st.st_mtime_ns
        self.st_ctime_ns = st.st_ctime_ns

    def __repr__(self):
        return "Attributes(" + ", ".join(f"{s}={getattr(self, s)!r}" for s in Attributes.__slots__) + ")"


def fail(code, name=None):
    """Raise the OSError of an errno."""
    raise OSError(code, os.strerror(code), name)


def is_directory(node):
    return node.kind == S_IFDIR
