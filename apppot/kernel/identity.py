"""The invoking user inside the machine: passwd and group entries, a home directory, sudo (DESIGN §5).

All of it goes through the namespace, so that it lands in the upper layer and nothing in the image changes.
"""

import os

from apppot.errors import AppPotError
from apppot.vfs import users
from apppot.vfs.caller import KERNEL, Caller
from apppot.vfs.hostfs import HostFS
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay

NAME = b"user"
HOME = b"/home/user"
_PLACES = (b"/usr/bin", b"/bin", b"/usr/local/bin")
_PROGRAM_TEXT = b"#!/bin/sh\n# AppPot plays %s itself when this file is executed.\nexit 1\n"
SNAP = b"/usr/bin/apppot-snap"
_SHELLS = (b"/bin/bash", b"/bin/sh", b"/bin/busybox")


def host_user():
    """(uid, gid, supplementary groups) of the user who runs the machine."""
    return os.getuid(), os.getgid(), tuple(sorted(os.getgroups()))


def set_up(ns, uid, gid):
    """Give the host user an entry in the guest's passwd and group, and a home."""
    make_directories(ns, HOME)
    if uid == 0:
        return
    home = ns.resolve(KERNEL, HOME)
    if ns.stat(Caller(uid=uid, gid=gid), home).st_uid == 0:         # what is in it may stay root's
        ns.chown(KERNEL, home, uid, gid)
    shell = next((shell for shell in _SHELLS if exists(ns, shell)), b"/bin/sh")
    _put_line(ns, b"/etc/passwd", NAME, b"%s:x:%d:%d:AppPot user:%s:%s" % (NAME, uid, gid, HOME, shell))
    if not any(line.split(b":")[2:3] == [b"%d" % gid] for line in _lines(ns, b"/etc/group")):
        _put_line(ns, b"/etc/group", NAME, b"%s:x:%d:" % (NAME, gid))


def own_ids(layers):
    """(uid, gid) that the image's own passwd gives `user`, or None: what is theirs is the host user's here."""
    if not any(layer.recorded for layer in layers):
        return None
    user = users.user_by_name(Namespace(Overlay(layers)), KERNEL, NAME)
    return (user.uid, user.gid) if user is not None and user.uid else None


def start_user(ns, machine, uid, config=None):
    """The User that the first process is: --user, --root, the image's User, else the host user's entry."""
    if machine.user is not None:
        user = users.user_by_name(ns, KERNEL, os.fsencode(machine.user))
        if user is None or (not str(machine.user).lstrip("#").isdigit()
                            and users.user_by_name(ns, KERNEL, os.fsencode(machine.user)).name != os.fsencode(machine.user)):
            raise AppPotError(f"--user {machine.user}: the image has no such user", 2)
        return user
    if machine.root or uid == 0:
        return root(ns)
    if config is not None and config.user:
        return _image_user(ns, config.user)
    return users.user_by_name(ns, KERNEL, NAME) or users.User(NAME, uid, os.getgid(), HOME, b"/bin/sh")


def root(ns):
    """The User that virtual root is."""
    return users.user_by_id(ns, KERNEL, 0) or users.User(b"root", 0, 0, b"/root", b"/bin/sh")


def _image_user(ns, text):
    """The User of an image configuration's User: NAME, UID, NAME:GROUP, UID:GID."""
    name, colon, group = os.fsencode(text).partition(b":")
    user = users.user_by_name(ns, KERNEL, name)
    if user is None:
        raise AppPotError(f"the image says that it runs as {text}, and has no such user; say --user or --root")
    if colon:
        gid = users.group_by_name(ns, KERNEL, group)
        if gid is None:
            raise AppPotError(f"the image says that it runs as {text}, and has no such group; say --user or --root")
        user.gid = gid
    return user


def mount_programs(ns, run_dir):
    """Put sudo and apppot-snap where shells look for them; the host paths that stand for them."""
    ns.make_mountpoint(SNAP.rpartition(b"/")[0])
    return _mount_program(ns, run_dir, b"sudo"), _mount_program(ns, run_dir, b"apppot-snap")


def _mount_program(ns, run_dir, name):
    path = run_dir + b"/" + name
    with open(path, "wb") as file:
        file.write(_PROGRAM_TEXT % name)
    os.chmod(path, 0o755)
    for directory in _PLACES:
        if exists(ns, directory):
            node = ns.resolve(KERNEL, directory + b"/" + name, None, False)
            ns.mount(node.path, HostFS(path, readonly=True), soft=True)
            break
    return path


def exists(ns, path):
    try:
        return bool(ns.resolve(KERNEL, path).kind)
    except OSError:
        return False


def make_directories(ns, path):
    """mkdir -p in the guest."""
    done = b""
    for part in path.strip(b"/").split(b"/"):
        done += b"/" + part
        node = ns.resolve(KERNEL, done)
        if not node.kind:
            ns.mkdir(KERNEL, node, 0o755)


def _lines(ns, path):
    return users.read_file(ns, KERNEL, path).splitlines()


def _put_line(ns, path, name, line):
    """Make `line` the entry called `name` of a passwd-like file; it comes first among those of its number."""
    lines = _lines(ns, path)
    if line in lines:
        return
    number = line.split(b":")[2]
    kept = [old for old in lines if old.split(b":", 1)[0] != name]
    at = next((index for index, old in enumerate(kept) if old.split(b":")[2:3] == [number]), len(kept))
    kept.insert(at, line)
    if path == b"/etc/passwd" and not any(old.startswith(b"root:") for old in kept):
        kept.insert(0, b"root:x:0:0:root:/root:/bin/sh")
    make_directories(ns, b"/etc")
    node = ns.resolve(KERNEL, path)
    host = ns.open(KERNEL, node, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    with open(host, "wb") as file:
        file.write(b"\n".join(kept) + b"\n")
    os.chmod(host, 0o644)
