"""Puts a finished layer (a merge) into the upper layer of a COW, so that a kill at any moment loses nothing.

The merge was made beside the upper layer, in `merging.new`:

    tree/           what the merge changes, as a layer with OCI whiteouts over the upper layer
    ownership.log   a `set` or `delete` line for each of its files (see vfs/ownership.py)
    times           "ATIME MTIME NAME" of its directories, in nanoseconds: moving things out of them changes theirs
    merged          JSON: what becomes an entry of `merged` in cow.json

Renaming it to `merging` decides: what is not renamed is thrown away at the next start, what is renamed is carried out
to its end, now or at the next start. Each step below may be repeated: a thing is done when it is gone from `tree`.
"""

import json
import os
from stat import S_ISDIR

from apppot.image import xattrs
from apppot.image.cow import remove_tree
from apppot.image.names import escape, unescape

NEW, DECIDED = b"/merging.new", b"/merging"
WHITEOUT, OPAQUE = b".wh.", b".wh..wh..opq"


def begin(cow_path):
    """An empty place for a merge; its path."""
    place = cow_path + NEW
    remove_tree(place)
    os.mkdir(place, 0o700)
    return place


def abandon(cow_path):
    remove_tree(cow_path + NEW)


def commit(cow_path):
    """Decide for what was prepared and carry it out."""
    os.rename(cow_path + NEW, cow_path + DECIDED)
    recover(cow_path)


def recover(cow_path):
    """Finish what a killed program decided, forget what it did not. Nobody else may use the COW."""
    if os.path.lexists(cow_path + NEW):
        remove_tree(cow_path + NEW)
    place = cow_path + DECIDED
    if os.path.isdir(place + b"/tree"):
        _Graft(cow_path).run(place)
        _note(cow_path, place + b"/merged")
    if os.path.lexists(place):
        remove_tree(place)


class _Graft:
    def __init__(self, cow_path):
        self.upper = cow_path + b"/upper"
        self.times = {}
        self.log = os.open(cow_path + b"/ownership.log", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _cut_torn_line(self.log)

    def run(self, place):
        try:
            if os.path.lexists(place + b"/tree/" + OPAQUE):
                for name in os.listdir(self.upper):
                    self.remove(self.upper + b"/" + name)
            for line in _read(place + b"/times").splitlines():
                atime, mtime, name = line.split(b" ")
                self.times[self.upper + b"/" + unescape(name) if name else self.upper] = int(atime), int(mtime)
            self.directory(place + b"/tree", self.upper)
            _write(self.log, _read(place + b"/ownership.log"))
        finally:
            os.close(self.log)

    def directory(self, source, target):
        """Move what is in `source` into the directory `target`, then give that the attributes of `source`."""
        stack = [(source, target, _names(source))]
        while stack:
            source, target, names = stack[-1]
            if names:
                name, is_directory = names.pop()
                if self.entry(source + b"/" + name, target + b"/" + name, is_directory):
                    source += b"/" + name
                    stack.append((source, target + b"/" + name, _names(source)))
            else:
                stack.pop()
                _copy_attributes(source, target)
                if target in self.times:
                    os.utime(target, ns=self.times[target])
                if stack:
                    os.rmdir(source)

    def entry(self, source, target, is_directory):
        """Move one entry. True for a directory that must be merged with one that is there."""
        directory, _, name = target.rpartition(b"/")
        if name[:4] == WHITEOUT:
            if name != OPAQUE:
                self.remove(directory + b"/" + name[4:])
            os.rename(source, target)
            return False
        if not is_directory:
            try:
                os.rename(source, target)
            except IsADirectoryError:
                self.remove(target)
                os.rename(source, target)
            return False
        try:
            there = os.lstat(target)
        except FileNotFoundError:
            there = None
        if there is not None:
            if S_ISDIR(there.st_mode) and not os.path.lexists(source + b"/" + OPAQUE):
                return True
            if not S_ISDIR(there.st_mode) and not os.path.lexists(directory + b"/" + WHITEOUT + name):
                st = os.lstat(source)
                _mark(source + b"/" + OPAQUE)     # what the file hid in lower layers stays hidden
                os.utime(source, ns=(st.st_atime_ns, st.st_mtime_ns))
            self.remove(target)
        os.rename(source, target)
        return False

    def remove(self, path):
        """Remove a file or tree of the upper layer and its records."""
        try:
            st = os.lstat(path)
        except FileNotFoundError:
            return
        below = len(self.upper) + 1
        gone = [path]
        if S_ISDIR(st.st_mode):
            for top, directories, files in os.walk(path):
                gone += [top + b"/" + name for name in directories + files]
        _write(self.log, b"".join(b"delete %s\n" % escape(name[below:]) for name in gone))
        remove_tree(path)


def _names(directory):
    """[(name, whether it is a directory)], markers last, so that a pop() takes them first."""
    with os.scandir(directory) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    names.sort(key=lambda name: name[0][:4] == WHITEOUT)
    return names


def _copy_attributes(source, target):
    st = os.lstat(source)
    os.chmod(target, st.st_mode & 0o7777 | 0o700)
    wanted = {name: os.getxattr(source, name) for name in xattrs.settable(source)}
    for name in xattrs.settable(target):
        if name not in wanted:
            os.removexattr(target, name)
    for name, value in wanted.items():
        os.setxattr(target, name, value)


def _mark(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _note(cow_path, path):
    text = _read(path)
    if not text:
        return
    with open(cow_path + b"/cow.json", "rb") as file:
        data = json.load(file)
    entry = json.loads(text)
    merged = data.setdefault("merged", [])
    if entry not in merged:
        merged.append(entry)
        with open(cow_path + b"/cow.json.new", "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
            file.write("\n")
        os.rename(cow_path + b"/cow.json.new", cow_path + b"/cow.json")


def _cut_torn_line(fd):
    """A killed program may have left half a line at the end."""
    size = os.fstat(fd).st_size
    end = os.pread(fd, 1 << 16, max(0, size - (1 << 16)))
    os.ftruncate(fd, size - len(end) + end.rfind(b"\n") + 1)


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:      # everything was done, and the place half removed
        return b""


def _write(fd, data):
    while data:
        data = data[os.write(fd, data):]
