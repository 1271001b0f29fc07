"""/proc inside a machine: the host's, with only the machine's processes and the guest's names.

Most files are the host's own. What names files, mounts or ids is generated: `open` then answers with a fresh file in
`scratch` that holds the guest's text, which the supervisor deletes with `forget` once the guest has opened it.
"""

import errno
import itertools
import os
import stat
from . import proc_text
from .filesystem import Filesystem

O_PATH = 0o10000000

MAGIC = {b"exe", b"cwd", b"root"}       # links of a process that name a file
MAGIC_DIRECTORIES = {b"fd", b"map_files"}  # directories full of such links
MAPPINGS = {b"maps", b"smaps", b"smaps_rollup"}
MOUNT_TABLES = {b"mounts", b"mountinfo", b"mountstats"}
GENERATED = MAPPINGS | MOUNT_TABLES | {b"numa_maps", b"status", b"stat"}
# What reaches the whole computer. Natively only root gets at these, and a supervisor may run as root.
REFUSED = {b"kcore", b"kmem", b"kmsg", b"sysrq-trigger", b"kpagecount", b"kpageflags", b"kpagecgroup"}
HOSTNAME = b"sys/kernel/hostname"


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
    own_filters: how many seccomp filters every task has from the supervisor.
    """

    fstype = b"proc"

    def __init__(self, processes, scratch, hidden = (), own_filters = 1):
        self.processes = processes
        self.scratch = scratch
        self.hidden = frozenset(hidden)
        self.own_filters = own_filters
        self._serial = itertools.count(1)
        self._generated = {}  # host path in scratch -> guest path

    # --- names --------------------------------------------------------------------------------------------------------

    def lookup(self, caller, directory, name):
        path = self._below(directory.host, name)
        return self._node(directory, name, b"/proc/" + path, self._kind(path))

    def _below(self, host, name = b""):
        """Path relative to /proc. The host's /proc has the same names as the guest's."""
        return (host + b"/" + name).removeprefix(b"/proc").strip(b"/")

    def _known(self, name):
        """Does the process belong to the machine?"""
        known = self.processes
        return (name.pid is None or known.has_process(name.pid) or known.has_task(name.pid)) and (
            name.tid is None or known.has_task(name.tid))

    def _kind(self, path):
        """The file type of a path below /proc; 0 for what the machine has not."""
        if path in (b"self", b"thread-self"):
            return stat.S_IFLNK
        name = Name(path)
        if not self._known(name):
            return 0
        if name.rest == b"exe" and name.pid is not None and self.processes.exe(name.pid) is None:
            return 0
        try:
            return stat.S_IFMT(os.lstat(b"/proc/" + path).st_mode)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESRCH):
                return 0
            if error.errno == errno.EACCES and name.magic:
                return stat.S_IFLNK  # a process that forbids to be looked at may still look at itself
            raise

    def names(self, caller, directory):
        """What a directory holds: (name, file type)."""
        path = self._below(directory.host)
        with os.scandir(directory.host) as found:
            for entry in found:
                if path == b"" and number(entry.name) is not None:
                    continue
                kind = stat.S_IFLNK if entry.is_symlink() else stat.S_IFDIR if entry.is_dir() else stat.S_IFREG
                yield entry.name, kind
        if path == b"":
            for tgid in self.processes.processes():
                yield b"%d" % tgid, stat.S_IFDIR

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
            return self._seen(caller, self._named(name))
        return proc_text.link(os.readlink(node.host), lambda host: self._translated(caller, host))

    def follow(self, caller, node):
        """Where a link leads: its text, or the node itself for the kernel's magic links."""
        path = self._below(node.host)
        name = Name(path)
        if not name.magic:
            if name.rest.startswith(b"ns/") and name.pid is not None:
                return self._same(node, stat.S_IFREG)
            return self.readlink(caller, node)
        if name.rest in MAGIC:
            target = self.namespace.at(self._named(name).removesuffix(proc_text.DELETED))
            if not target.kind:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return target
        return self._descriptor(node)

    def _named(self, name):
        """Guest path that exe, cwd or root of a process leads to."""
        if name.rest == b"root":
            return self.processes.root(name.pid)
        path = self.processes.cwd(name.pid) if name.rest == b"cwd" else self.processes.exe(name.pid)
        if path is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return path if self.namespace.at(path).kind else path + proc_text.DELETED

    def _descriptor(self, node):
        """The file behind /proc/PID/fd/N: its guest node if that names the same file, else the host's link itself.

        Through the link, the guest opens again what is open, as natively: a deleted file, a pipe, a terminal.
        """
        try:
            here = os.stat(node.host)
            host = os.readlink(node.host)
        except PermissionError:
            return self._same(node, stat.S_IFREG)
        path = self.namespace.guest_path(host)
        if path is not None:
            named = self.namespace.at(path)
            if named.kind == stat.S_IFDIR == stat.S_IFMT(here.st_mode):
                return named  # perhaps another layer's directory of the same name
            if named.kind and os.path.samestat(os.lstat(named.host), here):
                return named
        return self._same(node, stat.S_IFMT(here.st_mode))

    def _translated(self, caller, host):
        """The guest's name of an open host file; says so when the name is gone from the guest's tree only."""
        path = self.namespace.guest_path(host)
        if path is None:
            return None
        gone = b"" if os.path.lexists(host) and self.namespace.at(path).kind else proc_text.DELETED
        return self._seen(caller, path) + (gone if os.path.lexists(host) else b"")

    @staticmethod
    def _seen(caller, path):
        """A guest path as a caller with a root of its own sees it."""
        root = caller.root.rstrip(b"/")
        if not root or path == root or path.startswith(root + b"/"):
            return path[len(root):] or b"/"
        return proc_text.UNREACHABLE + path

    # --- texts --------------------------------------------------------------------------------------------------------

    def open(self, caller, node, flags, mode=0):
        path = self._below(node.host)
        name = Name(path)
        writing = flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC
        if not node.kind:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if name.pid is None:
            if path in REFUSED:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            if writing:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if flags & O_PATH or node.kind != stat.S_IFREG:
            return node.host
        text = self.text(caller, node)
        if text is None:
            return node.host
        if writing:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return self._file(node.path, text)

    def text(self, caller, node):
        """What the file says in the guest, None if that is what the host's file says."""
        path = self._below(node.host)
        if path == HOSTNAME:
            return self.processes.hostname + b"\n" if self.processes.hostname else None
        name = Name(path)
        if name.pid is None or name.rest not in GENERATED:
            return None
        if name.rest in MOUNT_TABLES:
            make = getattr(proc_text, name.rest.decode())
            return make(self._mounts(caller))
        if name.rest == b"stat":
            # A task reads its own state while it runs; only job control's stops look different from outside.
            if name.task == caller.tid or not self.processes.stopped(name.task):
                return None
            return proc_text.stopped_stat(self._host_text(node))
        text = self._host_text(node)
        if name.rest == b"status":
            return proc_text.status(text, self.processes.credentials(name.pid), self.processes.stopped(name.task),
                                    self.own_filters)
        translate = lambda host: self._translated(caller, host)  # noqa: E731
        if name.rest == b"numa_maps":
            return proc_text.numa_maps(text, translate, self.hidden)
        return proc_text.maps(text, translate, self.hidden)

    def _mounts(self, caller):
        return self.processes.mounts()

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
