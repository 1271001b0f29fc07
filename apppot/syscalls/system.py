"""The host name and the domain name, which are the machine's."""

import os
from errno import EINVAL, ENOSYS, EPERM

from apppot.syscalls.answer import NATIVE
from apppot.syscalls.decode import Int, Ptr

_FIELD = 65  # struct new_utsname: six fields, NUL-terminated
_LONGEST = 64
_CAP_SYS_ADMIN = 21


def afs_syscall(task):
    """Who makes it by itself does not know the word that goes with it (platform/handover.py)."""
    raise OSError(ENOSYS, os.strerror(ENOSYS))


def uname(task, buffer: Ptr):
    machine = task.machine
    if machine.hostname is None and machine.domainname is None:
        return NATIVE
    host = os.uname()
    fields = [os.fsencode(field) for field in (host.sysname, host.nodename, host.release, host.version, host.machine)]
    if machine.hostname is not None:
        fields[1] = machine.hostname
    fields.append(_domain() if machine.domainname is None else machine.domainname)
    task.write(buffer, b"".join(field[:_LONGEST].ljust(_FIELD, b"\0") for field in fields))
    return 0


def sethostname(task, name: Ptr, length: Int):
    task.machine.hostname = _given(task, name, length)
    return 0


def setdomainname(task, name: Ptr, length: Int):
    task.machine.domainname = _given(task, name, length)
    return 0


def _given(task, address, length):
    if not task.creds.has(_CAP_SYS_ADMIN):
        raise OSError(EPERM, os.strerror(EPERM))
    if not 0 <= length <= _LONGEST:
        raise OSError(EINVAL, os.strerror(EINVAL))
    return task.read(address, length).split(b"\0")[0] if length else b""


def _domain():
    try:
        with open("/proc/sys/kernel/domainname", "rb") as file:
            return file.read().rstrip(b"\n")
    except OSError:
        return b"(none)"
