"""Copying a file from a lower layer into the upper one: data, mode, times, extended attributes.

Each file is made in the COW's `work` directory under a name nobody can guess and renamed into place, so a copy is
there as a whole or not at all.
"""

from errno import EINVAL, ENXIO
import fcntl
import os
from stat import S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK

from apppot.image import xattrs

FICLONE = 0x40049409
CHUNK = 1 << 26


def temporary(work):
    return work + b"/" + os.urandom(12).hex().encode()


def prepare(source, path):
    """Copy the contents of a regular file to `path` in the work directory; it is there under that name when whole."""
    unfinished = path + b"-"
    _regular(source, unfinished, os.lstat(source), True)
    os.rename(unfinished, path)


def make(source, st, work, mode, data=True, prepared=None):
    """A copy of the host file `source` with the 07777 bits `mode`; its path in `work`.

    data: false leaves a regular file empty, for one that is about to be truncated. prepared: where prepare() was to
    put the contents; if it did not, they are copied here.
    """
    kind = S_IFMT(st.st_mode)
    path = temporary(work)
    try:
        if prepared is not None and data and os.path.lexists(prepared):
            os.rename(prepared, path)
        elif kind == S_IFREG:
            _regular(source, path, st, data)
        elif kind == S_IFLNK:
            os.symlink(os.readlink(source), path)
        elif kind == S_IFDIR:
            os.mkdir(path, 0o700)
        elif kind == S_IFIFO or kind == S_IFSOCK:
            os.mknod(path, kind | 0o600)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        attributes(source, path, kind == S_IFDIR)
        if kind != S_IFLNK:
            os.chmod(path, mode)
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns), follow_symlinks=False)
    except BaseException:
        try:
            os.rmdir(path) if kind == S_IFDIR else os.unlink(path)
        except OSError:
            pass
        raise
    return path


def _regular(source, path, st, data):
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        origin = _opened(source)
        try:
            if data and st.st_size:
                copy_data(origin, target)
        finally:
            os.close(origin)
    finally:
        os.close(target)


def _opened(source):
    """A descriptor of a lower file; where it is the caller's own, reading leaves the lower layer's atime as it was."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(source, flags | os.O_NOATIME)
    except PermissionError:
        return os.open(source, flags)


def copy_data(origin, target):
    """Copy a whole regular file between descriptors, sharing its blocks if the host can, keeping holes."""
    try:
        fcntl.ioctl(target, FICLONE, origin)
        return
    except OSError:
        pass
    size = os.fstat(origin).st_size
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            start = os.lseek(origin, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == ENXIO:   # nothing but a hole up to the end
                break
            if error.errno != EINVAL:
                raise
            start, at = at, size       # a file system that doesn't know holes
        else:
            at = os.lseek(origin, start, os.SEEK_HOLE)
        _copy_range(origin, target, start, at)


def _copy_range(origin, target, start, end):
    os.lseek(origin, start, os.SEEK_SET)
    os.lseek(target, start, os.SEEK_SET)
    native = True
    while start < end:
        count = min(end - start, CHUNK)
        if native:
            try:
                done = os.copy_file_range(origin, target, count)
            except OSError:
                native = False
                continue
            if not done:
                native = False
                continue
        else:
            chunk = os.read(origin, min(count, 1 << 20))
            if not chunk:
                break
            done = len(chunk)
            while chunk:
                chunk = chunk[os.write(target, chunk):]
        start += done


def attributes(source, path, directory):
    """Copy the extended attributes, as far as the upper's file system has them."""
    found = xattrs.read(source)
    if found:
        xattrs.put(path, found)
        if directory:
            xattrs.hand_down(path)
