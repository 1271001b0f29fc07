"""Identity: get*id, set*id, groups, capabilities, and the options of prctl(2) that belong to them.

They come here only from tasks whose identity is, or once was, virtual (table.IDENTITY); prctl comes from all.
"""

import os
import struct
from errno import EFAULT, EINVAL, EPERM, ESRCH

from apppot.syscalls import seccomp
from apppot.syscalls.answer import NATIVE
from apppot.syscalls.decode import Int, Ptr, U64, UInt

# linux/prctl.h
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
PR_GET_SECCOMP, PR_SET_SECCOMP = 21, 22
PR_GET_KEEPCAPS, PR_SET_KEEPCAPS = 7, 8
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_GET_SECUREBITS, PR_SET_SECUREBITS = 27, 28
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_CAP_AMBIENT = 47
PR_SET_PTRACER = 0x59616D61
AMBIENT_IS_SET, AMBIENT_RAISE, AMBIENT_LOWER, AMBIENT_CLEAR_ALL = 1, 2, 3, 4

# linux/capability.h: version -> number of struct __user_cap_data_struct
CAPABILITY_VERSIONS = {0x19980330: 1, 0x20071026: 2, 0x20080522: 2}
NEWEST_VERSION = 0x20080522


def getuid(task):
    return task.creds.ruid


def geteuid(task):
    return task.creds.euid


def getgid(task):
    return task.creds.rgid


def getegid(task):
    return task.creds.egid


def getresuid(task, ruid: Ptr, euid: Ptr, suid: Ptr):
    return _write_ids(task, (ruid, euid, suid), (task.creds.ruid, task.creds.euid, task.creds.suid))


def getresgid(task, rgid: Ptr, egid: Ptr, sgid: Ptr):
    return _write_ids(task, (rgid, egid, sgid), (task.creds.rgid, task.creds.egid, task.creds.sgid))


def _write_ids(task, addresses, ids):
    for address, identity in zip(addresses, ids):
        task.write(address, struct.pack("<I", identity))
    return 0


def getgroups(task, size: Int, buffer: Ptr):
    groups = task.creds.groups
    if size < 0 or 0 < size < len(groups):
        raise OSError(EINVAL, os.strerror(EINVAL))
    if size and groups:
        task.write(buffer, struct.pack(f"<{len(groups)}I", *groups))
    return len(groups)


def setuid(task, uid: UInt):
    return _change(task, "setuid", uid)


def setgid(task, gid: UInt):
    return _change(task, "setgid", gid)


def setreuid(task, ruid: UInt, euid: UInt):
    return _change(task, "setreuid", ruid, euid)


def setregid(task, rgid: UInt, egid: UInt):
    return _change(task, "setregid", rgid, egid)


def setresuid(task, ruid: UInt, euid: UInt, suid: UInt):
    return _change(task, "setresuid", ruid, euid, suid)


def setresgid(task, rgid: UInt, egid: UInt, sgid: UInt):
    return _change(task, "setresgid", rgid, egid, sgid)


def setfsuid(task, uid: UInt):
    return task.creds.setfsuid(uid)


def setfsgid(task, gid: UInt):
    return task.creds.setfsgid(gid)


def setgroups(task, size: Int, groups: Ptr):
    if not 0 <= size <= 65536:
        size = -1
    if size < 0:
        error = EINVAL if task.creds.has(6) else EPERM
        raise OSError(error, os.strerror(error))
    data = task.read(groups, 4 * size) if size and task.creds.has(6) else b""
    return _change(task, "setgroups", struct.unpack(f"<{len(data) // 4}I", data))


def _change(task, method, *ids):
    getattr(task.creds, method)(*ids)
    return 0


def capget(task, header: Ptr, data: Ptr):
    count, tid = _capability_header(task, header, probing=not data)
    if not data:
        return 0
    creds = task.creds if tid in (0, task.tid) else task.machine.creds_of(tid)
    if creds is None:
        raise OSError(ESRCH, os.strerror(ESRCH))
    words = []
    for shift in range(0, 32 * count, 32):
        words += [caps >> shift & 0xFFFFFFFF for caps in (creds.effective, creds.permitted, creds.inheritable)]
    task.write(data, struct.pack(f"<{len(words)}I", *words))
    return 0


