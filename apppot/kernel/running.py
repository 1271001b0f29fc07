"""What a running machine is to its handlers: namespace, processes, host name, places for temporary things."""

import fcntl
import os
import stat
from errno import EACCES, EBADF, ENOMEM, ENOSYS

from apppot import messages
from apppot.errors import STATUS_TIMEOUT
from apppot.kernel import identity, loading
from apppot.kernel.limits import TaskCount
from apppot.kernel.signals import kill
from apppot.platform import libc
from apppot.platform.layout import WINDOW_BASE
from apppot.syscalls.ipc import Ipc
from apppot.vfs import copyup, nameless

_NAMELESS_ROOM = 256 << 20                 # bytes of copies of programs without a name: they are in memory, as a rule
_NAMELESS_COPIES = 256
_ALIASES_KEPT = 1000


def _own_stub(run_dir):
    """Host path of the stub for this run: a copy, so that an upgrade of AppPot does not change it under our guests.

    Where nothing in the run directory can be executed it is the installed one.
    """
    installed = loading.stub_path()
    if os.statvfs(run_dir).f_flag & os.ST_NOEXEC:
        return installed
    path = run_dir + b"/apppot-stub"
    with open(installed, "rb") as source, open(path, "wb") as copy:
        copy.write(source.read())
    os.chmod(path, 0o755)
    return path


class MountEntry:
    """A line of the mount tables: guest path, type, source and options, all bytes."""

    __slots__ = ("path", "fstype", "source", "options")

    def __init__(self, mount):
        self.path, self.fstype, self.source = mount.path, mount.fs.fstype, mount.fs.source
        self.options = b"ro" if mount.readonly else b"rw"


