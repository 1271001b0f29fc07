"""The guest's users and groups: its own /etc/passwd and /etc/group (passwd(5), group(5)), read through the namespace."""

import os
from stat import S_ISREG

_MOST = 8 << 20                            # bytes of a file that are read: guests write these, and all of them wait meanwhile


class User:
    __slots__ = ("name", "uid", "gid", "home", "shell")

    def __init__(self, name, uid, gid, home, shell):
        self.name, self.uid, self.gid, self.home, self.shell = name, uid, gid, home, shell


def read_file(ns, caller, path):
    """Content of a regular guest file, its first 8 MiB; b"" when it is missing or can't be read."""
    try:
        node = ns.resolve(caller, path)
        if not S_ISREG(node.kind):
            return b""
        fd = os.open(ns.content(node), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return file.read(_MOST) if S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""


def _users(ns, caller):
    for line in read_file(ns, caller, b"/etc/passwd").splitlines():
        fields = line.split(b":")
        if len(fields) >= 7 and fields[2].isdigit() and fields[3].isdigit():
            yield User(fields[0], int(fields[2]), int(fields[3]), fields[5] or b"/", fields[6] or b"/bin/sh")


def user_by_name(ns, caller, name):
    """The User called `name`, or with that number after a `#` or as plain digits; None when there is none."""
    number = name[1:] if name[:1] == b"#" else name
    users = list(_users(ns, caller))
    for user in users:
        if user.name == name:
            return user
    if number.isdigit():
        return user_by_id(ns, caller, int(number)) or User(number, int(number), int(number), b"/", b"/bin/sh")
    return None


def user_by_id(ns, caller, uid):
    return next((user for user in _users(ns, caller) if user.uid == uid), None)


def _groups(ns, caller):
    for line in read_file(ns, caller, b"/etc/group").splitlines():
        fields = line.split(b":")
        if len(fields) >= 4 and fields[2].isdigit():
            yield fields[0], int(fields[2]), fields[3].split(b",")


def group_by_name(ns, caller, name):
    """Number of the group `name`, or None."""
    number = name[1:] if name[:1] == b"#" else name
    for group, gid, _ in _groups(ns, caller):
        if group == name:
            return gid
    return int(number) if number.isdigit() else None


def groups_of(ns, caller, user):
    """Numbers of the groups of a User, its own first (initgroups(3))."""
    return [user.gid] + [gid for _, gid, members in _groups(ns, caller) if user.name in members and gid != user.gid]


def command_path(ns, caller, command, path):
    """Guest path of `command` looked up as a shell does along `path`, or None.

    An executable comes before a file that is not: the caller says "not executable" for the latter.
    """
    if b"/" in command:
        return command
    found = None
    for directory in path.split(b":"):
        name = (directory or b".") + b"/" + command
        try:
            node = ns.resolve(caller, name)
            if node.kind != 0o100000:
                continue
            found = found or name
            ns.access(caller, node, os.X_OK)
            return name
        except OSError:
            continue
    return found