def capset(task, header: Ptr, data: Ptr):
    count, tid = _capability_header(task, header)
    if tid not in (0, task.tid):
        raise OSError(EPERM, os.strerror(EPERM))
    words = struct.unpack(f"<{3 * count}I", task.read(data, 12 * count))
    effective, permitted, inheritable = (
        sum(word << 32 * half for half, word in enumerate(words[kind::3])) for kind in range(3)
    )
    task.creds.capset(effective, permitted, inheritable)
    return 0


def _capability_header(task, header, probing=False):
    """(number of structures, tid) of a `cap_user_header_t`; an unknown version is answered with the newest one."""
    if not header:
        raise OSError(EFAULT, os.strerror(EFAULT))
    version, tid = struct.unpack("<Ii", task.read(header, 8))
    if version not in CAPABILITY_VERSIONS:
        task.write(header, struct.pack("<I", NEWEST_VERSION))
        if not probing:
            raise OSError(EINVAL, os.strerror(EINVAL))
        return 2, 0
    if tid < 0:
        raise OSError(EINVAL, os.strerror(EINVAL))
    return CAPABILITY_VERSIONS[version], tid


def prctl(task, option: Int, arg2: U64, arg3: U64, arg4: U64, arg5: U64):
    return _PRCTL[option](task, arg2, arg3, arg4, arg5) if option in _PRCTL else NATIVE


def _get_dumpable(task, *args):
    return task.group.dumpable


def _set_dumpable(task, value, *args):
    """Only recorded: a task that is not dumpable would be hidden from its supervisor."""
    if value not in (0, 1):
        raise OSError(EINVAL, os.strerror(EINVAL))
    task.group.dumpable = value
    return 0


def _get_keepcaps(task, *args):
    return int(task.creds.keepcaps)


def _set_keepcaps(task, value, *args):
    task.creds.set_keepcaps(value)
    return 0


def _bounding_read(task, capability, *args):
    return task.creds.in_bounding(capability)


def _bounding_drop(task, capability, *args):
    task.creds.drop_bounding(capability)
    return 0


def _get_securebits(task, *args):
    return task.creds.securebits


def _set_securebits(task, bits, *args):
    task.creds.set_securebits(bits)
    return 0


def _set_no_new_privs(task, value, *args):
    if value != 1 or any(args):
        raise OSError(EINVAL, os.strerror(EINVAL))
    task.creds.no_new_privs = True
    return 0


def _get_no_new_privs(task, *args):
    """The filters need the kernel's own flag, which is always set; sudo and others refuse to work when it is."""
    if any(args):
        raise OSError(EINVAL, os.strerror(EINVAL))
    return int(task.creds.no_new_privs)


def _ambient(task, what, capability, *args):
    creds = task.creds
    if any(args) or what == AMBIENT_CLEAR_ALL and capability:
        raise OSError(EINVAL, os.strerror(EINVAL))
    if what == AMBIENT_IS_SET:
        return creds.in_ambient(capability)
    if what == AMBIENT_RAISE:
        creds.raise_ambient(capability)
    elif what == AMBIENT_LOWER:
        creds.lower_ambient(capability)
    elif what == AMBIENT_CLEAR_ALL:
        creds.clear_ambient()
    else:
        raise OSError(EINVAL, os.strerror(EINVAL))
    return 0


def _set_ptracer(task, *args):
    """The supervisor is the only tracer; what the guest allows others is of no consequence."""
    return 0


_PRCTL = {
    PR_GET_DUMPABLE: _get_dumpable,
    PR_SET_DUMPABLE: _set_dumpable,
    PR_GET_SECCOMP: seccomp.get_mode,
    PR_SET_SECCOMP: seccomp.set_mode,
    PR_GET_KEEPCAPS: _get_keepcaps,
    PR_SET_KEEPCAPS: _set_keepcaps,
    PR_CAPBSET_READ: _bounding_read,
    PR_CAPBSET_DROP: _bounding_drop,
    PR_GET_SECUREBITS: _get_securebits,
    PR_SET_SECUREBITS: _set_securebits,
    PR_SET_NO_NEW_PRIVS: _set_no_new_privs,
    PR_GET_NO_NEW_PRIVS: _get_no_new_privs,
    PR_CAP_AMBIENT: _ambient,
    PR_SET_PTRACER: _set_ptracer,
}
