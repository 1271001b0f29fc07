"""Landlock (landlock(7), <linux/landlock.h>): the kernel's own wall around what a guest may open.

A rule set is made once a run by the supervisor; the stub of the first task restricts itself to it, and every task
inherits that.
"""

import ctypes
import os
import struct

from apppot.platform import libc

_CREATE, _ADD_RULE = 444, 445
_CREATE_VERSION = 1
_RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE, _MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (
    1 << bit for bit in range(4, 13))
_REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15          # ABI 2, 3 and 5
RESOLVE_UNIX = 1 << 16                                           # ABI 9
_TCP = 1 << 0 | 1 << 1                                           # ABI 4: to bind, to connect
_UDP = 1 << 2 | 1 << 3                                           # ABI 10: to bind, to connect and send
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2                # ABI 6
_LOG_SAME_EXEC_OFF = 1                                           # ABI 7, flag of landlock_restrict_self(2)

#: Versions of the ABI from which on it does what the rest of AppPot asks about.
WITH_TRUNCATE, WITH_TCP, WITH_IOCTL, WITH_SCOPES, WITH_LOG, WITH_SOCKETS, WITH_UDP = 3, 4, 5, 6, 7, 9, 10

READ = EXECUTE | READ_FILE | READ_DIR
# Guests make no symlinks and neither move nor remove directories by themselves, whatever they do from the stub's code
# range: the supervisor, which makes these changes for them, knows where its names lead.
WRITE = WRITE_FILE | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _REFER | TRUNCATE
DEVICE = READ_FILE | WRITE_FILE | READ_DIR | TRUNCATE | IOCTL_DEV
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV | RESOLVE_UNIX


def abi():
    """The host's Landlock ABI version; 0 where there is none."""
    try:
        return libc.syscall("landlock_create_ruleset", _CREATE, 0, 0, _CREATE_VERSION)
    except OSError:
        return 0


def handled(version):
    """The file rights that ABI `version` knows."""
    rights = (1 << 13) - 1
    if version >= 2:
        rights |= _REFER
    if version >= WITH_TRUNCATE:
        rights |= TRUNCATE
    if version >= WITH_IOCTL:
        rights |= IOCTL_DEV
    if version >= WITH_SOCKETS:
        rights |= RESOLVE_UNIX
    return rights


def restrict_flags(version):
    """Flags of landlock_restrict_self: what a guest is refused does not fill the host's audit log."""
    return _LOG_SAME_EXEC_OFF if version >= WITH_LOG else 0


def rule_set(rules, version, network=True):
    """A descriptor of the rule set that allows [(host path, rights)] and nothing else. Missing paths are left out.

    network: False forbids TCP and UDP, where the kernel can. Signals and abstract sockets stay inside wherever it can.
    """
    known = handled(version)
    closed = 0 if network else _TCP | _UDP if version >= WITH_UDP else _TCP
    attributes = struct.pack("QQQ", known, closed, _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL)
    size = 24 if version >= WITH_SCOPES else 16 if version >= WITH_TCP else 8
    fd = libc.syscall("landlock_create_ruleset", _CREATE, attributes, size, 0)
    for path, rights in rules:
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            _allow(fd, parent, rights & known)
        finally:
            os.close(parent)
    return fd


def _allow(fd, parent, rights):
    if (os.fstat(parent).st_mode & 0o170000) != 0o040000:
        rights &= _OF_FILES
    if not rights:
        return
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, parent))
    libc.syscall("landlock_add_rule", _ADD_RULE, fd, _RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
