"""What differs from the base: a walk over the upper layer and the layers of changes put over the image at start.

The cost is that of these layers, whatever the size of the image. Names are relative to the root, without "/" at the
ends; the root itself is b"".
"""

import hashlib
import os
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFSOCK, S_ISDIR

from apppot.image import xattrs
from apppot.vfs.ownership import KEEP

WHITEOUT, OPAQUE = b".wh.", b".wh..wh..opq"
GONE = 0                 # kind of an Entry that is a whiteout


class Part:
    """One layer of differences. host: its directory; record(directory, name, st): what the disk can't say, or None."""

    def __init__(self, host, record):
        self.host, self.record = host, record


def part_of_upper(upper, ownership):
    return Part(upper, lambda directory, name, st: ownership.records.get((st.st_dev, st.st_ino)))


class Entry:
    """One name that differs.

    kind     S_IFMT bits; GONE: a whiteout of `name`
    mode     the 07777 bits
    uid, gid KEEP: nobody was recorded, the file belongs to whoever looks
    rdev     device number of a device
    host     where it is, st its os.stat_result
    target   text of a symlink
    opaque   a directory that hides what the base has under its name
    """

    __slots__ = ("name", "kind", "mode", "uid", "gid", "rdev", "host", "st", "target", "opaque")

    def __init__(self, name, kind, host=None, st=None):
        self.name, self.kind, self.host, self.st = name, kind, host, st
        self.mode, self.uid, self.gid, self.rdev, self.target, self.opaque = 0, KEEP, KEEP, 0, None, False

    def xattrs(self):
        """{name (str): value} of the extended attributes, sorted."""
        return xattrs.read(self.host, self.mode)

    def signature(self):
        """What tells that the entry changed since; compared with that of the recorded base."""
        if self.kind == GONE:
            return [GONE]
        st = self.st
        seen = [self.kind, self.mode, self.uid, self.gid, self.rdev, st.st_mtime_ns, self.opaque,
                os.fsdecode(self.target or b"")]
        if self.kind != S_IFDIR:
            return seen + [st.st_size, st.st_ino, st.st_ctime_ns]
        return seen + [hashlib.sha256(repr(self.xattrs()).encode()).hexdigest()]


