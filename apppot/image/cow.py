"""The copy-on-write directory: what a machine changed, and what only the machine knows about it.

    upper/          the changed files, with OCI whiteouts
    work/           copies that are not finished; emptied at each start
    ownership.log   owners and modes the disk can't keep (see vfs/ownership.py)
    cow.json        format, version, and what a snapshot needs to know
    base.json       the recorded base of snapshots, if there is one (see snap/base.py)
    merging         a merge that is being put into upper; finished at the next open (see graft.py)
    lock            held (flock) while a machine runs on it
"""

import fcntl
import os
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from stat import S_ISDIR

from apppot.errors import AppPotError
from apppot.image import suitable

FORMAT = "apppot-cow"
VERSION = 1
_FULL = (ENOSPC, EDQUOT)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Cow:
    """An open COW directory. Make one with `open`; end with `close`."""

    def __init__(self, path, lock, data, of_one_run):
        self.path = path
        self.upper = path + b"/upper"
        self.work = path + b"/work"
        self.ownership_log = path + b"/ownership.log"
        self.data = data              # contents of cow.json
        self._of_one_run = of_one_run
        self._lock = lock

    @classmethod
    def open(cls, path, create=True, lock=None):
        """Open the COW directory `path`, making it if it is missing or empty.

        lock: the descriptor of its file `lock` where the caller holds that already, of a COW of one run; `close` closes it.
        """
        path = os.path.abspath(os.fsencode(path))
        try:
            return cls._open(path, create, lock)
        except OSError as error:
            advice = "make room there, or name another directory" if error.errno in _FULL else "name a directory that you can write"
            raise AppPotError(f"COW {os.fsdecode(path)}: {_where(error, path)}{error.strerror}; {advice}") from error

    @classmethod
    def _open(cls, path, create, lock):
        name = os.fsdecode(path)
        if create:
            os.makedirs(path, 0o700, exist_ok=True)
        elif not os.path.isdir(path):
            raise AppPotError(f"COW {name}: no such directory")
        found = os.listdir(path)
        if b"cow.json" not in found and set(found) - {b"lock", b"upper", b"work", b"cow.json.new"}:
            raise AppPotError(f"COW {name} is not empty and has no cow.json; name a new or an empty directory")
        if b"cow.json" not in found and not create:
            raise AppPotError(f"COW {name} has no cow.json: it is no COW directory")
        of_one_run = lock is not None
        if not of_one_run:
            lock = os.open(path + b"/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(lock, name)
            if b"merging" in found or b"merging.new" in found:
                from apppot.image import graft
                graft.recover(path)
            data = _read(path, name) if b"cow.json" in found else {"format": FORMAT, "version": VERSION,
                                                                   "mountpoints": []}
            self = cls(path, lock, data, of_one_run)
            os.makedirs(self.upper, 0o755, exist_ok=True)
            os.makedirs(self.work, 0o700, exist_ok=True)
            for directory in (self.upper, self.work):
                if not os.access(directory, os.W_OK | os.X_OK):
                    raise AppPotError(f"COW {name}: can't write {os.fsdecode(directory)}; name another directory, or "
                                      "make this one writable")
            for leftover in os.listdir(self.work):
                remove_tree(self.work + b"/" + leftover)
            if b"cow.json" not in found:
                lacking = suitable.lacks(self.work)
                if lacking:
                    raise AppPotError(f"COW {name}: {lacking}; use a directory on another one (--cow, or TMPDIR)")
                self.save()
            return self
        except BaseException:
            os.close(lock)
            raise

    def save(self):
        """Write cow.json, but for a COW of one run: nobody opens that again (`keep`)."""
        if not self._of_one_run:
            self.keep()

    def keep(self):
        """Write cow.json for whom is to read it."""
        import json                        # takes as long as all else that is done here
        new = self.path + b"/cow.json.new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump(self.data, file, indent=1)
            file.write("\n")
        os.rename(new, self.path + b"/cow.json")

    def reload(self):
        """Read cow.json, which graft.py has written to."""
        self.data = _read(self.path, os.fsdecode(self.path))

    def note_image(self, image):
        """Remember the image (bytes) that it is started with: `apppot-snap` needs it too."""
        name = os.fsdecode(image)
        if self.data.get("image") != name:
            self.data["image"] = name
            self.save()

    @property
    def mountpoints(self):
        """Guest paths that exist in `upper` only because something is mounted there."""
        return [os.fsencode(path) for path in self.data.get("mountpoints", [])]

    def add_mountpoints(self, paths):
        known = self.data.setdefault("mountpoints", [])
        new = [path for path in map(os.fsdecode, paths) if path not in known]
        if new:
            known.extend(new)
            self.save()

    def close(self):
        """Let go of it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def _where(error, path):
    """The file that an OSError is about, if it isn't the directory itself."""
    if error.filename is None or os.fsencode(error.filename) == path:
        return ""
    return f"{os.fsdecode(error.filename)}: "


def _take(lock, name):
    """Lock it, and leave this process's number for who asks next. On a full disk, where btrfs can't even shorten a file, without."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        alive = owner.isdigit() and os.path.exists(f"/proc/{owner}")       # else it is of an earlier machine
        raise AppPotError(f"COW {name} is in use by another machine" + (f" (process {owner})" if alive else "")
                          + "; wait for its end, or use another --cow") from None
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        if error.errno not in _FULL:
            raise


def _read(path, name):
    import json
    try:
        with open(path + b"/cow.json", encoding="utf-8") as file:
            data = json.load(file)
        if data["format"] != FORMAT:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise AppPotError(f"COW {name}: cow.json is damaged or of another program") from None
    if data.get("version") != VERSION:
        raise AppPotError(f"COW {name} has version {data.get('version')}; this program knows {VERSION}")
    return data


def remove_tree(path):
    """Remove a file or tree of ours, also through directories that nobody may read.

    Missing files don't matter: others may be removing it, too.
    """
    try:
        st = os.lstat(path)
        if not S_ISDIR(st.st_mode):
            os.unlink(path)
            return
        if st.st_mode & 0o700 != 0o700:
            os.chmod(path, 0o700)
        fd = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    # Without recursion, and never more than one descriptor a level: trees can be deeper than a path can be long.
    stack = [(fd, None, iter(list(os.scandir(fd))))]
    try:
        while stack:
            fd, name, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                os.close(fd)
                stack.pop()
                with suppress(FileNotFoundError):
                    os.rmdir(name or path, dir_fd=stack[-1][0] if stack else None)
                continue
            with suppress(FileNotFoundError):
                below = _removed_or_open(fd, entry)
                if below is not None:
                    stack.append((below, entry.name, iter(list(os.scandir(below)))))
    finally:
        for fd, name, entries in stack:
            os.close(fd)


def _removed_or_open(fd, entry):
    """Remove an entry of the directory `fd`; where it is a directory with something in it, a descriptor of it instead."""
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.name, dir_fd=fd)
        return None
    try:
        os.rmdir(entry.name, dir_fd=fd)
        return None
    except FileNotFoundError:
        raise
    except OSError:
        os.chmod(entry.name, 0o700, dir_fd=fd)
    return os.open(entry.name, _DIRECTORY, dir_fd=fd)
