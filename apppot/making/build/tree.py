"""Changing the tree of layers without running anything in it: copying in, leaving out, the files that AppPot itself adds."""

import fnmatch
import os
from contextlib import contextmanager
from stat import S_IFDIR, S_IFLNK, S_IFREG, S_IMODE, S_ISDIR, S_ISLNK, S_ISREG

from apppot.kernel import environment
from apppot.kernel.identity import make_directories
from apppot.snap import accounts
from apppot.vfs import users
from apppot.vfs.caller import KERNEL
from apppot.vfs.copyup import copy_data
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay
from apppot.vfs.ownership import Ownership

AUTORUN = b"/home/user/apppot-autorun"
FIRST_USER = 1000
#: Empty directories that only a running machine needs.
MACHINES_OWN = (b"/home/user/job", b"/run/apppot-apt")


@contextmanager
def changing(cow, layers):
    """A Tree whose changes go into a Cow over read-only layers, topmost first."""
    ownership = Ownership(cow.upper, cow.ownership_log)
    ns = Namespace(Overlay(layers, cow.upper, cow.work, ownership), ownership)
    try:
        yield Tree(ns)
    finally:
        ns.close()
        ownership.close()


class Tree:
    def __init__(self, ns):
        self.ns = ns

    def exists(self, path):
        try:
            return bool(self.ns.resolve(KERNEL, path, None, False).kind)
        except OSError:
            return False

    def read(self, path):
        return users.read_file(self.ns, KERNEL, path)

    # Adding

    def write(self, path, data, mode=0o644, owner=(0, 0), mtime_ns=None):
        self._file(path, mode, owner, mtime_ns, lambda fd: _write(fd, data))

    def _file(self, path, mode, owner, mtime_ns, fill):
        ns = self.ns
        host = ns.open(KERNEL, ns.resolve(KERNEL, path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        fd = os.open(host, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fill(fd)
        finally:
            os.close(fd)
        self._attributes(ns.resolve(KERNEL, path), mode, owner, mtime_ns)

    def _attributes(self, node, mode, owner, mtime_ns=None):
        self.ns.chown(KERNEL, node, *owner)
        if node.kind != S_IFLNK:
            self.ns.chmod(KERNEL, node, mode)
        if mtime_ns is not None:
            self.ns.utime(KERNEL, node, mtime_ns, mtime_ns)

    def directories(self, path):
        make_directories(self.ns, path)

    def copy(self, source, target, owner, mode):
        """Copy a host file, or what is in a host directory. mode: of all regular files; None: as they are."""
        st = os.lstat(source)
        self.directories(target if S_ISDIR(st.st_mode) else os.path.dirname(target))
        todo = [(source, target)]
        while todo:
            source, target = todo.pop()
            st = os.lstat(source)
            if S_ISDIR(st.st_mode):
                node = self.ns.resolve(KERNEL, target)
                if not node.kind:
                    self.ns.mkdir(KERNEL, node, 0o755)
                    self._attributes(self.ns.resolve(KERNEL, target), S_IMODE(st.st_mode), owner)
                todo += [(source + b"/" + name, target.rstrip(b"/") + b"/" + name) for name in sorted(os.listdir(source))]
            elif S_ISLNK(st.st_mode):
                self._remove_file(target)
                self.ns.symlink(KERNEL, self.ns.resolve(KERNEL, target, None, False), os.readlink(source))
                self._attributes(self.ns.resolve(KERNEL, target, None, False), None, owner, st.st_mtime_ns)
            elif S_ISREG(st.st_mode):
                with open(source, "rb", buffering=0) as file:
                    self._file(target, S_IMODE(st.st_mode) if mode is None else mode, owner, st.st_mtime_ns,
                               lambda fd, file=file: copy_data(file.fileno(), fd))

    def _remove_file(self, path):
        node = self.ns.resolve(KERNEL, path, None, False)
        if node.kind:
            self.ns.unlink(KERNEL, node)

    # Leaving out

    def exclude(self, patterns):
        """Remove what matches one of the patterns of guest paths (`*` goes across slashes)."""
        ns = self.ns
        match = [fnmatch._compile_pattern(pattern) for pattern in patterns]
        todo = [b""]
        while todo:
            directory = todo.pop()
            node = ns.at(directory or b"/")
            st = ns.stat(KERNEL, node)
            touched = False
            for name, *_ in list(ns.readdir(KERNEL, node)):
                path = directory + b"/" + name
                if name in (b".", b".."):
                    continue
                if any(one(path) for one in match):
                    self.remove(path)
                    touched = True
                elif ns.resolve(KERNEL, path, None, False).kind == S_IFDIR:
                    todo.append(path)
            if touched:
                ns.utime(KERNEL, ns.at(directory or b"/"), st.st_mtime_ns, st.st_mtime_ns)

    def remove(self, path):
        """Remove a file, or a directory with everything in it."""
        ns = self.ns
        todo = [path]
        while todo:
            node = ns.resolve(KERNEL, todo[-1], None, False)
            if node.kind != S_IFDIR:
                ns.unlink(KERNEL, node)
                todo.pop()
                continue
            below = [name for name, *_ in ns.readdir(KERNEL, node) if name not in (b".", b"..")]
            if below:
                todo += [todo[-1] + b"/" + name for name in below]
            else:
                ns.rmdir(KERNEL, node)
                todo.pop()

    # What is AppPot's own

    def finish(self, recipe, below):
        """Put in the autorun script and the environment, leave out what is excluded and what machines left.

        below: the text of a file of the base image, by its guest path.
        """
        self._without_machines_own()
        user = self._accounts(below)
        if recipe.autorun is not None:
            self.directories(os.path.dirname(AUTORUN))
            self.write(AUTORUN, recipe.autorun, 0o755, user)
        if recipe.env:
            self.directories(os.path.dirname(environment.FILE))
            kept = {line.partition(b"=")[0]: line for line in self.read(environment.FILE).splitlines() if b"=" in line}
            kept.update({key: key + b"=" + value for key, value in recipe.env.items()})
            self.write(environment.FILE, b"\n".join(kept.values()) + b"\n")
        if recipe.exclude:
            self.exclude(recipe.exclude)
        return user

    def add_user(self):
        """Give the image the `user` that it gets at the end."""
        self.directories(b"/home/user")
        user = self._accounts(self.read)
        self.ns.chown(KERNEL, self.ns.resolve(KERNEL, b"/home/user"), *user)

    def _without_machines_own(self):
        for path in MACHINES_OWN:
            try:
                self.ns.rmdir(KERNEL, self.ns.resolve(KERNEL, path, None, False))
            except OSError:             # it is not there, or has something in it
                pass

    def _accounts(self, below):
        """Give `user` the same line whoever builds the image; (uid, gid) of user."""
        if not self.exists(b"/etc/passwd") and not self.exists(b"/home/user"):
            return 0, 0
        lines = {}
        for name in (b"etc/passwd", b"etc/group"):
            lines[name] = accounts.without_ours(name, self.read(b"/" + name), below(b"/" + name))
        passwd, group = lines[b"etc/passwd"], lines[b"etc/group"]
        own = next((line.split(b":") for line in passwd if line.startswith(b"user:")), None)
        if own is not None and len(own) > 3 and own[2].isdigit() and own[3].isdigit():
            found = int(own[2]), int(own[3])
        else:
            uid = gid = FIRST_USER
            while any(line.split(b":")[2:3] == [b"%d" % uid] for line in passwd):
                uid += 1
            while any(line.split(b":")[2:3] == [b"%d" % gid] for line in group):
                gid += 1
            shell = b"/bin/bash" if self.exists(b"/bin/bash") else b"/bin/sh"
            if not any(line.startswith(b"root:") for line in passwd):
                passwd.insert(0, b"root:x:0:0:root:/root:/bin/sh")
            passwd.append(b"user:x:%d:%d:AppPot user:/home/user:%s" % (uid, gid, shell))
            group.append(b"user:x:%d:" % gid)
            found = uid, gid
        for name, text in lines.items():
            path, data = b"/" + name, b"\n".join(text) + b"\n" if text else b""
            if data != self.read(path):
                self.directories(b"/etc")
                self.write(path, data)
        return found


def _write(fd, data):
    while data:
        data = data[os.write(fd, data):]
