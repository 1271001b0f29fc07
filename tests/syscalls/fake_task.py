"""A task without a process: what handlers use of one, with memory that is a bytearray.

`call(task, handler, *registers)` decodes registers as the dispatcher does and calls the handler.
"""

import os
import struct
from errno import EBADF, EEXIST, EFAULT, ENOENT, ENOTDIR

from apppot.kernel.credentials import Credentials
from apppot.syscalls.decode import decoders_of
from apppot.syscalls.ipc import Ipc

BASE = 0x10000
SIZE = 0x10000
NOBODY = 5000000  # above every limit of process ids
UID, GID, GROUPS = 1000, 1000, (1000, 1001)


def fails(error, *args):
    """The call raises the OSError of this errno."""
    try:
        answer = call(*args)
    except OSError as refused:
        assert refused.errno == error, refused
    else:
        raise AssertionError(f"answered {answer!r}")


def call(task, handler, *registers):
    """The answer of a handler; missing registers are zero, negative numbers are taken as 64-bit ones."""
    registers = [register & 0xFFFFFFFFFFFFFFFF for register in registers] + [0] * (6 - len(registers))
    values = [decoder(task, registers[index]) if decoder else registers[index]
              for index, decoder in decoders_of(handler)]
    return handler(task, *values)


class Group:
    def __init__(self, tgid):
        self.tgid = tgid
        self.dumpable = 1


class FakeAffinity:
    def leave_alone(self):
        pass


class FakeWall:
    version, scoped, unbacked, opens_again = 6, True, False, False

    def passes(self, flags):
        return True


class FakeMachine:
    procfs = object()
    window_range = (0x7E8100000000, 0x7E8106000000)

    def __init__(self):
        self.wall = FakeWall()
        self.ipc = Ipc(b"test.")
        self.affinity = FakeAffinity()
        self.network = "host"
        self.processors = self.task_count = None
        self.hostname = None
        self.domainname = None
        self.tasks = {}  # tid -> tgid
        self.aliases = {}
        self.socket_names = {}
        self.creds = {}

    def name_of_socket(self, task, node, pinned):
        return None

    def being_written(self, host):
        return False

    def was_given(self, status):
        return False

    def is_window(self, task, fd):
        return False

    def has_process(self, tgid):
        return tgid in self.tasks.values()

    def has_task(self, tid):
        return tid in self.tasks

    def processes(self):
        return iter(sorted(set(self.tasks.values())))

    def process_group_is_ours(self, pgid):
        return True

    def creds_of(self, tid):
        return self.creds.get(tid)

    def socket_alias(self, directory):
        return self.aliases.setdefault(directory, b"/run/s%d" % len(self.aliases))

    def socket_unalias(self, path):
        for directory, alias in self.aliases.items():
            if path.startswith(alias + b"/"):
                return directory + path[len(alias):]
        return path


class StubNode:
    def __init__(self, path, host, mount):
        self.path, self.host, self.mount = path, host, mount
        try:
            self.kind = os.lstat(host).st_mode & 0o170000
        except FileNotFoundError:
            self.kind = 0


class StubMount:
    readonly = False
    fs = None


