"""Tasks and what they share: the supervisor's picture of every guest thread.

Handlers see a Task through the interface in docs/architecture.md and never touch ptrace. The window slot, the exec
under way and the registers to restore belong to the supervisor.
"""

import os
from errno import EBADF, ENOENT, ENOTDIR

from apppot.platform import libc

AT_FDCWD = -100


class FsState:
    """What CLONE_FS shares: root and current directory as canonical guest paths, umask.

    `cwd` is None while it is not known: after chdir and fchdir the kernel is asked at the next relative name.
    `moved` is then (host path, guest path) of the directory that chdir was sent to.
    """

    __slots__ = ("root", "_cwd", "moved", "umask", "users", "volatile")

    def __init__(self, root, cwd, umask):
        self.root, self._cwd, self.umask = root, cwd, umask
        self.moved = None
        self.users = 0                 # tasks that share it
        self.volatile = False          # several tasks and a chdir under way: what we saw may be old by now

    def copy(self):
        other = FsState(self.root, self._cwd, self.umask)
        other.moved = self.moved
        return other

    def forget_cwd(self, moved=None):
        self._cwd, self.moved = None, moved
        self.volatile = self.users > 1

    def cwd(self, task):
        """The current directory, or OSError ENOENT when it was removed."""
        if self._cwd is None:
            link = task.host_cwd()
            if self.moved is not None and link == self.moved[0]:
                path = self.moved[1]
            else:
                path = task.ns.guest_path(link)
                if path is None:
                    raise OSError(ENOENT, os.strerror(ENOENT))
            if self.volatile:
                return path
            self._cwd = path
        return self._cwd


class TaskCaller:
    """A `vfs.Caller` whose values are those of a task at the moment they are asked for."""

    __slots__ = ("task", "tid", "tgid")

    def __init__(self, task):
        self.task, self.tid, self.tgid = task, task.tid, task.group.tgid

    root = property(lambda self: self.task.fs.root)
    cwd = property(lambda self: self.task.fs.cwd(self.task))
    umask = property(lambda self: self.task.fs.umask)
    uid = property(lambda self: self.task.creds.fsuid)
    gid = property(lambda self: self.task.creds.fsgid)
    groups = property(lambda self: self.task.creds.groups)
    virtual = property(lambda self: self.task.creds.virtual)


class ThreadGroup:
    """A guest process.

    `exe`: canonical guest path of its program; `dumpable`: what PR_SET_DUMPABLE was told; `exec_by`: threads other than
    the leader that are in execve; `deferred`: a stop of the leader that waits for the end of that, or None; `loads`: host
    paths that the stub may open for it, where that stops; `shares_descriptors`: it has, or once had, its descriptors in
    common with another process; `temporaries`: host paths of what was made for a call of its: copies of files without a
    name, names of sockets.
    """

    __slots__ = ("tgid", "exe", "dumpable", "tasks", "exec_by", "deferred", "loads", "shares_descriptors", "temporaries",
                 "_pidfd")

    def __init__(self, tgid, exe, dumpable=1):
        self.tgid, self.exe, self.dumpable = tgid, exe, dumpable
        self.tasks = set()
        self.exec_by = set()
        self.deferred = None
        self.loads = ()
        self.shares_descriptors = False
        self.temporaries = ()
        self._pidfd = -1

    def pidfd(self):
        if self._pidfd < 0:
            self._pidfd = libc.pidfd_open(self.tgid)
        return self._pidfd

    def remove_temporaries(self, kept=None):
        """Remove the `temporaries`, but not the program it has become, which the stub is about to open."""
        for path in self.temporaries:
            if path != kept:
                self.remove_temporary(path)

    def remove_temporary(self, path):
        """`path` is no more needed, if it is of the `temporaries`."""
        if path in self.temporaries:
            self.temporaries = tuple(other for other in self.temporaries if other != path)
            try:
                os.unlink(path)
            except FileNotFoundError:      # removed by hand, or by what cleans /tmp
                return

    def close(self):
        self.remove_temporaries()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


