"""The way back: from the host's names of open files and current directories to the guest's."""

import os

MAX_CACHED = 20000
_DELETED = b" (deleted)"                  # what the kernel puts behind the name of a removed file, proc(5)


class HostNames:
    """Host paths of layers and mounts -> guest paths; the longest prefix counts.

    A lower directory that was renamed or removed in the guest still stands where it stood on the host, and tasks may
    have it open or be in it: `_moved` says where it is now, None when it is gone. The same with lower files that lost their
    name: `_nameless` keeps who has one of them open from being given what has the name now.
    """

    def __init__(self):
        self._layers = {}                  # host path of a layer or mount -> guest path (b"" for "/")
        self._moved = {}                   # host path of a lower directory -> guest path or None
        self._nameless = set()             # host paths of lower files, no directories, whose name was removed or given away
        self._copies = {}                  # host path of a copy of a file -> host path of the original
        self._cache = {}                   # host directory -> guest directory
        self._changeable = {}              # host path of a layer or mount -> its file system, see changeable()
        self._changeable_cache = {}        # host directory -> the same, or None

    def set_mounts(self, mounts):
        self._layers, self._changeable = {}, {}
        for mount in mounts:
            top = mount.path if mount.path != b"/" else b""
            for host, below in mount.fs.roots():
                if host not in self._layers:
                    self._layers[host] = top + (b"/" + below if below else b"")
                    self._changeable[host] = mount.fs if host == mount.fs.changeable else None
        self._cache.clear()
        self._changeable_cache.clear()

    def directory_moved(self, old, new, lowers):
        """The guest's directory `old`, whose lower parts were `lowers`, is now `new`; None: it was removed."""
        self.directories_exchanged(old, new, lowers, None)

    def directories_exchanged(self, old, new, old_lowers, new_lowers):
        """Two guest directories changed places; `new_lowers` None: `old` only moved."""
        below = {}                         # parts of directories that were moved before
        for host, path in self._moved.items():
            if path is not None:
                if old.startswith(path + b"/"):
                    below[host + old[len(path):]] = new
                if new_lowers is not None and new.startswith(path + b"/"):
                    below[host + new[len(path):]] = old
                if _inside(path, old):
                    self._moved[host] = new if new is None else new + path[len(old):]
                elif new_lowers is not None and _inside(path, new):
                    self._moved[host] = old + path[len(new):]
        for host, path in below.items():
            self._moved.setdefault(host, path)
        for host in old_lowers:
            self._moved[host] = new
        for host in new_lowers or ():
            self._moved[host] = old
        self._cache.clear()

    def lost_name(self, host):
        """The name of the lower file `host` is not its own any more."""
        self._nameless.add(host)

    def is_nameless(self, host):
        return host in self._nameless

    def original(self, host):
        """What `host` is a copy of, else itself."""
        return self._copies.get(host, host)

    def know(self, host, original):
        """`host` is a copy of the host file `original`: guests see the original's name."""
        self._copies[host] = original

    def guest_path(self, host):
        """The guest path of a host file, or None: outside all layers and mounts, deleted, or not a file."""
        host = self._copies.get(host, host)
        head, slash, name = host.rpartition(b"/")
        above = self._cache.get(head)
        if above is not None and name and host not in self._layers and host not in self._moved:
            if name[-10:] == _DELETED and not os.path.lexists(host):
                return None
            return above + b"/" + name
        if not slash or host[0] != 47:
            return None
        if host.endswith(_DELETED) and not os.path.lexists(host):
            return None
        host = host.rstrip(b"/")
        if host in self._moved:
            return self._moved[host]
        exact = self._layers.get(host)
        if exact is not None:
            return exact or b"/"
        top, below = self._top(head)
        if top is None:
            return None
        if len(self._cache) > MAX_CACHED:
            self._cache.clear()
        self._cache[head] = top + below
        return top + below + b"/" + name

    def changeable(self, host):
        """The file system whose regular file, the host's file `host`, is changed where it is; None: ask by its guest path."""
        head, _, name = host.rpartition(b"/")
        if name[-10:] == _DELETED or host in self._layers or host in self._copies:
            return None
        try:
            return self._changeable_cache[head]
        except KeyError:
            pass
        prefix = head
        while prefix and prefix not in self._layers:
            prefix = prefix.rpartition(b"/")[0]
        if len(self._changeable_cache) > MAX_CACHED:
            self._changeable_cache.clear()
        found = self._changeable_cache[head] = self._changeable.get(prefix)
        return found

    def _top(self, head):
        """(guest path of the longest known prefix of `head`, what is below it); (None, b"") when there is none."""
        prefix = head
        while True:
            top = self._moved[prefix] if prefix in self._moved else self._layers.get(prefix)
            if top is not None:
                return top, head[len(prefix):]
            if not prefix or prefix in self._moved:
                return None, b""
            prefix = prefix.rpartition(b"/")[0]


def _inside(path, directory):
    return path == directory or path.startswith(directory + b"/")
