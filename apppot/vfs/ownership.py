"""Who owns what, where the host's disk can't say it: records of owner, mode and device number by inode.

A file that belongs to the host user on disk and has no record belongs to whoever looks at it.

The records of a COW live in its `ownership.log`, one line a change, oldest first, names relative to `upper`:

    set UID GID MODE RDEV NAME      -1 where the disk is right; MODE octal, the 07777 bits and, for devices, the type
    delete NAME
    rename OLD NEW                  with everything below
    exchange OLD NEW
    link OLD NEW

In names, bytes up to the space, "%" and DEL are written %XX. A torn last line is ignored.
"""

import os
from errno import ENOSPC
from stat import S_IFMT, S_ISDIR

from apppot.image.names import escape, unescape
from apppot.vfs.node import Attributes

KEEP = -1


def permitted(caller, st, mask):
    """Whether owner, group and mode in `st` give the caller the R_OK, W_OK, X_OK bits of `mask`."""
    mode = st.st_mode
    if caller.uid == 0:
        return not mask & os.X_OK or S_ISDIR(mode) or bool(mode & 0o111)
    if st.st_uid == caller.uid:
        mode >>= 6
    elif st.st_gid == caller.gid or st.st_gid in caller.groups:
        mode >>= 3
    return not mask & ~mode


class Record:
    """What the disk can't say of one inode. KEEP: the disk is right.

    told: what a lazy layer says of a file whose contents are perhaps not there: (nlink, blocks, mtime_ns), or None
    whole: its contents are there
    listed: it may have an access control list, so its mode does not say whom it permits what
    """

    __slots__ = ("uid", "gid", "mode", "rdev", "told", "whole", "listed")

    def __init__(self, uid=KEEP, gid=KEEP, mode=KEEP, rdev=KEEP, told=None):
        self.uid, self.gid, self.mode, self.rdev, self.told = uid, gid, mode, rdev, told
        self.whole = self.listed = True

    def __bool__(self):
        return not self.uid == self.gid == self.mode == self.rdev == KEEP

    def copy(self):
        other = Record(self.uid, self.gid, self.mode, self.rdev, self.told)
        other.whole, other.listed = self.whole, self.listed
        return other

    def over(self, below):
        """What this record says, and where it says nothing what `below` says."""
        return Record(*(getattr(below if getattr(self, field) == KEEP else self, field)
                        for field in ("uid", "gid", "mode", "rdev")))

    def __repr__(self):
        return f"Record({self.uid}, {self.gid}, {self.mode:o}, {self.rdev})"


class Records(dict):
    """(st_dev, st_ino) -> Record; `watch(key, record)` is called when one was set or changed, with None when it is gone."""

    watch = None

    def __setitem__(self, key, record):
        super().__setitem__(key, record)
        if self.watch is not None:
            self.watch(key, record)

    def pop(self, key, default=None):
        record = super().pop(key, default)
        if self.watch is not None:
            self.watch(key, None)
        return record


