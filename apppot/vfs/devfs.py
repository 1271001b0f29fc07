"""/dev of a machine: a private directory with the devices every program expects, and shared memory of its own."""

import os
from errno import EACCES
from stat import S_IFCHR

from apppot.vfs.hostfs import HostFS
from apppot.vfs.node import fail

#: Devices of the host that the guest gets as they are.
DEVICES = (b"null", b"zero", b"full", b"random", b"urandom", b"tty", b"ptmx")
_UNCHANGING = DEVICES[:6]         # what `tty` is depends on who opens it, but for the host too
LINKS = ((b"fd", b"/proc/self/fd"), (b"stdin", b"/proc/self/fd/0"), (b"stdout", b"/proc/self/fd/1"),
         (b"stderr", b"/proc/self/fd/2"), (b"core", b"/proc/kcore"))


class DevFS(HostFS):
    fstype = b"devtmpfs"
    source = b"devtmpfs"


class ShmFS(HostFS):
    fstype = b"tmpfs"
    source = b"tmpfs"


class Device(HostFS):
    """One device of the host."""

    fstype = b"devtmpfs"
    source = b"devtmpfs"

    def __init__(self, host, ownership=None):
        super().__init__(host, ownership=ownership)
        self._is_unchanging = host.rpartition(b"/")[2] in _UNCHANGING

    def unchanging(self, node):
        return self._is_unchanging


class PtsFS(HostFS):
    """The terminals of the machine: those whose masters its tasks hold, and those that it was started on.

    may_open: function from (number, os.stat_result) of a terminal to whether it is one.
    """

    fstype = b"devpts"
    source = b"devpts"

    def __init__(self, host, readonly=False, ownership=None):
        super().__init__(host, readonly, ownership)
        self.may_open = lambda number, status: True

    def open(self, caller, node, flags, mode):
        if node.kind == S_IFCHR and node.name.isdigit() and not flags & os.O_PATH:
            if not self.may_open(int(node.name), os.stat(node.host)):
                fail(EACCES)
        return super().open(caller, node, flags, mode)

    def by_hand(self, caller, node, flags):
        """A terminal that is made later can't be in rules that are made before."""
        return node.kind == S_IFCHR and not flags & os.O_PATH and node.name != b"ptmx"


class Dev:
    """What /dev is made of. All of it goes away with the run directory.

    run: the machine's private run directory.
    shm: an empty private directory for shared memory, best on a tmpfs; default: one in `run`.
    mounts: list of (guest path, Filesystem), to be mounted in this order.
    """

    def __init__(self, run, shm=None, ownership=None, host=b"/dev"):
        top = run + b"/dev"
        os.mkdir(top, 0o755)
        os.chmod(top, 0o755)
        for name, target in LINKS:
            os.symlink(target, top + b"/" + name)
        for name in (b"shm", b"pts", b"mqueue"):
            os.mkdir(top + b"/" + name, 0o755)
        if shm is None:
            shm = run + b"/shm"
            os.mkdir(shm, 0o700)
            os.chmod(shm, 0o1777)   # the run directory keeps other users of the host out
        self.mounts = [(b"/dev", DevFS(top, ownership=ownership)),
                       (b"/dev/shm", ShmFS(shm, ownership=ownership))]
        if os.path.isdir(host + b"/pts"):
            self.mounts.append((b"/dev/pts", PtsFS(host + b"/pts", ownership=ownership)))
        for name in DEVICES:
            device = host + b"/" + name
            if not os.path.exists(device):
                continue
            os.close(os.open(top + b"/" + name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            self.mounts.append((b"/dev/" + name, Device(device, ownership=ownership)))

    def mount(self, namespace):
        for path, fs in self.mounts:
            namespace.mount(path, fs)
