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
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15        # ABI 2, 3 and 5
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2                # ABI 6

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = (WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM | _REFER
         | _TRUNCATE)
DEVICE = READ_FILE | WRITE_FILE | READ_DIR | _TRUNCATE | _IOCTL_DEV
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV


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
    if version >= 3:
        rights |= _TRUNCATE
    if version >= 5:
        rights |= _IOCTL_DEV
    return rights


def rule_set(rules, version):
    """A descriptor of the rule set that allows [(host path, rights)] and nothing else. Missing paths are left out."""
    known = handled(version)
    attributes = struct.pack("QQQ", known, 0, _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
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
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, parent))
    libc.syscall("landlock_add_rule", _ADD_RULE, fd, _RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
