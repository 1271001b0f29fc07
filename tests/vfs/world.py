"""An overlay to play with, and the plain tree that it should look like."""

import errno
import os
import stat

from apppot.image.cow import Cow
from apppot.vfs.caller import Caller
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay
from apppot.vfs.ownership import Ownership


def plant(top, tree):
    """Make a tree: {name: dict (directory), bytes (file) or ("link", target)}."""
    top = os.fsencode(top)
    os.makedirs(top, exist_ok=True)
    for name, what in tree.items():
        path = top + b"/" + os.fsencode(name)
        if isinstance(what, dict):
            plant(path, what)
        elif isinstance(what, bytes):
            with open(path, "wb") as file:
                file.write(what)
        else:
            os.symlink(what[1], path)
    return top


class World:
    """A namespace whose root is an overlay of `lowers` (trees, topmost first) and a COW."""

    def __init__(self, top, *lowers, virtual=None, **options):
        self.top = os.fsencode(top)
        self.lowers = [plant(self.top + b"/lower%d" % index, tree) for index, tree in enumerate(lowers)]
        self.options = options
        self.caller = Caller(uid=os.geteuid(), gid=os.getegid(), groups=tuple(os.getgroups()))
        self.root = Caller(virtual=True)
        self.umask = os.umask(0o022)
        os.umask(self.umask)
        self.open_cow()

    def open_cow(self):
        self.cow = Cow.open(self.top + b"/cow")
        self.ownership = Ownership(self.cow.upper, self.cow.ownership_log)
        overlay = Overlay(self.lowers, self.cow.upper, self.cow.work, self.ownership)
        self.ns = Namespace(overlay, self.ownership, cow=self.cow, **self.options)

    def reopen(self, clean=True):
        self.ownership.close(clean)
        self.cow.close()
        self.open_cow()

    def close(self):
        self.ownership.close(False)
        self.ns.close()
        self.cow.close()

    # Calls as a guest makes them

    def node(self, path, follow=True, caller=None):
        return self.ns.resolve(caller or self.caller, os.fsencode(path), None, follow)

    def openfile(self, path, flags, mode=0o666, caller=None):
        caller = caller or self.caller
        host = self.ns.open(caller, self.ns.resolve_open(caller, os.fsencode(path), flags), flags, mode)
        return os.open(host, flags | os.O_CLOEXEC, mode)

    def read(self, path, caller=None):
        fd = self.openfile(path, os.O_RDONLY, caller=caller)
        with open(fd, "rb") as file:
            return file.read()

    def write(self, path, data, flags=os.O_CREAT | os.O_TRUNC, mode=0o666, caller=None):
        fd = self.openfile(path, os.O_WRONLY | flags, mode, caller)
        with open(fd, "wb") as file:
            file.write(data)

    def names(self, path, caller=None):
        found = self.ns.readdir(caller or self.caller, self.node(path, caller=caller))
        return sorted(name for name, ino, kind, cookie in found)[2:]

    def exists(self, path):
        return bool(self.node(path, False).kind)

    def stat(self, path, follow=False, caller=None):
        caller = caller or self.caller
        return self.ns.stat(caller, self.node(path, follow, caller))

    def call(self, name, path, *args, follow=None, caller=None):
        caller = caller or self.caller
        return getattr(self.ns, name)(caller, self.node(path, follow, caller), *args)

    def rename(self, old, new, flags=0, caller=None):
        caller = caller or self.caller
        self.ns.rename(caller, self.node(old, None, caller), self.node(new, None, caller), flags)

    def link(self, old, new, caller=None):
        caller = caller or self.caller
        source = self.node(old, False, caller)
        if not source.kind:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.ns.link(caller, source, self.node(new, None, caller))


def snapshot(top):
    """Everything about a real tree: {relative path: (type and mode, contents)}."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            st = os.lstat(path)
            if stat.S_ISLNK(st.st_mode):
                contents = os.readlink(path)
            elif stat.S_ISREG(st.st_mode):
                with open(path, "rb") as file:
                    contents = file.read()
            else:
                contents = None
            found[os.path.relpath(path, top)] = st.st_mode, contents, st.st_mtime_ns
    return found