class Ownership:
    """The records of a machine.

    records   (st_dev, st_ino) -> Record
    names     name relative to `upper` -> (st_dev, st_ino), of the recorded files in the COW
    log       path of ownership.log, or None: the records end with the run
    on_directory    called when the record of a directory changes: what may be looked up has changed
    """

    def __init__(self, upper=None, log=None, uid=None, gid=None):
        self.uid = os.geteuid() if uid is None else uid
        self.gid = os.getegid() if gid is None else gid
        self.upper = upper
        self.log = log
        self.records = Records()
        self.names = {}
        self.merged = {}          # (st_dev, st_ino) of the lower part of a merged directory -> Directory
        self.on_directory = None
        self._fd, self._behind = -1, False         # behind: the log lacks something that was done
        if log is not None:
            self._replay()

    # Asking

    def attributes(self, caller, st):
        """`st`, an os.stat_result, as the caller sees it."""
        record = self.records.get((st.st_dev, st.st_ino)) if self.records else None
        if record is None:
            if not caller.virtual or (st.st_uid != self.uid and st.st_gid != self.gid):
                return st
            seen = Attributes(st)
        else:
            seen = Attributes(st)
            if record.mode != KEEP:
                seen.st_mode = (S_IFMT(record.mode) or S_IFMT(st.st_mode)) | record.mode & 0o7777
            if record.rdev != KEEP:
                seen.st_rdev = record.rdev
            if record.uid != KEEP:
                seen.st_uid = record.uid
            if record.gid != KEEP:
                seen.st_gid = record.gid
            if record.told is not None:
                seen.st_nlink, seen.st_blocks, seen.st_mtime_ns = record.told
        if caller.virtual:
            if seen.st_uid == self.uid and (record is None or record.uid == KEEP):
                seen.st_uid = caller.uid
            if seen.st_gid == self.gid and (record is None or record.gid == KEEP):
                seen.st_gid = caller.gid
        return seen

    def of(self, st):
        return self.records.get((st.st_dev, st.st_ino))

    # Changing. `name` is relative to upper; None: not a file of the COW, the record is not kept

    def set(self, st, record, name=None):
        key = (st.st_dev, st.st_ino)
        if record:
            if name is not None:               # first, since it may fail
                self._write(b"set %d %d %s %d %s" % (
                    record.uid, record.gid, b"-1" if record.mode == KEEP else b"%o" % record.mode, record.rdev,
                    escape(name)))
                self.names[name] = key
            self.records[key] = record
        elif key in self.records:
            self.forget(st, name)
        if S_ISDIR(st.st_mode) and self.on_directory is not None:
            self.on_directory()

    def forget(self, st, name=None):
        """The inode is gone: its last name was removed."""
        self.records.pop((st.st_dev, st.st_ino), None)
        self.removed(name)

    def removed(self, name):
        """A name is gone, perhaps one of several of its file."""
        if name is not None and self.names.pop(name, None) is not None:
            self._note(b"delete " + escape(name))

    def recheck(self, inode, gone):
        """A name of `inode`, (st_dev, st_ino), was removed or changed by others. gone: it was the last one."""
        if inode not in self.records:
            return
        for name in [name for name, other in self.names.items() if other == inode]:
            try:
                st = os.lstat(self.upper + b"/" + name)
            except OSError:
                st = None
            if st is None or (st.st_dev, st.st_ino) != inode:
                self.removed(name)
        if gone:
            self.records.pop(inode)

    def linked(self, old, new):
        if old in self.names:
            self.names[new] = self.names[old]
            self._note(b"link %s %s" % (escape(old), escape(new)))

    def renamed(self, old, new, directory):
        """A file of the COW has another name; for a directory, everything below it as well."""
        if self.names and _rename(self.names, old, new, directory):
            self._note(b"rename %s %s" % (escape(old), escape(new)))

    def exchanged(self, old, new):
        if self.names and _exchange(self.names, old, new):
            self._note(b"exchange %s %s" % (escape(old), escape(new)))

    # The log

    def _note(self, line):
        """Write what was done already. Where there is no room for it the log is written anew before anything else is."""
        try:
            self._write(line)
        except OSError:
            self._behind = True

    def _write(self, line):
        if self.log is None:
            return
        if self._behind:
            self.compact()
        if self._fd < 0:
            self._fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.write(self._fd, line + b"\n") <= len(line):     # a part of a line: others can't be written behind it
            self._behind = True
            raise OSError(ENOSPC, os.strerror(ENOSPC))

    def _replay(self):
        try:
            with open(self.log, "rb") as file:
                text = file.read()
        except FileNotFoundError:
            return
        if not text:
            return
        lines = text.split(b"\n")
        torn = lines.pop()  # what is behind the last newline was not written to its end
        by_name = {}
        for line in lines:
            try:
                _apply(by_name, line)
            except (ValueError, IndexError, KeyError):
                continue
        for name, record in by_name.items():
            try:
                st = os.lstat(self.upper + b"/" + name)
            except OSError:
                continue
            key = (st.st_dev, st.st_ino)
            self.records[key] = record
            self.names[name] = key
        if torn:
            self.compact()

    def name_of(self, st):
        """A name of a recorded file in the COW, or None."""
        key = st.st_dev, st.st_ino
        return next((name for name, other in self.names.items() if other == key), None)

    def reload(self):
        """The log was written to by somebody else: forget what it said, read it anew."""
        for key in self.names.values():
            self.records.pop(key, None)
        self.names.clear()
        self._replay()
        if self.on_directory is not None:
            self.on_directory()

    def compact(self):
        """Write the log anew with what holds now."""
        if self.log is None:
            return
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        new = self.log + b".new"
        with open(new, "wb") as file:
            for name, key in self.names.items():
                record = self.records.get(key)
                if record:
                    file.write(b"set %d %d %s %d %s\n" % (
                        record.uid, record.gid, b"-1" if record.mode == KEEP else b"%o" % record.mode, record.rdev,
                        escape(name)))
        os.rename(new, self.log)
        self._behind = False

    def close(self, clean=True):
        if clean and (self._fd >= 0 or self._behind):
            self.compact()
        elif self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _apply(by_name, line):
    word, _, rest = line.partition(b" ")
    if word == b"set":
        uid, gid, mode, rdev, name = rest.split(b" ")
        by_name[unescape(name)] = Record(int(uid), int(gid), KEEP if mode == b"-1" else int(mode, 8), int(rdev))
    elif word == b"delete":
        by_name.pop(unescape(rest), None)
    else:
        old, new = map(unescape, rest.split(b" "))
        if word == b"rename":
            _rename(by_name, old, new, True)
        elif word == b"exchange":
            _exchange(by_name, old, new)
        elif word == b"link":
            by_name[new] = by_name[old]


def _below(names, top):
    prefix = top + b"/"
    return [name for name in names if name == top or name.startswith(prefix)]


def _rename(names, old, new, directory):
    moved = _below(names, old) if directory else [old] if old in names else []
    replaced = [name for name in (new,) if name in names]
    for name in replaced:
        del names[name]
    for name in moved:
        names[new + name[len(old):]] = names.pop(name)
    return bool(moved or replaced)


def _exchange(names, old, new):
    one = {name: names.pop(name) for name in _below(names, old)}
    two = {name: names.pop(name) for name in _below(names, new)}
    for name, value in one.items():
        names[new + name[len(old):]] = value
    for name, value in two.items():
        names[old + name[len(new):]] = value
    return bool(one or two)
