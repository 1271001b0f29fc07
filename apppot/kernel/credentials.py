"""Who a task is, and how that changes: credentials(7) and capabilities(7) as data.

The kernel of the host knows every guest task as the user who started the machine, without a capability. What a task
may call itself beyond that is kept here; the rules for it are the kernel's own (kernel/sys.c, security/commoncap.c).
All capability sets are ints, bit n for capability n.
"""

import os
from errno import EINVAL, EPERM

CAP_SETGID = 6
CAP_SETUID = 7
CAP_SETPCAP = 8
LAST_CAP = 40
ALL_CAPS = (1 << LAST_CAP + 1) - 1
#: What goes and comes with file-system user id 0: CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID,
#: LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE
FS_CAPS = 0b11111 | 1 << 9 | 1 << 27 | 1 << 32

SECBIT_NOROOT = 0x01
SECBIT_NO_SETUID_FIXUP = 0x04
SECBIT_KEEP_CAPS = 0x10
SECBIT_NO_CAP_AMBIENT_RAISE = 0x40
SECBITS = 0xFF  # each bit has its lock one to the left
SECBIT_LOCKS = 0xAA

KEEP = 0xFFFFFFFF  # (uid_t) -1
MAX_GROUPS = 65536


def _refuse(error):
    raise OSError(error, os.strerror(error))


