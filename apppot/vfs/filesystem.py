"""What a file system must answer: the base class of overlay, hostfs and procfs."""

from errno import EACCES, EOPNOTSUPP, EPERM
import os
from stat import S_IFDIR, S_IFMT

from apppot.vfs.listing import scan
from apppot.vfs.node import Directory, Node, fail
from apppot.vfs.ownership import permitted


class Filesystem:
    """A tree of files at a mount. `Namespace` checks what is common to all and then calls these.

    The common checks are: names that end in "/", "." or ".."; mount points (EBUSY); two mounts (EXDEV); `readonly`
    (EROFS); existing and missing names. What is left to a file system is its files and their permissions.

    A subclass must give `lookup`; the rest has answers that suit a read-only tree whose nodes are files
    of the host. Subclasses may override everything.

    Magic links: `lookup` returns a node of kind S_IFLNK; when the resolver must go through it, it calls `follow`, and
    a Node that returns (instead of a text) is where the walk goes on (a directory), or ends.
    """

    readonly = True
    fstype = b"none"         # as in /proc/mounts
    source = b"none"         # what is mounted, as in /proc/mounts
    host = None              # the host directory it shows; None: the one with the mount's own path
    namespace = None         # set when mounted
    left_out = frozenset()   # host paths below its roots that this file system does not show
    concealed = frozenset()  # the same with those that no guest may see anywhere; set when mounted
    changeable = None        # host directory whose regular files are changed where they are, or None
    cached = False           # directory look-ups through it may be kept: only we change directories and symlinks

    def roots(self):
        """Pairs (host directory or file, guest path below the mount) for the way back from host to guest paths."""
        return ()

    # Look-up

    def attach(self, mount):
        """The root node of this file system at `mount`; its `dir` is set when it is a directory.

        """
        host = self.host if self.host is not None else mount.path
        kind = S_IFMT(os.stat(host).st_mode)
        node = Node.at(mount.path, host, kind, mount, mount.parent, mount.path.rpartition(b"/")[2])
        if kind == S_IFDIR:
            Directory.of(self, node)
        return node

    def _node(self, directory, name, host, kind):
        """What `lookup` returns for an entry."""
        return Node(directory, name, host, kind)

    def _same(self, node, kind):
        """The node again, as something else: where a magic link ends that has no other name."""
        end = node.ending(0)
        end.kind = kind
        return end

    def lookup(self, caller, directory, name):
        """The node `name` in `directory`, of kind 0 when there is none.

        `directory.fixed` was already consulted. A file system may put nodes there that can never change.
        """
        raise NotImplementedError

    def copied_from(self, node, host):
        """Whether an existing file took the place of the file `host` when that was to be written to."""
        return False

    def directory(self, caller, node):
        """The `Directory` of a node of kind S_IFDIR."""
        if node.dir is None:
            Directory.of(self, node)
        return node.dir

    def follow(self, caller, node):
        """Where a symlink leads: its text (bytes), or for a magic link a Node to jump to."""
        return os.readlink(node.host)

    def search(self, caller, directory):
        """Raise EACCES when the caller may not look up names in `directory`.

        Called where the host's kernel can't: for ".." and ".", for callers whose rights it doesn't know, and when
        there are ownership records.
        """

    def may_change(self, caller, directory, node=None):
        """Raise unless the caller may make names in `directory`, and remove `node` from it."""

    # Reading

    def open(self, caller, node, flags, mode):
        """The host path the guest opens with the same flags. The node exists, or O_CREAT is in `flags`."""
        if not node.kind:
            fail(EACCES)
        return node.host

    def by_hand(self, caller, node, flags):
        """Whether the kernel's wall can't grant the opening of an existing file by itself: the supervisor opens it."""
        return False

    def content(self, node):
        """The host path of an existing file, for the supervisor to read: with all its contents there."""
        return node.host

    def whole(self, node):
        """Whether a guest that knows the host path of an existing file could read it by itself."""
        return True

    def stat(self, caller, node):
        return self.namespace.attributes(caller, os.lstat(node.host))

    def plain_stat(self, caller, node):
        """Whether the host's own stat of node.host shows what `stat` does."""
        return False

    def access(self, caller, node, amode):
        if amode and not permitted(caller, self.stat(caller, node), amode):
            fail(EACCES)

    def readlink(self, caller, node):
        return os.readlink(node.host)

    def entries(self, caller, directory):
        """The names in a directory: a list of (name, ino, d_type), without ".", ".." and mount points."""
        found = []
        for name, kind in self.names(caller, directory):
            try:
                ino = os.lstat(directory.host + b"/" + name).st_ino
            except OSError:
                ino = 1
            found.append((name, ino, kind >> 12))
        return found

    def names(self, caller, directory):
        """The same as pairs (name, S_IFMT bits), for file systems that don't care for inode numbers."""
        return [(name, kind << 12) for name, ino, kind in scan(directory.host)]

    def plain_directory(self, directory):
        """Whether the host's own getdents of the directory shows what `entries` does (mount points apart)."""
        return False

    def getxattr(self, caller, node, name):
        fail(EOPNOTSUPP)

    def listxattr(self, caller, node):
        return []

    # Changing. Called only when `readonly` is false

    def create(self, caller, node):
        """Prepare the place of a missing node; the host path where the guest may create it natively."""
        fail(EACCES)

    def mkdir(self, caller, node, mode):
        fail(EPERM)

    def mknod(self, caller, node, mode, dev):
        fail(EPERM)

    def symlink(self, caller, node, target):
        fail(EPERM)

    def unlink(self, caller, node):
        fail(EPERM)

    def rmdir(self, caller, node):
        fail(EPERM)

    def rename(self, caller, old, new, flags):
        fail(EPERM)

    def link(self, caller, old, new):
        fail(EPERM)

    def chmod(self, caller, node, mode):
        fail(EPERM)

    def chown(self, caller, node, uid, gid):
        fail(EPERM)

    def utime(self, caller, node, atime_ns, mtime_ns):
        fail(EPERM)

    def truncate(self, caller, node, size):
        fail(EPERM)

    def setxattr(self, caller, node, name, value, flags):
        fail(EOPNOTSUPP)

    def removexattr(self, caller, node, name):
        fail(EOPNOTSUPP)

    def long_work(self, node, flags):
        """See Namespace.long_work."""
        return None

    def watched(self, caller, node):
        """The host path where what happens to a node happens."""
        return node.host

    def native(self, directory):
        """How the host's kernel may answer for names in a directory by itself: (host directory, writable, verify).

        None: it may not. `verify`: others may replace the directory or what leads to it behind our back.
        """
        return None

    def recorded_below(self, directory):
        """Whether more is known of the names in a `native` directory than what the disk says, once they are looked up."""
        return False

    def recorded_file(self, node):
        """The same for an existing file."""
        return False

    def unchanging(self, node):
        """Whether a file, which is none of a directory's that is `native`, stays one of the host's that everybody opens alike."""
        return False

    def close(self):
        """The machine ends: close descriptors."""