class StubNamespace:
    """Guest paths are those below one host directory. Operations are only noted: `did` is [(name, path, ...)]."""

    def __init__(self, root):
        self.root = os.fsencode(root)
        self.mount = StubMount()
        self.did = []
        self.plain = True
        self.xattrs = {}

    def at(self, path):
        return StubNode(path, self.root + path.rstrip(b"/"), self.mount)

    def resolve(self, caller, path, start=None, follow=True, resolve_flags=0):
        if not path:
            raise OSError(ENOENT, os.strerror(ENOENT))
        node = self.at(os.path.normpath(os.path.join(start or caller.cwd, path)))
        if follow and node.kind == 0o120000:
            return self.resolve(caller, os.readlink(node.host), os.path.dirname(node.path))
        return node

    def guest_path(self, host):
        if host.endswith(b" (deleted)"):
            return None
        return host[len(self.root):] or b"/" if host.startswith(self.root) else None

    def named(self, host):
        path = self.guest_path(host)
        return None if path is None else self.at(path)

    def plain_stat(self, caller, node):
        return self.plain

    def long_work(self, node, flags):
        return None

    def in_place(self, caller, host, status, times=False):
        return False

    def create_path(self, caller, node):
        if node.kind:
            raise OSError(EEXIST, os.strerror(EEXIST))
        return node.host

    def getxattr(self, caller, node, name):
        return self.xattrs[name]

    def listxattr(self, caller, node):
        return list(self.xattrs)

    def access(self, caller, node, amode):
        self.did.append(("access", node.path, amode, caller.uid))

    def _note(method):
        def operation(self, caller, node, *args):
            self.did.append((method, node.path, *args))
        return operation

    for _name in ("chmod", "chown", "utime", "truncate", "setxattr", "removexattr"):
        locals()[_name] = _note(_name)
    del _name, _note


class FakeMemory(bytearray):
    has_window = True


class FakeCaller:
    def __init__(self, task):
        self.task = task
        self.root, self.cwd, self.umask = b"/", b"/", 0o022
        self.tid, self.tgid = task.tid, task.tgid

    uid = property(lambda self: self.task.creds.fsuid)
    gid = property(lambda self: self.task.creds.fsgid)
    groups = property(lambda self: self.task.creds.groups)
    virtual = property(lambda self: self.task.creds.virtual)


class FakeTask:
    """`descriptors`: {fd: host path or real descriptor}; `ns`: a namespace, real or a stub."""

    handover = None

    def __init__(self, ns=None, root=False):
        self.tid = self.tgid = NOBODY
        self.creds = Credentials(UID, GID, GROUPS)
        if root:
            self.creds = self.creds.become(0, 0, (0,))
        self.machine = FakeMachine()
        self.machine.tasks[self.tid] = self.tgid
        self.group = Group(self.tgid)
        self.ns = ns
        self.memory = FakeMemory(SIZE)
        self.used = 0
        self.descriptors = {}
        self.seccomp = 0
        self.alone = False
        self.caller = FakeCaller(self)

    # memory

    def put(self, data):
        """The address of `data` in the task's memory."""
        address = BASE + self.used
        self.write(address, data)
        self.used += len(data) + 15 & ~15
        return address

    def path(self, name):
        return self.put(name + b"\0")

    def read(self, address, length):
        if not BASE <= address <= address + length <= BASE + SIZE:
            raise OSError(EFAULT, os.strerror(EFAULT))
        return bytes(self.memory[address - BASE:address - BASE + length])

    def read_path(self, address):
        self.read(address, 1)
        return bytes(self.memory[address - BASE:]).split(b"\0")[0]

    def write(self, address, data):
        self.read(address, len(data))
        self.memory[address - BASE:address - BASE + len(data)] = data

    def ints(self, address, count, code="I"):
        return struct.unpack(f"<{count}{code}", self.read(address, count * struct.calcsize(code)))

    # descriptors

    def alone_changes_descriptors(self):
        return self.alone

    def _descriptor(self, fd):
        if fd not in self.descriptors:
            raise OSError(EBADF, os.strerror(EBADF))
        return self.descriptors[fd]

    def host_cwd(self):
        return b"/host/cwd"

    def fd_link(self, fd):
        what = self._descriptor(fd)
        return os.readlink(b"/proc/self/fd/%d" % what) if isinstance(what, int) else what

    def fd_stat(self, fd):
        return os.stat(self._descriptor(fd))

    def getfd(self, fd):
        what = self._descriptor(fd)
        return os.dup(what) if isinstance(what, int) else os.open(what, os.O_RDONLY)

    def directory(self, dirfd):
        if dirfd == -100:
            return self.caller.cwd
        path = self.ns.guest_path(self.fd_link(dirfd))
        if path is None:
            raise OSError(ENOTDIR, os.strerror(ENOTDIR))
        return path
