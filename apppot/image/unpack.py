"""Unpacking a tar stream into a directory as an ordinary user, whatever is in it.

Nothing is ever written outside of the tree: names are resolved here, within the tree, and every step is taken
relative to a directory descriptor without following symlinks. Files belong to the host user, who can always read and
write them; what they should be instead is kept in an `Owners`. Devices become empty regular files.
"""

import os
import tarfile
from errno import EFBIG, ELOOP, ENAMETOOLONG, ENOTDIR
from stat import S_IFBLK, S_IFCHR

from apppot.errors import AppPotError
from apppot.image import tarstream, xattrs
from apppot.image.owners import Owners
from apppot.image.progress import SILENT

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
MAX_LINKS = 40
MAX_PATH = 3800            # so that the name below any cache directory is still a name for the host
MAX_OPEN = 64              # directory descriptors that are held
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IGNORED = (b".wh.", b".wh..", b".wh...")      # whiteouts of nothing, of "." and of ".."


class Unpacker:
    """Puts members into the existing empty directory `tree`. `owners` has what was recorded; `finish` at the end."""

    def __init__(self, tree, name):
        self.name = name                # of the archive, for messages
        self.owners = Owners()
        self.devices = set()            # directories (names in the tree) with stand-ins for devices
        self.files = 0
        self._links = {}                # symlinks made so far: name -> target
        self._times = {}                # directories: name -> mtime_ns
        self._now = 0                   # modification time of the member at hand
        self._fds = {b"": os.open(tree, _DIRECTORY)}
        self._known = {b""}             # directories that exist
        self._makers = {tarfile.DIRTYPE: self._directory, tarfile.SYMTYPE: self._symlink, tarfile.LNKTYPE: self._link,
                        tarfile.FIFOTYPE: self._fifo, tarfile.CHRTYPE: self._device, tarfile.BLKTYPE: self._device}

    # Names

    def refuse(self, name, reason):
        shown = ascii(os.fsdecode(name))[1:-1]
        raise AppPotError(f"{self.name}: refused, because its member {shown[:200]} {reason}")

    def _parts(self, name, member):
        if b"\0" in name:
            self.refuse(member, "has a NUL in its name")
        if len(name) > MAX_PATH:
            self.refuse(member, f"has a name of {len(name)} bytes")
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            self.refuse(member, "leads out of the archive with ..")
        if any(len(part) > 255 for part in parts):
            self.refuse(member, "has a name that is longer than 255 bytes")
        return parts

    def _resolve(self, parts, member):
        """The same name without symlinks of the archive in it, which are taken within the tree."""
        links = self._links
        if not links:
            return b"/".join(parts)
        todo = parts[::-1]
        here = []
        followed = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                del here[-1:]
                continue
            here.append(part)
            target = links.get(b"/".join(here))
            if target is None:
                continue
            followed += 1
            if followed > MAX_LINKS:
                self.refuse(member, "lies behind too many symbolic links")
            here = [] if target.startswith(b"/") else here[:-1]
            todo.extend(reversed([step for step in target.split(b"/") if step not in (b"", b".")]))
            if len(todo) > MAX_PATH:
                self.refuse(member, "lies behind symbolic links that are too long")
        return b"/".join(here)

    def _fd(self, directory):
        """Descriptor of a directory in the tree, made if it isn't there."""
        fd = self._fds.get(directory)
        if fd is not None:
            return fd
        above, _, name = directory.rpartition(b"/")
        start = self._fds.get(above)
        if start is None:
            start = self._fd(above)
        if directory not in self._known:
            try:
                os.mkdir(name, 0o700, dir_fd=start)
                os.chmod(name, 0o755, dir_fd=start)
                self.owners.set(directory, (0, 0, 0o755, -1))
                self._times[directory] = self._now
            except FileExistsError:
                pass
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=start)
        except OSError as error:
            if error.errno in (ENOTDIR, ELOOP):
                self.refuse(directory, "is not a directory and has members below it")
            raise
        self._known.add(directory)
        if len(self._fds) >= MAX_OPEN:
            self._close_some(directory)
        self._fds[directory] = fd
        return fd

    def _close_some(self, needed):
        for name in [name for name in self._fds if name and not needed.startswith(name + b"/")] or \
                [name for name in self._fds if name]:
            os.close(self._fds.pop(name))

    # Members

    def add(self, tar, member):
        """Put one member in its place."""
        name = tarstream.as_bytes(member.name)
        parts = self._parts(name, name)
        self._now = tarstream.mtime_ns(member)
        self._times.setdefault(b"", self._now)
        if not parts:
            if member.isdir():
                self._describe(b"", member)
                self._times[b""] = tarstream.mtime_ns(member)
            return
        last = parts[-1]
        if last in _IGNORED or last.startswith(b".wh..wh.") and last != OPAQUE:
            return
        above = self._resolve(parts[:-1], name)
        path = above + b"/" + last if above else last
        if len(path) > MAX_PATH:
            self.refuse(name, "lies behind symbolic links that are too long")
        fd = self._fd(above)
        maker = self._makers.get(member.type)
        if maker is None:
            if not member.isreg() and member.type not in tarfile.REGULAR_TYPES:
                self.refuse(name, f"is of an unknown type ({member.type!r})")
            maker = self._regular
        if not member.isdir() and not member.islnk():
            self._remove(fd, last, path)
        self.files += 1
        try:
            maker(tar, member, fd, last, path)
        except OSError as error:
            if error.errno == ENAMETOOLONG:
                self.refuse(name, "has a name that is too long for the cache's file system")
            if error.errno == EFBIG:
                self.refuse(name, "is larger than a file may be in the cache's file system, or by ulimit -f")
            raise

    def _remove(self, fd, name, path):
        """Make room: a later member replaces an earlier one."""
        known = path in self.owners.records or path in self._known or name.startswith(WHITEOUT)
        if not known:
            return
        self._links.pop(path, None)
        if path in self._known:
            self._remove_tree(fd, name, path)
            return
        try:
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            pass
        self.owners.forget(path)

    def _remove_tree(self, fd, name, path):
        prefix = path + b"/"
        for old in [old for old in self._fds if old == path or old.startswith(prefix)]:
            os.close(self._fds.pop(old))
        for kept in (self._links, self._times):
            for old in [old for old in kept if old == path or old.startswith(prefix)]:
                del kept[old]
        self._known = {old for old in self._known if old != path and not old.startswith(prefix)}
        self.owners.forget(path, True)
        from apppot.image.cow import remove_tree
        remove_tree(b"/proc/self/fd/%d/%s" % (fd, name))

    def _describe(self, path, member, kind=0, rdev=-1):
        self.owners.set(path, (_number(member.uid), _number(member.gid), member.mode & 0o7777 | kind, rdev),
                        tarstream.xattrs(member))

    def _directory(self, tar, member, fd, name, path):
        if path not in self._known:
            self._remove(fd, name, path)
            os.mkdir(name, 0o700, dir_fd=fd)
            self._known.add(path)
        os.chmod(name, member.mode & 0o1777 | 0o700, dir_fd=fd)
        self._describe(path, member)
        self._times[path] = tarstream.mtime_ns(member)
        self._attributes(fd, name, path)

    def _regular(self, tar, member, fd, name, path):
        file = os.open(name, _NEW, 0o600, dir_fd=fd)
        try:
            for at, data in tarstream.contents(tar, member):
                if member.sparse is not None:
                    os.lseek(file, at, os.SEEK_SET)
                while data:
                    written = os.write(file, data)
                    data = data[written:] if written < len(data) else b""
            if member.sparse is not None:
                os.ftruncate(file, member.size)
            self._finish_file(file, member)
        finally:
            os.close(file)
        if not name.startswith(WHITEOUT):
            self._describe(path, member)
            self._attributes(fd, name, path)

    def _finish_file(self, file, member):
        os.fchmod(file, member.mode & 0o1777 | 0o600)
        time = tarstream.mtime_ns(member)
        os.utime(file, ns=(time, time))

    def _symlink(self, tar, member, fd, name, path):
        target = tarstream.as_bytes(member.linkname)
        if b"\0" in target or not target or len(target) > 4095:
            self.refuse(path, "is a symbolic link that leads nowhere")
        os.symlink(target, name, dir_fd=fd)
        self._links[path] = target
        time = tarstream.mtime_ns(member)
        os.utime(name, ns=(time, time), dir_fd=fd, follow_symlinks=False)
        self._describe(path, member)

    def _link(self, tar, member, fd, name, path):
        target = tarstream.as_bytes(member.linkname)
        parts = self._parts(target, path)
        if not parts or parts[-1].startswith(WHITEOUT):
            self.refuse(path, "is a hard link to nothing")
        above = self._resolve(parts[:-1], path)
        old = above + b"/" + parts[-1] if above else parts[-1]
        if old == path:
            return
        if old not in self.owners.records or old in self._known:
            self.refuse(path, f"is a hard link to {ascii(os.fsdecode(target))}, which is no file of the archive before it")
        self._remove(fd, name, path)
        if old not in self.owners.records:
            self.refuse(path, "is a hard link to what it replaces")
        source = os.dup(self._fd(above))            # asking for the other may close it
        try:
            os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=self._fd(path.rpartition(b"/")[0]),
                    follow_symlinks=False)
        finally:
            os.close(source)
        self.owners.set(path, self.owners.records[old], self.owners.xattrs.get(old))
        if old in self._links:
            self._links[path] = self._links[old]
        if old.rpartition(b"/")[0] in self.devices and self.owners.records[old][3] != -1:
            self.devices.add(path.rpartition(b"/")[0])

    def _fifo(self, tar, member, fd, name, path):
        os.mkfifo(name, 0o600, dir_fd=fd)
        os.chmod(name, member.mode & 0o1777 | 0o600, dir_fd=fd)
        time = tarstream.mtime_ns(member)
        os.utime(name, ns=(time, time), dir_fd=fd, follow_symlinks=False)
        self._describe(path, member)

    def _device(self, tar, member, fd, name, path):
        file = os.open(name, _NEW, 0o600, dir_fd=fd)
        try:
            self._finish_file(file, member)
        finally:
            os.close(file)
        try:
            number = os.makedev(member.devmajor, member.devminor)
        except (OverflowError, ValueError):
            self.refuse(path, "is a device with an impossible number")
        self._describe(path, member, S_IFCHR if member.ischr() else S_IFBLK, number)
        self.devices.add(path.rpartition(b"/")[0])

    def _attributes(self, fd, name, path):
        """Set what guests read from the file itself; the rest stays in `owners`."""
        xattrs.put(b"/proc/self/fd/%d/%s" % (fd, name), self.owners.xattrs.get(path, {}))

    def finish(self):
        """Give the directories their times; nothing can be added any more."""
        for path in sorted(self._times, reverse=True):
            time = self._times[path]
            above, _, name = path.rpartition(b"/")
            if path:
                os.utime(name, ns=(time, time), dir_fd=self._fd(above), follow_symlinks=False)
            else:
                os.utime(self._fds[b""], ns=(time, time))
        self.close()

    def close(self):
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()


def _number(value):
    return value if 0 <= value < 1 << 32 else 65534


def unpack(stream, tree, name, progress=SILENT):
    """Unpack an uncompressed tar stream into the empty directory `tree`; the Unpacker with what was recorded."""
    unpacker = Unpacker(tree, name)
    try:
        with tarstream.damage(name):
            for tar, member in tarstream.members(stream):
                unpacker.add(tar, member)
        unpacker.finish()
    finally:
        unpacker.close()
    return unpacker