class Credentials:
    """The ids, groups and capabilities of one task. `virtual`: they are not simply those the host's kernel knows.

    `host` is (uid, gid, groups) as the host's kernel has them. With host uid 0 everything is virtual: that the
    machine runs as the host's root gives the guest no say on the host.
    """

    __slots__ = ("host", "ruid", "euid", "suid", "fsuid", "rgid", "egid", "sgid", "fsgid", "groups",
                 "permitted", "effective", "inheritable", "bounding", "ambient", "securebits", "no_new_privs",
                 "virtual")

    def __init__(self, uid, gid, groups=(), host=None):
        """A task that has just been logged in as uid; `host` defaults to the same ids."""
        groups = tuple(groups)
        self.host = (uid, gid, groups) if host is None else host
        self.ruid = self.euid = self.suid = self.fsuid = uid
        self.rgid = self.egid = self.sgid = self.fsgid = gid
        self.groups = groups
        self.permitted = self.effective = ALL_CAPS if uid == 0 else 0
        self.inheritable = self.ambient = 0
        self.bounding = ALL_CAPS
        self.securebits = 0
        self.no_new_privs = False
        self._settle()

    def copy(self):
        """What a child or a new thread gets."""
        other = Credentials.__new__(Credentials)
        other.host, other.groups, other.virtual = self.host, self.groups, self.virtual
        other.ruid, other.euid, other.suid, other.fsuid = self.ruid, self.euid, self.suid, self.fsuid
        other.rgid, other.egid, other.sgid, other.fsgid = self.rgid, self.egid, self.sgid, self.fsgid
        other.permitted, other.effective, other.inheritable = self.permitted, self.effective, self.inheritable
        other.bounding, other.ambient = self.bounding, self.ambient
        other.securebits, other.no_new_privs = self.securebits, self.no_new_privs
        return other

    def become(self, uid, gid, groups=()):
        """Fresh credentials of another user on the same host identity: what `sudo` and `--root` give."""
        return Credentials(uid, gid, groups, self.host)

    def has(self, capability):
        return bool(self.effective >> capability & 1)

    def _settle(self):
        uid, gid, groups = self.host
        self.virtual = (
            not uid
            or self.permitted != 0
            or not self.ruid == self.euid == self.suid == self.fsuid == uid
            or not self.rgid == self.egid == self.sgid == self.fsgid == gid
            or self.groups != groups
        )

    # --- users

    def setuid(self, uid):
        _valid(uid)
        if self.has(CAP_SETUID):
            self._users(uid, uid, uid)
        elif uid in (self.ruid, self.suid):
            self._users(self.ruid, uid, self.suid)
        else:
            _refuse(EPERM)

    def setreuid(self, ruid, euid):
        if not self.has(CAP_SETUID):
            if ruid not in (KEEP, self.ruid, self.euid) or euid not in (KEEP, self.ruid, self.euid, self.suid):
                _refuse(EPERM)
        saved_too = ruid != KEEP or euid not in (KEEP, self.ruid)
        euid = self.euid if euid == KEEP else euid
        self._users(self.ruid if ruid == KEEP else ruid, euid, euid if saved_too else self.suid)

    def setresuid(self, ruid, euid, suid):
        if not self.has(CAP_SETUID):
            mine = (KEEP, self.ruid, self.euid, self.suid)
            if ruid not in mine or euid not in mine or suid not in mine:
                _refuse(EPERM)
        self._users(
            self.ruid if ruid == KEEP else ruid,
            self.euid if euid == KEEP else euid,
            self.suid if suid == KEEP else suid,
        )

    def setfsuid(self, uid):
        """The former one, whether it changed or not."""
        former = self.fsuid
        if uid != KEEP and (self.has(CAP_SETUID) or uid in (self.ruid, self.euid, self.suid, former)):
            self.fsuid = uid
            if not self.securebits & SECBIT_NO_SETUID_FIXUP:
                if former == 0 and uid != 0:
                    self.effective &= ~FS_CAPS
                elif former != 0 and uid == 0:
                    self.effective |= self.permitted & FS_CAPS
            self._settle()
        return former

    def _users(self, ruid, euid, suid):
        """Set all, with what that does to capabilities (capabilities(7), "Effect of user ID changes")."""
        had_root, was_root = 0 in (self.ruid, self.euid, self.suid), self.euid == 0
        self.ruid, self.euid, self.suid, self.fsuid = ruid, euid, suid, euid
        if not self.securebits & SECBIT_NO_SETUID_FIXUP:
            if had_root and 0 not in (ruid, euid, suid):
                if not self.securebits & SECBIT_KEEP_CAPS:
                    self.permitted = self.effective = 0
                self.ambient = 0
            if was_root and euid != 0:
                self.effective = 0
            elif not was_root and euid == 0:
                self.effective = self.permitted
        self._settle()

    # --- groups

    def setgid(self, gid):
        _valid(gid)
        if self.has(CAP_SETGID):
            self._groups(gid, gid, gid)
        elif gid in (self.rgid, self.sgid):
            self._groups(self.rgid, gid, self.sgid)
        else:
            _refuse(EPERM)

    def setregid(self, rgid, egid):
        if not self.has(CAP_SETGID):
            if rgid not in (KEEP, self.rgid, self.egid) or egid not in (KEEP, self.rgid, self.egid, self.sgid):
                _refuse(EPERM)
        saved_too = rgid != KEEP or egid not in (KEEP, self.rgid)
        egid = self.egid if egid == KEEP else egid
        self._groups(self.rgid if rgid == KEEP else rgid, egid, egid if saved_too else self.sgid)

    def setresgid(self, rgid, egid, sgid):
        if not self.has(CAP_SETGID):
            mine = (KEEP, self.rgid, self.egid, self.sgid)
            if rgid not in mine or egid not in mine or sgid not in mine:
                _refuse(EPERM)
        self._groups(
            self.rgid if rgid == KEEP else rgid,
            self.egid if egid == KEEP else egid,
            self.sgid if sgid == KEEP else sgid,
        )

    def setfsgid(self, gid):
        former = self.fsgid
        if gid != KEEP and (self.has(CAP_SETGID) or gid in (self.rgid, self.egid, self.sgid, former)):
            self.fsgid = gid
            self._settle()
        return former

    def _groups(self, rgid, egid, sgid):
        self.rgid, self.egid, self.sgid, self.fsgid = rgid, egid, sgid, egid
        self._settle()

    def setgroups(self, groups):
        if not self.has(CAP_SETGID):
            _refuse(EPERM)
        if len(groups) > MAX_GROUPS or KEEP in groups:
            _refuse(EINVAL)
        self.groups = tuple(sorted(groups))
        self._settle()

    # --- capabilities

    def capset(self, effective, permitted, inheritable):
        effective, permitted, inheritable = effective & ALL_CAPS, permitted & ALL_CAPS, inheritable & ALL_CAPS
        if (
            not self.has(CAP_SETPCAP) and inheritable & ~(self.inheritable | self.permitted)
            or inheritable & ~(self.inheritable | self.bounding)
            or permitted & ~self.permitted
            or effective & ~permitted
        ):
            _refuse(EPERM)
        self.effective, self.permitted, self.inheritable = effective, permitted, inheritable
        self.ambient &= permitted & inheritable
        self._settle()

    def drop_bounding(self, capability):
        if not self.has(CAP_SETPCAP):
            _refuse(EPERM)
        _capability(capability)
        self.bounding &= ~(1 << capability)

    def in_bounding(self, capability):
        return self.bounding >> _capability(capability) & 1

    def in_ambient(self, capability):
        return self.ambient >> _capability(capability) & 1

    def raise_ambient(self, capability):
        bit = 1 << _capability(capability)
        if not self.permitted & self.inheritable & bit or self.securebits & SECBIT_NO_CAP_AMBIENT_RAISE:
            _refuse(EPERM)
        self.ambient |= bit

    def lower_ambient(self, capability):
        self.ambient &= ~(1 << _capability(capability))

    def clear_ambient(self):
        self.ambient = 0

    def set_securebits(self, bits):
        locked = self.securebits & SECBIT_LOCKS
        frozen = locked | locked >> 1
        if bits & ~SECBITS or (bits ^ self.securebits) & frozen or not self.has(CAP_SETPCAP):
            _refuse(EPERM)
        self.securebits = bits

    def set_keepcaps(self, on):
        if on not in (0, 1):
            _refuse(EINVAL)
        if self.securebits & SECBIT_KEEP_CAPS << 1:
            _refuse(EPERM)
        self.securebits = self.securebits & ~SECBIT_KEEP_CAPS | (SECBIT_KEEP_CAPS if on else 0)

    @property
    def keepcaps(self):
        return bool(self.securebits & SECBIT_KEEP_CAPS)

    # --- exec

    def after_exec(self, set_uid=None, set_gid=None):
        """The credentials of the program that is started; the ids are the file's, if it is set-user or set-group-ID.

        They may be the same object: a task's credentials are its own.
        """
        if not self.virtual and set_uid is None and set_gid is None and not self.securebits & SECBIT_KEEP_CAPS:
            return self
        new = self.copy()
        if not self.no_new_privs:
            new.euid = self.euid if set_uid is None else set_uid
            new.egid = self.egid if set_gid is None else set_gid
        if new.euid != self.ruid or new.egid != self.rgid:
            new.ambient = 0
        root = not self.securebits & SECBIT_NOROOT
        new.permitted = new.ambient
        if root and 0 in (new.ruid, new.euid):
            new.permitted = self.inheritable | self.bounding
        new.effective = new.permitted if root and new.euid == 0 else new.ambient
        new.suid = new.fsuid = new.euid
        new.sgid = new.fsgid = new.egid
        new.securebits &= ~SECBIT_KEEP_CAPS
        new._settle()
        return new


def _valid(identity):
    if identity == KEEP:
        _refuse(EINVAL)


def _capability(number):
    if not 0 <= number <= LAST_CAP:
        _refuse(EINVAL)
    return number
