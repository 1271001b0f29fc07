"""The cache's patched copies of C libraries and static programs (kernel/patching.py makes them): keeping and freeing.

A copy is named by what the original's inode said and the version of the patching, so it is never of another state of
the file. Behind its contents it tells its original's path and what was patched; a file for which nothing could be
patched is kept as that alone. A machine holds a shared lock on each copy that it hands out, so what is in use stays.
"""

import fcntl
import os
import struct

from apppot.errors import AppPotError

_TRAILER = struct.Struct("<QQIII8s")       # size of the contents; address; sites, others; length of the path; magic
_MAGIC = b"appcopy\0"


class Copy:
    """path; original: host path; size: of the file; sites, others: how many were patched, and could not be; used: time;
    contents: size of the patched file, 0 when nothing could be patched; address: of the segment that was added."""

    __slots__ = ("path", "original", "size", "sites", "others", "used", "contents", "address", "inode")

    def __init__(self, path, fd):
        """OSError when it is no complete copy."""
        self.path = path
        status = os.fstat(fd)
        self.size, self.used = status.st_blocks * 512, status.st_mtime
        self.inode = status.st_dev, status.st_ino
        end = os.pread(fd, _TRAILER.size, max(status.st_size - _TRAILER.size, 0))
        if len(end) < _TRAILER.size or end[-len(_MAGIC):] != _MAGIC:
            raise OSError("incomplete")
        self.contents, self.address, self.sites, self.others, length, _ = _TRAILER.unpack(end)
        self.original = os.pread(fd, length, status.st_size - _TRAILER.size - length)

    @property
    def there(self):
        """Whether it still has its name."""
        try:
            status = os.stat(self.path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.inode

    @property
    def stale(self):
        """Whether the original is gone or was changed."""
        try:
            return not os.path.basename(self.path).startswith(_state(os.stat(self.original)))
        except OSError:
            return True


def _state(status):
    return b"%x-%x-%x-%x-" % (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def name(status, version):
    """File name of the copy, made by `version` (a number), of a file whose os.stat() is `status`."""
    return _state(status) + b"%x" % version


def hold(path):
    """(Copy, descriptor of its lock) of a copy that stays as long as the lock is open. OSError: there is none."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(fd, fcntl.LOCK_SH)
        copy = Copy(path, fd)
        if not copy.there:
            raise FileNotFoundError(path)
        _mark_use(fd)
        return copy, fd
    except OSError:
        os.close(fd)
        raise


def _mark_use(fd):
    try:
        os.utime(fd)
    except OSError:                        # a cache that others may only read
        return


def store(path, original, contents, address, sites, others):
    """Write a copy (the arguments are the members of Copy); of several that do so at once the first wins. OSError leaves nothing behind."""
    new = b"%s.%d" % (path, os.getpid())
    data = bytes(contents) + original + _TRAILER.pack(len(contents), address, sites, others, len(original), _MAGIC)
    try:
        with open(new, "wb") as file:
            _lock(file.fileno(), fcntl.LOCK_EX)
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o755)
            _publish(new, path)
    finally:
        try:
            os.unlink(new)
        except FileNotFoundError:
            pass


def _publish(new, path):
    try:
        os.link(new, path)
    except FileExistsError:
        if not _is_whole(path):            # after a power failure
            os.rename(new, path)
    except OSError:                        # a file system without hard links
        os.rename(new, path)


def _is_whole(path):
    try:
        with open(path, "rb") as file:
            return bool(Copy(path, file.fileno()))
    except OSError:
        return False


def _lock(fd, kind):
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:                        # a file system without locks
        pass


class Copies:
    """All that are in the cache directory `cache`. size; used: time; source: of what they are, a line."""

    def __init__(self, cache):
        self.cache = cache
        found = _copies(cache)
        self.size = sum(copy.size for copy in found)
        self.used = max((copy.used for copy in found), default=0)
        self.source = f"copies of {len(found)} libraries and programs for the fast path"


def remove_all(found):
    """Free all of a Copies that no machine uses. AppPotError: some are in use."""
    if remove(found.cache, lambda copy: True):
        raise AppPotError("patched copies are in use; wait for the end of the machines")


def _copies(cache):
    found = []
    for path, fd in _files(cache):
        try:
            found.append(Copy(path, fd))
        except OSError:
            continue
    return found


def remove(cache, wanted=lambda copy: copy.stale):
    """Free the wanted copies, and what was left half made; how many of the wanted are in use and stay."""
    return sum(_remove(path, fd, wanted) for path, fd in _files(cache))


def _remove(path, fd, wanted):
    """1 when it is wanted and in use."""
    try:
        if not wanted(Copy(path, fd)):
            return 0
        whole = 1
    except OSError:
        whole = 0                          # without a lock: nobody is making it any more
    try:
        _lock(fd, fcntl.LOCK_EX)
        os.unlink(path)
    except BlockingIOError:
        return whole
    except OSError:
        return 0
    return 0


def _files(cache):
    """(path, descriptor) of each; it is open until the next one is."""
    top = cache + b"/patched"
    try:
        names = os.listdir(top)
    except OSError:
        return
    for name in names:
        path = top + b"/" + name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            yield path, fd
        finally:
            os.close(fd)
