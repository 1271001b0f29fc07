"""/proc inside a machine: the host's, with only the machine's processes and the guest's names.

Most files are the host's own. What names files, mounts or ids is generated: `open` then answers with a fresh file in
`scratch` that holds the guest's text, which the supervisor deletes with `forget` once the guest has opened it.
"""

import itertools
import os
from errno import EACCES, ENOENT, EPERM, ESRCH
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from apppot.vfs import nameless, proc_text
from apppot.vfs.filesystem import Filesystem
from apppot.vfs.listing import scan
from apppot.vfs.node import Attributes, Directory, Node, fail

HOST = b"/proc"
O_PATH = 0o10000000
DT_DIR = 4
REMEMBERED = 1000  # names of generated files that may still be open

MAGIC = {b"exe", b"cwd", b"root"}       # links of a process that name a file
MAGIC_DIRECTORIES = {b"fd", b"map_files"}  # directories full of such links
MAPPINGS = {b"maps", b"smaps", b"smaps_rollup"}
MOUNT_TABLES = {b"mounts", b"mountinfo", b"mountstats"}
GENERATED = MAPPINGS | MOUNT_TABLES | {b"numa_maps", b"status", b"stat", b"auxv"}
# What reaches the whole computer. Natively only root gets at these, and a supervisor may run as root.
REFUSED = {b"kcore", b"kmem", b"kmsg", b"sysrq-trigger", b"kpagecount", b"kpageflags", b"kpagecgroup"}
# What a task may write of its own or of others in the machine.
WRITABLE = {b"comm", b"oom_score_adj", b"oom_adj", b"timerslack_ns", b"coredump_filter", b"clear_refs", b"autogroup", b"sched",
            b"loginuid", b"attr/current", b"attr/exec", b"attr/fscreate", b"attr/keycreate", b"attr/sockcreate"}
HOSTNAME = b"sys/kernel/hostname"
# What a machine with `--pid host` sees of the computer's other processes: what natively everybody may read, and no link.
OF_OTHERS = {b"stat", b"status", b"cmdline", b"comm"}


class Processes:
    """What this file system wants to know of the machine's processes."""

    hostname = None  # bytes; None: the host's own

    def has_process(self, tgid): ...
    def has_task(self, tid): ...
    def stopped(self, tid): """Has job control stopped it?"""
    def processes(self): """The tgids."""
    def exe(self, tgid): """Guest path, or None."""
    def cwd(self, tgid): ...
    def root(self, tgid): ...
    def credentials(self, tgid): """Object with ruid, euid, suid, fsuid, rgid, … groups, and virtual."""
    def mounts(self): """Objects with path, fstype, source, options: what the mount tables show."""


class Name:
    """A path below /proc, taken apart: `PID/task/TID/fd/3` is (PID, TID, fd/3)."""

    __slots__ = ("pid", "tid", "rest")

    def __init__(self, path):
        first, _, rest = path.partition(b"/")
        self.pid = number(first)
        self.tid = None
        if self.pid is None:
            rest = path
        elif rest.startswith(b"task/"):
            second, _, below = rest[5:].partition(b"/")
            self.tid = number(second)
            if self.tid is not None:
                rest = below
        self.rest = rest

    @property
    def task(self):
        """The task whose files these are."""
        return self.tid or self.pid

    @property
    def magic(self):
        """Is it a link to a file that the kernel follows without looking at its text?"""
        if self.pid is None:
            return False
        directory, _, entry = self.rest.rpartition(b"/")
        return self.rest in MAGIC or (directory in MAGIC_DIRECTORIES and entry != b"")


def number(name):
    """A process id as the kernel reads it in a name: no sign, no leading zero."""
    return int(name) if name.isdigit() and not name.startswith(b"0") else None