class RunningMachine:
    """State of one machine that all of its tasks share.

    `machine`: the Machine that was asked for; `run_dir`: its private directory on the host, gone after the run;
    `ns`: Namespace; `window`: Window; `wall`: Wall; `tasks`: {tid: Task}; `groups`: {tgid: ThreadGroup}. It is also what /proc asks
    about processes (vfs.procfs.Processes).
    """

    def __init__(self, machine, run_dir, ns, window, ownership, wall):
        self.machine, self.run_dir, self.ns, self.window, self.ownership = machine, run_dir, ns, window, ownership
        self.wall = wall
        self.network = machine.network
        self.window_range = WINDOW_BASE, WINDOW_BASE + window.size
        self.ipc = Ipc(os.path.basename(run_dir) + b".")
        self.inherited = {_identity(fd) for fd in (0, 1, 2, *machine.descriptors)} - {None}
        self.hostname = os.fsencode(machine.hostname) if machine.hostname else None
        self.domainname = None
        self.stub = _own_stub(run_dir)
        self.sudo_file = self.snap_file = None
        self.apart = None              # host directory on the upper layer's file system in which guests can't write, or None
        self._of_snapshots = None
        self.procfs = None
        self.patched = None            # host directory of patched libraries, where the fast path is on
        self.tasks, self.groups = {}, {}
        self.stopped_tasks = set()
        self.affinity = None
        self.processors = None if machine.cpus is None else _mask(os.sched_getaffinity(0))
        self.control_group = self.memory_watch = None
        self.task_count = None if machine.pids is None else TaskCount(self, machine.pids)
        self.ended, self.end_status = False, None      # whether a limit has ended it, see end()
        ns.moved.append(self.directory_moved)
        self._warned = set()
        self._aliases, self._alias_of = {}, {}
        self._nameless = {}                # host path of a copy of a program without a name -> bytes, oldest first
        self.socket_names = {}         # host path of a bound AF_UNIX socket -> the name bind was given
        self._serial = 0

    @property
    def has_records(self):
        """Whether any file's owner or mode is recorded rather than the host's own."""
        return bool(self.ownership.records)

    # -- what apppot-snap needs

    def tell_snapshots(self, cow, image, layers):
        """What `snapshots` is made of: the Cow, the opened image, the layers of changes over it."""
        self._of_snapshots = cow, image, layers

    @property
    def snapshots(self):
        """The snap.snapshots.Snapshots of this machine, new each time; few runs need it."""
        from apppot.snap.snapshots import Snapshots
        cow, image, layers = self._of_snapshots
        return Snapshots(cow, image, self.ownership, layers)

    def set_up_user(self):
        """The invoking user's entries in the guest's passwd and group, and a home."""
        identity.set_up(self.ns, self.ownership.uid, self.ownership.gid)

    # -- messages

    def say(self, text):
        """One line to the user, unless --quiet."""
        if not self.machine.quiet:
            messages.tell(messages.shown(f"apppot-start: {text}"))

    def end(self, text):
        """End the machine because of a limit, and say of which; any thread may."""
        if not self.ended:
            self.ended = True
            messages.tell(messages.shown(f"apppot-start: {text}"))
            self.kill_all()

    def time_is_over(self, text):
        """Say so; the machine's status is no more the program's."""
        if not self.ended:
            self.ended, self.end_status = True, STATUS_TIMEOUT
            messages.tell(messages.shown(f"apppot-start: {text}"))

    def kill_all(self):
        for tgid in self.processes():
            kill(tgid)

    def warn_once(self, key, text):
        if key not in self._warned:
            self._warned.add(key)
            self.say(text)

    def bug(self, where, error):
        """What must not happen: the errno that the guest sees of an exception in `where`."""
        self.warn_once(("bug", where), f"internal error in {where}: {type(error).__name__}: {error}")
        if self.machine.verbose:
            import traceback
            traceback.print_exception(error)
        return ENOSYS

    # -- processes

    def has_process(self, tgid):
        return tgid in self.groups

    def has_task(self, tid):
        return tid in self.tasks

    def processes(self):
        return list(self.groups)

    def own_filters(self, tid):
        """How many seccomp filters a task has from the supervisor."""
        task = self.tasks.get(tid)     # None: it has ended
        handover = (task or next(iter(self.tasks.values()))).handover          # all have one, or none has
        return 1 + (handover is not None) + (task is not None and bool(task.identity_filter))

    def stopped(self, tid):
        """Whether job control has stopped the task."""
        return tid in self.stopped_tasks

    def exe(self, tgid):
        return self.groups[tgid].exe

    def cwd(self, tgid):
        """Guest path of a process's current directory; OSError ENOENT when it was removed."""
        task = self._leader(tgid)
        return task.fs.cwd(task)

    def root(self, tgid):
        return self._leader(tgid).fs.root

    def credentials(self, tgid):
        return self._leader(tgid).creds

    def creds_of(self, tid):
        """Credentials of a task of the machine, else None."""
        task = self.tasks.get(tid)
        return None if task is None else task.creds

    def _leader(self, tgid):
        group = self.groups[tgid]
        return self.tasks.get(tgid) or self.tasks[next(iter(group.tasks))]

    def mounts(self):
        return [MountEntry(mount) for mount in self.ns.mounts()]

    def directory_moved(self, old, new):
        """A directory was renamed or, with None, removed: what tasks know of where they stand is old."""
        prefix = old + b"/"
        for task in self.tasks.values():
            task.fs.forget_cwd()
            root = task.fs.root
            if new is None:
                continue
            if root == old or root.startswith(prefix):
                task.fs.root = new + root[len(old):]

    def process_group_is_ours(self, pgid):
        """Whether every member of process group `pgid` is a process of this machine.

        Nobody outside is put into a group that a guest process leads.
        """
        return pgid in self.groups or all(tgid in self.groups for tgid in _members(pgid))

    # -- temporary files

    def scratch_path(self, kind):
        self._serial += 1
        return b"%s/%s%d" % (self.run_dir, kind, self._serial)

    def is_window(self, task, fd):
        return task.fd_link(fd) == self.window.path

    def has_terminal(self, number, status):
        """Whether terminal `number` in /dev/pts is the machine's: it was started there, or a task holds the master."""
        if self.was_given(status):
            return True
        return any(_holds_master(tgid, b"tty-index:\t%d\n" % number) for tgid in self.processes())

    def was_given(self, status):
        """Whether the file with this os.stat_result is what a descriptor was open on that the caller passed on."""
        return (status.st_dev, status.st_ino) in self.inherited

    def being_written(self, host):
        """Whether the program `host` is open for writing, so that its exec is ETXTBSY. Asks Linux 6.14 and later."""
        return libc.being_written(host)

    def may_open_again(self, fd, flags):
        """Whether guests may open what the supervisor has as descriptor `fd` by the link of one of theirs, with these flags.

        What has no name is theirs. What has one in the machine is another file by now, perhaps of the image. What they were
        started with may be opened in the same way again.
        """
        status, name = os.fstat(fd), os.readlink(b"/proc/self/fd/%d" % fd)
        if not nameless.is_named(status, name):
            return True
        reading = flags & (os.O_ACCMODE | os.O_TRUNC) == os.O_RDONLY
        if reading and self.ns.guest_path(name.removesuffix(b" (deleted)")) is not None:
            return True
        modes = {fcntl.fcntl(given, fcntl.F_GETFL) & os.O_ACCMODE for given in (0, 1, 2, *self.machine.descriptors)
                 if _identity(given) == (status.st_dev, status.st_ino)}
        return os.O_RDWR in modes or (flags & os.O_ACCMODE in modes and (reading or flags & os.O_ACCMODE == os.O_WRONLY))

    def copy_of_descriptor(self, task, link):
        """Host path of an executable copy of what a descriptor's link in /proc leads to: a memfd, a deleted file.

        It stays until the process has ended or starts another program: it is of the group's `temporaries`.
        """
        path = self.scratch_path(b"exec")
        try:
            pinned = os.open(link, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OSError(EBADF, os.strerror(EBADF)) from None
        try:
            if not stat.S_ISREG(os.fstat(pinned).st_mode) or not self.may_open_again(pinned, os.O_RDONLY):
                raise OSError(EACCES, os.strerror(EACCES))
            with open(b"/proc/self/fd/%d" % pinned, "rb") as reader, open(path, "wb") as writer:
                task.group.temporaries += (path,)
                self._make_room(path, os.fstat(reader.fileno()).st_size)
                copyup.copy_data(reader.fileno(), writer.fileno())
        except OSError:
            task.group.remove_temporary(path)          # there may be no room for all of it
            raise
        finally:
            os.close(pinned)
        os.chmod(path, 0o700)
        return path

    def _make_room(self, path, size):
        """Room for `path`, a copy of `size` bytes of a program without a name: the oldest ones go, since they are loaded by now."""
        if size > _NAMELESS_ROOM:
            raise OSError(ENOMEM, os.strerror(ENOMEM))
        self._nameless[path] = size
        while sum(self._nameless.values()) > _NAMELESS_ROOM or len(self._nameless) > _NAMELESS_COPIES:
            oldest = next(iter(self._nameless))
            del self._nameless[oldest]
            try:
                os.unlink(oldest)
            except FileNotFoundError:
                continue

    # -- names of sockets

    def name_of_socket(self, task, node, pinned):
        """A host path where nobody can put another file in place of the node's socket, which descriptor `pinned` is of; or None.

        A hard link beside the upper layer: there is none where the socket is on another file system, not ours, or of an
        image. It is of the group's `temporaries`.
        """
        if self.apart is None or node.mount.readonly or node.mount.fs.cached and not node.upper:
            return None
        path = copyup.temporary(self.apart)
        try:
            os.link(b"/proc/self/fd/%d" % pinned, path, src_dir_fd=pinned)     # linkat(2): link(2) follows no symlink
        except OSError:
            return None
        task.group.temporaries += (path,)
        return path

    # -- short names for sockets in deep directories

    def socket_alias(self, directory):
        """A short host path that leads to host directory `directory`: unix(7) has room for 108 bytes only."""
        alias = self._aliases.pop(directory, None)
        if alias is None:
            alias = self.scratch_path(b"s")
            os.symlink(directory, alias)
            self._alias_of[alias] = directory
            if len(self._aliases) >= _ALIASES_KEPT:
                unused = self._aliases.pop(next(iter(self._aliases)))
                del self._alias_of[unused]
                os.unlink(unused)
        self._aliases[directory] = alias       # the last of them: the one that was used last
        return alias

    def socket_unalias(self, path):
        directory, _, name = path.rpartition(b"/")
        real = self._alias_of.get(directory)
        return path if real is None else real + b"/" + name


def _mask(processors):
    return sum(1 << number for number in processors)


def _holds_master(tgid, line):
    """Whether a descriptor of the process is the master of a terminal with this line in its fdinfo (proc(5))."""
    try:
        for fd in os.listdir(b"/proc/%d/fd" % tgid):
            if os.readlink(b"/proc/%d/fd/%s" % (tgid, fd)).endswith(b"/ptmx"):
                with open(b"/proc/%d/fdinfo/%s" % (tgid, fd), "rb") as file:
                    if line in file.readlines():
                        return True
    except OSError:
        return False
    return False


def _identity(fd):
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _members(pgid):
    """Numbers of the host's processes in process group `pgid`."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    fields = file.read().rsplit(b")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == pgid:
                yield int(entry)