class Walk:
    """Iterates over the entries that differ, parents first, names in order of their bytes.

    parts    topmost first
    base     {name: signature} of the recorded base, or None: the base is the image
    left_out function (name) → whether it is excluded
    own      function (entry) → whether it is as AppPot itself makes it: then it is told only if it holds something else
    """

    def __init__(self, parts, base=None, left_out=None, own=lambda entry: False):
        self.parts, self.base, self.left_out, self.own = parts, base, left_out, own
        self.children = {}                # of the base: directory → its names
        self.seen = 0                     # names looked at
        for name in base or ():
            if base[name] != [GONE] and name:
                self.children.setdefault(name.rpartition(b"/")[0], set()).add(name.rpartition(b"/")[2])

    def __iter__(self):
        places = []
        opaque = False
        for part in self.parts:
            places.append((part, part.host))
            if os.path.lexists(part.host + b"/" + OPAQUE):
                opaque = True
                break
        top = self._entry(b"", *places[0], b"", os.lstat(places[0][1]))
        top.opaque = opaque
        waiting = []                      # directories above that are told only if something below is
        # Each level: entries still to come, whether everything is told because a directory above is new to the base.
        stack = [(iter([(top, places)]), False)]
        depth = []
        while stack:
            entries, new = stack[-1]
            item = next(entries, None)
            if item is None:
                stack.pop()
                if depth:
                    gone = depth.pop()
                    if waiting and waiting[-1] is gone:
                        waiting.pop()
                continue
            entry, places = item
            tell, entry.opaque, all_below = self._judge(entry, new)
            if entry.kind != S_IFDIR:
                if tell:
                    yield from waiting
                    waiting.clear()
                    yield entry
                continue
            waiting.append(entry)
            depth.append(entry)
            if tell:
                yield from waiting
                waiting.clear()
            stack.append((self._below(entry, places, all_below), all_below))

    def _judge(self, entry, new):
        """(whether the entry is told, whether as opaque, whether everything below it is)."""
        own = self.own(entry)
        if self.base is None or new:
            return not own, entry.opaque and not new, new or entry.opaque
        before = self.base.get(entry.name)
        now = entry.signature()
        opaque = entry.opaque and not (before is not None and before[0] == S_IFDIR and before[6])
        return before != now and not own, opaque, opaque

    def _below(self, entry, places, new):
        """Iterator over (entry, places) in a directory."""
        found, marks = {}, set()
        for part, host in places:
            try:
                names = os.listdir(host)
            except FileNotFoundError:
                continue
            except PermissionError:
                names = _unreadable(host)
            own_marks = []
            for name in names:
                if name[:4] == WHITEOUT:
                    if name != OPAQUE:
                        own_marks.append(name[4:])
                elif name in found:
                    found[name].append((part, host))
                elif name not in marks:
                    found[name] = [(part, host)]
            for name in own_marks:
                if name in found:
                    found[name].append(None)      # layers below have no part in it
            marks.update(own_marks)
        prefix = entry.name + b"/" if entry.name else b""
        gone = marks - found.keys()
        if self.base is not None and not new:
            gone |= self.children.get(entry.name, set()) - found.keys()
        result = []
        for name in sorted(found.keys() | gone):
            full = prefix + name
            self.seen += 1
            if self.left_out is not None and self.left_out(full):
                continue
            if name in found:
                item = self._named(full, name, found[name])
                if item is not None:
                    result.append(item)
            elif not new:
                result.append((Entry(full, GONE), ()))
        return iter(result)

    def _named(self, full, name, where):
        part, host = where[0]
        try:
            st = os.lstat(host + b"/" + name)
            entry = self._entry(full, part, host + b"/" + name, name, st, host)
        except FileNotFoundError:
            return None
        if entry.kind != S_IFDIR:
            return entry, ()
        places = []
        for place in where:
            if place is None:
                entry.opaque = True
                break
            part, host = place
            path = host + b"/" + name
            try:
                if not S_ISDIR(os.lstat(path).st_mode):
                    entry.opaque = True
                    break
            except FileNotFoundError:
                break
            places.append((part, path))
            if os.path.lexists(path + b"/" + OPAQUE):
                entry.opaque = True
                break
        return entry, places

    @staticmethod
    def _entry(full, part, path, name, st, directory=None):
        entry = Entry(full, S_IFMT(st.st_mode), path, st)
        entry.mode = st.st_mode & 0o7777
        record = part.record(directory if directory is not None else path, name, st)
        if record is not None:
            entry.uid, entry.gid = record.uid, record.gid
            if record.mode != KEEP:
                entry.mode = record.mode & 0o7777
            if record.rdev != KEEP:
                entry.kind, entry.rdev = S_IFMT(record.mode), record.rdev
        if st.st_uid != os.geteuid() and entry.uid == KEEP:
            entry.uid = st.st_uid
        if st.st_gid != os.getegid() and entry.gid == KEEP:
            entry.gid = st.st_gid
        if entry.kind == S_IFLNK:
            entry.target, entry.mode = os.readlink(path), 0o777
        elif entry.kind in (S_IFCHR, S_IFBLK) and not entry.rdev:
            entry.rdev = st.st_rdev
        return entry


def _unreadable(host):
    """The names in a directory whose mode keeps even its owner out."""
    mode = os.lstat(host).st_mode & 0o7777
    os.chmod(host, mode | 0o700)
    try:
        return os.listdir(host)
    finally:
        os.chmod(host, mode)


def can_be_kept(entry):
    """Whether archives have such files: sockets live in a running machine only."""
    return entry.kind != S_IFSOCK