class ProcFS(Filesystem):
    """The file system mounted on /proc.

    processes: the machine's processes.
    scratch: a directory that only this supervisor uses, for generated texts.
    hidden: host paths of the stub and the window, which no guest sees in its maps.
    own_filters: function from a tid to the number of seccomp filters that task has from the supervisor.
    others: whether the computer's other processes are seen, too, as far as OF_OTHERS.
    """

    name = b"proc"
    source = b"proc"
    readonly = False  # a task writes its comm, oom_score_adj and timer slack here

    def __init__(self, processes, scratch, hidden=(), own_filters=lambda tid: 1, others=False):
        self.processes = processes
        self.others = others
        self.scratch = scratch
        self.hidden_mappings = frozenset(hidden)
        self.own_filters = own_filters
        self._serial = itertools.count(1)
        self._generated = {}  # host path in scratch -> guest path

    def roots(self):
        return ((HOST, b""),)

    # --- names --------------------------------------------------------------------------------------------------------

    def attach(self, mount):
        node = Node.at(mount.path, HOST, S_IFDIR, mount, mount.parent, mount.path.rpartition(b"/")[2])
        Directory.of(self, node)
        return node

    def lookup(self, caller, directory, name):
        if Name(self._below(directory.node.host)).magic:
            fail(EACCES)  # an inherited descriptor of a directory that is no part of the machine
        host = directory.node.host + b"/" + name
        path = self._below(host)
        return Node(directory, name, host, self._kind(path), magic=Name(path).magic or None)

    @staticmethod
    def _below(host):
        """Path relative to /proc. The host's /proc has the same names as the guest's."""
        return host[len(HOST) + 1:]

    def _other(self, name):
        """Is it of a process that does not belong to the machine?"""
        return name.pid is not None and not (self.processes.has_process(name.pid) or self.processes.has_task(name.pid))

    def _shown(self, name):
        if self._other(name):
            return self.others and name.tid is None and (not name.rest or name.rest in OF_OTHERS)
        return name.tid is None or self.processes.has_task(name.tid)

    def _kind(self, path):
        """The file type of a path below /proc; 0 for what the machine has not."""
        name = Name(path)
        if not self._shown(name):
            return 0
        try:
            return S_IFMT(os.lstat(b"/proc/" + path).st_mode)
        except OSError as error:
            if error.errno in (ENOENT, ESRCH):
                return 0
            if error.errno == EACCES and name.magic:
                return S_IFLNK  # a process that forbids to be looked at may still look at itself
            raise

    def entries(self, caller, directory):
        found = scan(directory.node.host)
        if directory.node.host != HOST:
            other = self._other(Name(self._below(directory.node.host)))
            return [entry for entry in found if entry[0] in OF_OTHERS] if other else found
        if self.others:
            return found
        found = [entry for entry in found if number(entry[0]) is None]
        return found + [(b"%d" % tgid, tgid, DT_DIR) for tgid in self.processes.processes()]

    def plain_directory(self, directory):
        return directory.node.host != HOST and not self._other(Name(self._below(directory.node.host)))

    def unchanging(self, node):
        path = self._below(node.host)
        return node.kind == S_IFREG and b"/" not in path and path not in REFUSED

    # --- links --------------------------------------------------------------------------------------------------------

    def readlink(self, caller, node):
        path = self._below(node.host)
        if path == b"self":
            return b"%d" % caller.tgid
        if path == b"thread-self":
            return b"%d/task/%d" % (caller.tgid, caller.tid)
        name = Name(path)
        if not name.magic:
            return os.readlink(node.host)
        if name.rest in MAGIC:
            try:
                target = self._named(name)
            except FileNotFoundError:
                if name.rest != b"cwd":
                    raise  # else a removed directory, which keeps its old name and "(deleted)"
            else:
                gone = b"" if self.namespace.at(target).kind else proc_text.DELETED
                return self._seen(caller, target) + gone
        text = os.readlink(node.host)
        return self.guest_name(text) or proc_text.link(text, self._translator(caller))

    def follow(self, caller, node):
        name = Name(self._below(node.host))
        if not name.magic:
            return self.readlink(caller, node)
        if name.rest not in MAGIC:
            return self._opened(node)
        target = self.namespace.at(self._named(name))
        if not target.kind:
            fail(ENOENT)
        return target

    def _named(self, name):
        """Guest path that exe, cwd or root of a process leads to."""
        known = self.processes
        path = {b"exe": known.exe, b"cwd": known.cwd, b"root": known.root}[name.rest](self._tgid(name))
        if path is None:
            fail(ENOENT)
        return path

    def _tgid(self, name):
        """The process of /proc/TID, which exists for every thread though no listing shows it."""
        if self.processes.has_process(name.pid):
            return name.pid
        with open(b"%s/%d/status" % (HOST, name.pid), "rb") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(b"Tgid:"))

    def _opened(self, node):
        """The file behind /proc/PID/fd/N: its guest node if that names the same file, else the host's link itself.

        Through the link, the guest opens again what is open, as natively: a deleted file, a pipe, a terminal.
        """
        try:
            here = os.stat(node.host)
            host = os.readlink(node.host)
        except PermissionError:
            return self._itself(node, S_IFREG)
        named = self.namespace.named(host)
        if named is not None and named.kind not in (0, S_IFLNK):
            if named.kind == S_IFDIR == S_IFMT(here.st_mode):
                return named  # perhaps another layer's directory of the same name
            if os.path.samestat(os.lstat(named.host), here):
                return named
        return self._itself(node, S_IFMT(here.st_mode))

    @staticmethod
    def _itself(node, kind):
        return Node.at(node.path, node.host, kind, node.mount, node.parent, node.name)

    def through(self, node):
        """Is the node what a magic link leads to, so that the host must follow the link for it?"""
        return node.magic is None and Name(self._below(node.host)).magic

    def _translator(self, caller):
        """The function from host to guest paths for one text. It knows files that are gone from the guest's tree only."""
        known = {}

        def guest(host):
            if host not in known:
                path = self.namespace.guest_path(host)
                if path is not None:
                    named = self.namespace.named(host)
                    gone = (named is None or not named.kind) and os.path.lexists(host)
                    path = self._seen(caller, path) + (proc_text.DELETED if gone else b"")
                known[host] = path
            return known[host]

        return guest

    @staticmethod
    def _seen(caller, path):
        """A guest path as a caller with a root of its own sees it."""
        root = caller.root.rstrip(b"/")
        if not root or path == root or path.startswith(root + b"/"):
            return path[len(root):] or b"/"
        return proc_text.UNREACHABLE + path

    # --- attributes ---------------------------------------------------------------------------------------------------

    def stat(self, caller, node):
        through = self.through(node)
        shown = self.namespace.attributes(caller, os.stat(node.host) if through else os.lstat(node.host))
        if not through:
            who = self._owner(Name(self._below(node.host)))
            if who is not None and who.virtual:
                shown = Attributes(shown)
                shown.st_uid, shown.st_gid = who.euid, who.egid
        return shown

    def plain_stat(self, caller, node):
        if caller.virtual or self.through(node):
            return False
        who = self._owner(Name(self._below(node.host)))
        return who is None or not who.virtual

    def _owner(self, name):
        """Credentials of the machine's process that it is of, else None."""
        if name.pid is None or self._other(name):
            return None
        return self.processes.credentials(self._tgid(name))

    def access(self, caller, node, amode):
        name = Name(self._below(node.host))
        if name.pid is None:
            if amode & os.W_OK or (amode and name.rest in REFUSED):
                fail(EACCES)
            return
        super().access(caller, node, amode)

    def chmod(self, caller, node, mode):
        with self._held(node) as path:
            os.chmod(path, mode)

    def utime(self, caller, node, atime_ns, mtime_ns):
        with self._held(node) as path:
            was = os.stat(path)
            os.utime(path, ns=(was.st_atime_ns if atime_ns is None else atime_ns,
                               was.st_mtime_ns if mtime_ns is None else mtime_ns))

    def truncate(self, caller, node, size):
        with self._held(node) as path:
            os.truncate(path, size)

    def _held(self, node):
        """Files of /proc can't be changed; an open file without a name, through its link, can."""
        if not self.through(node):
            fail(EPERM)
        return nameless.pinned(node.host)

    def create(self, caller, node):
        fail(ENOENT)

    def mkdir(self, caller, node, mode):
        fail(ENOENT)

    def mknod(self, caller, node, mode, dev):
        fail(ENOENT)

    def symlink(self, caller, node, target):
        fail(ENOENT)

    # --- texts --------------------------------------------------------------------------------------------------------

    def open(self, caller, node, flags, mode):
        path = self._below(node.host)
        if not node.kind:
            fail(ENOENT)
        writing = flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC
        name = Name(path)
        if name.pid is None and path in REFUSED:
            fail(EPERM)
        if writing and (name.pid is None or self._other(name)):
            fail(EACCES)
        text = None if flags & O_PATH or node.kind != S_IFREG else self.text(caller, node)
        if text is None:
            return node.host
        if writing:
            fail(EACCES)
        return self._file(node.path, text)

    def by_hand(self, caller, node, flags):
        """Rules of Landlock can't tell the files of the machine's processes from those of others, nor from /proc/sys."""
        name = Name(self._below(node.host))
        if flags & os.O_ACCMODE == os.O_RDONLY or flags & O_PATH or name.pid is None or self._other(name):
            return False
        return name.rest in WRITABLE or name.rest == b"mem" and self._tgid(name) == caller.tgid

    def text(self, caller, node):
        """What the file says in the guest, None if that is what the host's file says."""
        path = self._below(node.host)
        if path == HOSTNAME:
            return self.processes.hostname + b"\n" if self.processes.hostname else None
        name = Name(path)
        if name.pid is None or name.rest not in GENERATED or self._other(name):
            return None
        if name.rest in MOUNT_TABLES:
            return getattr(proc_text, name.rest.decode())(self.processes.mounts())
        if name.rest == b"stat":
            # A task reads its own state while it runs; only job control's stops look different from outside.
            if name.task == caller.tid or not self.processes.stopped(name.task):
                return None
            return proc_text.stopped_stat(self._host_text(node))
        text = self._host_text(node)
        if name.rest == b"auxv":
            return self._auxv(name.pid, text)
        if name.rest == b"status":
            return proc_text.status(text, self.processes.credentials(self._tgid(name)),
                                    self.processes.stopped(name.task), self.own_filters(name.task))
        if name.rest == b"numa_maps":
            return proc_text.numa_maps(text, self._translator(caller), self.hidden_mappings)
        return proc_text.maps(text, self._translator(caller), self.hidden_mappings)

    @staticmethod
    def _auxv(pid, kept):
        """The vector as the program found it on its stack: the one that the kernel keeps is the stub's."""
        with open(b"/proc/%d/stat" % pid, "rb") as file:
            start = int(file.read().rsplit(b")", 1)[1].split()[25])      # startstack, field 28 of proc(5)
        with open(b"/proc/%d/mem" % pid, "rb", buffering=0) as memory:
            return proc_text.auxv(lambda address, length: os.pread(memory.fileno(), length, address), start, kept)

    @staticmethod
    def _host_text(node):
        with open(node.host, "rb") as file:
            return file.read()

    # --- generated files ----------------------------------------------------------------------------------------------

    def _file(self, path, text):
        host = b"%s/proc-%d" % (self.scratch, next(self._serial))
        fd = os.open(host, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        with open(fd, "wb", buffering=0) as file:
            file.write(text)
        self._generated[host] = path
        if len(self._generated) > REMEMBERED:
            del self._generated[next(iter(self._generated))]
        return host

    def guest_name(self, host):
        """The guest path of a generated file, for the links of descriptors."""
        return self._generated.get(host.removesuffix(proc_text.DELETED))

    def forget(self, host):
        """Delete a generated file: the guest has it open by now, or never will."""
        try:
            os.unlink(host)
        except FileNotFoundError:
            pass
