"""How the guests of one machine are kept in: which wall this host has, and the Landlock domain behind it.

The domain is made from the mounts alone: what no mount shows, no guest task can open. Where there is no Landlock, and
with --isolation strict, the filter lets no named call pass that the supervisor has not seen ("mediated"). With --pids it counts the calls that make tasks ("counted").
"""

import fcntl
import os
import stat

from apppot.errors import AppPotError
from apppot.kernel import hostroot
from apppot.platform import landlock
from apppot.platform.hows import cuts_unseen
from apppot.syscalls.table import COUNTED, NATIVE, ROWS, STUB

_DEVICES = (b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/random", b"/dev/urandom", b"/dev/tty", b"/dev/ptmx")
_OF_MODE = {os.O_RDONLY: landlock.READ_FILE, os.O_WRONLY: landlock.WRITE_FILE | landlock.TRUNCATE,
            os.O_RDWR: landlock.READ_FILE | landlock.WRITE_FILE | landlock.TRUNCATE}


class Wall:
    """`version`: the Landlock ABI that is used, 0 for none; `mediated`: no named call passes the supervisor unseen."""

    def __init__(self, isolation, network="host", counted=False):
        self.isolation, self.network, self.counted = isolation, network, counted
        self.version = 0 if isolation == "none" else landlock.abi()
        self.mediated = isolation == "strict" or isolation == "standard" and not self.version
        #: The filter looks at how the stub opens files: this Landlock does not see that one is cut off.
        self.by_flags = not self.mediated and 0 < self.version < landlock.WITH_TRUNCATE
        #: Numbers of the calls that can be made from the stub without a stop; all others a task makes at its own site.
        self.of_stub = frozenset(row.number for row in ROWS if self.trusts_stub(row) and not (self.by_flags and row.name == "openat2")
                                 or row.action == NATIVE and not (counted and row.flags & COUNTED))

        #: No Landlock stands behind what the supervisor has found: files are opened without following symlinks.
        self.unbacked = self.mediated and not self.version and _has_openat2()
        #: Nor does it when a guest opens again what it has open, by the link in /proc. Before its ABI 3 it lets that cut files off.
        self.opens_again = isolation != "none" and self.version < landlock.WITH_TRUNCATE

    @property
    def scoped(self):
        """Whether the kernel keeps signals and abstract sockets inside."""
        return self.version >= landlock.WITH_SCOPES

    @property
    def loads_alone(self):
        """Whether the stub maps programs without a stop."""
        return not self.mediated

    @property
    def fast(self):
        """Whether the fast path may be on: the kernel mediates all that the stub may do by itself, or nobody is to (DESIGN §4.2)."""
        return not self.mediated

    @property
    def hands_over(self):
        """Whether the supervisor opens for guests what can't be granted to them, or may not be left to them."""
        return bool(self.version) or self.opens_again

    def trusts_stub(self, row):
        """Whether the filter lets a call of the table pass from the stub's range, where guests may jump with any arguments."""
        return not self.mediated and bool(row.flags & STUB) and not (self.by_flags and row.name == "truncate")

    def passes(self, flags):
        """Whether the filter lets open(2) and openat(2) with these flags pass from the stub."""
        return not self.by_flags or not cuts_unseen(flags)

    def lacks(self):
        """What this host can't enforce of the level that was asked for, one sentence; None: nothing."""
        if self.isolation == "none" or self.version:
            return None
        return ("this kernel has no Landlock: the supervisor alone decides what guests open, and sees every path call "
                "(slower); 'apppot doctor' tells more")

    def rule_set(self, running):
        """Descriptor of the rule set, or None where there is no Landlock."""
        if not self.version:
            return None
        return landlock.rule_set(list(_rules(running)), self.version, self.network != "none")


def _has_openat2():
    from apppot.platform import probes
    return probes.openat2().state == probes.OK


def build(machine):
    """The Wall of `machine`; AppPotError when less than it requires can be had."""
    wall = Wall(machine.isolation, machine.network, machine.pids is not None)
    lacks = wall.lacks()
    if lacks is not None and machine.require_isolation:
        raise AppPotError(f"--require-isolation: {lacks}")
    return wall


def _rules(running):
    yield running.stub, landlock.READ
    yield running.run_dir, landlock.READ
    if running.patched is not None:
        yield running.patched, landlock.READ
    if running.apart is not None:
        yield running.apart, landlock.RESOLVE_UNIX     # RunningMachine.name_of_socket
    for mount in running.ns.mounts():
        if mount.fs is running.procfs:
            yield b"/proc", landlock.READ      # rules can't tell the machine's processes from others, nor from /proc/sys
            continue
        if mount.fs.fstype == b"devpts":
            yield mount.fs.host, landlock.READ_DIR
            continue
        layers = [host for host, below in mount.fs.roots() if not below]
        writable = None if mount.readonly else layers[0] if layers else None
        for host in layers:
            if host in _DEVICES:
                yield host, landlock.DEVICE
                continue
            rights = landlock.READ | landlock.RESOLVE_UNIX | (landlock.WRITE if host == writable else 0)
            for path in hostroot.given(host, mount.fs.left_out):
                yield path or b"/", rights
    yield from _inherited((0, 1, 2, *running.machine.descriptors))


def _inherited(descriptors):
    """So that /dev/stdin and its kin can be opened again, as they are open now."""
    for fd in descriptors:
        try:
            mode = os.fstat(fd).st_mode
            way = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
        except OSError:
            continue
        if stat.S_ISREG(mode) or stat.S_ISCHR(mode):
            yield b"/proc/self/fd/%d" % fd, _OF_MODE[way] | (landlock.IOCTL_DEV if stat.S_ISCHR(mode) else 0)
