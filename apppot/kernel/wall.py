"""The Landlock domain of a machine, from its mounts alone: what no mount shows, no guest task can open."""

import os
import stat

from apppot.platform import landlock

_DEVICES = (b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/random", b"/dev/urandom", b"/dev/tty", b"/dev/ptmx", b"/dev/pts")


def rule_set(machine, running):
    """Descriptor of the rule set, or None: with --isolation none, and where the kernel has no Landlock."""
    if machine.isolation == "none":
        return None
    version = landlock.abi()
    if version == 0:
        if machine.verbose:
            running.say("this kernel has no Landlock: names are translated, but nothing else confines the guest")
        return None
    return landlock.rule_set(list(_rules(running)), version)


def _rules(running):
    yield running.stub, landlock.READ
    yield running.run_dir, landlock.READ
    if running.patched is not None:
        yield running.patched, landlock.READ
    for mount in running.ns.mounts():
        layers = [host or b"/" for host, below in mount.fs.roots() if not below]
        if mount.fs is running.procfs:
            yield b"/proc", landlock.READ | landlock.WRITE_FILE
            continue
        writable = None if mount.readonly else layers[0] if layers else None
        for host in layers:
            if host in _DEVICES:
                yield host, landlock.DEVICE
            else:
                yield host, landlock.READ | (landlock.WRITE if host == writable else 0)
    for fd in (0, 1, 2):                   # so that /dev/stdin and its kin can be opened again
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) or stat.S_ISCHR(mode):
            yield b"/proc/self/fd/%d" % fd, landlock.DEVICE