class Task:
    """A guest thread.

    `memory`: its address space; `program`: what an exec under way will start, else None; `seccomp`: what the guest
    itself asked of seccomp(2), 0 (nothing), 1 (strict mode) or 2 (filters); `handover`: the platform.handover.Handover that
    its own filter leads to, where Landlock is in use, else None; `saved`, `number`: registers of the
    arguments, and the call's number if replaced, of a call that is made at the task's own site; `replaced`: for a new
    task's first stop, [(register, value)] of what its maker was given to call with.
    """

    __slots__ = ("tid", "group", "memory", "fs", "creds", "caller", "machine", "ns", "program", "identity_filter",
                 "seccomp", "handover", "slot", "vector", "saved", "number", "after", "replaced", "scratch", "traced")

    def __init__(self, machine, tid, group, memory, fs, creds):
        self.machine, self.ns = machine, machine.ns
        self.tid, self.group, self.memory, self.fs, self.creds = tid, group, memory, fs, creds
        self.caller = TaskCaller(self)
        self.program = None
        self.identity_filter = None        # address of the filter on top of the base filter, see Execs
        self.seccomp = 0
        self.handover = None
        self.slot = self.vector = self.saved = self.number = self.after = self.replaced = None
        self.scratch = None            # a generated file that the task was sent to open
        self.traced = None             # the call whose result the trace still lacks
        fs.users += 1
        group.tasks.add(tid)

    @property
    def tgid(self):
        return self.group.tgid

    # -- memory

    def read(self, address, length):
        return self.memory.read(address, length)

    def read_some(self, address, length):
        return self.memory.read_some(address, length)

    def read_path(self, address):
        return self.memory.read_path(address)

    def read_string(self, address):
        """A word of argv or envp; MAX_ARG_STRLEN of <linux/binfmts.h> bounds it."""
        return self.memory.read_string(address, 131072)

    def write(self, address, data):
        self.memory.write(address, data)

    # -- descriptors

    def alone_changes_descriptors(self):
        """Whether nobody else can put another file behind a descriptor while the task is in a call."""
        return len(self.group.tasks) == 1 and not self.group.shares_descriptors

    def host_cwd(self):
        """The host's name of the current directory; the kernel adds " (deleted)" to that of a removed one."""
        return os.readlink(b"/proc/%d/cwd" % self.tid)

    def fd_link(self, fd):
        """The host's name of descriptor `fd` (the link text of /proc/PID/fd/N)."""
        if fd < 0:
            raise OSError(EBADF, os.strerror(EBADF))
        try:
            return os.readlink(b"/proc/%d/fd/%d" % (self.tid, fd))
        except OSError:
            raise OSError(EBADF, os.strerror(EBADF)) from None

    def fd_stat(self, fd):
        if fd < 0:
            raise OSError(EBADF, os.strerror(EBADF))
        try:
            return os.stat(b"/proc/%d/fd/%d" % (self.tid, fd))
        except OSError:
            raise OSError(EBADF, os.strerror(EBADF)) from None

    def directory(self, dirfd):
        """Canonical guest path of the directory behind `dirfd` or, with AT_FDCWD, of the current one."""
        if dirfd == AT_FDCWD:
            return self.fs.cwd(self)
        path = self.ns.guest_path(self.fd_link(dirfd))
        if path is not None:
            return path                # resolution from a path that is no directory gives ENOTDIR itself
        if (self.fd_stat(dirfd).st_mode & 0o170000) == 0o040000:
            raise OSError(ENOENT, os.strerror(ENOENT))   # removed
        raise OSError(ENOTDIR, os.strerror(ENOTDIR))

    def getfd(self, fd):
        """A duplicate of the task's descriptor in the supervisor; the caller closes it."""
        try:
            return libc.pidfd_getfd(self.group.pidfd(), fd)
        except OSError:
            raise OSError(EBADF, os.strerror(EBADF)) from None
