"""Unpacking a whole ext or squashfs image: one process walks the tree and makes the names, others write contents."""

import os
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK
import signal
import struct

from apppot.errors import AppPotError
from apppot.image import detect, xattrs
from apppot.image.tree import DamagedImage

_BATCH_FILES, _BATCH_BYTES = 64, 8 << 20
_LENGTH = struct.Struct("<I")


class Extraction:
    def __init__(self, found, below, target, progress, processes=None):
        self.found, self.below = found, below
        self.target = target
        self.progress = progress
        self.count = processes or min(len(os.sched_getaffinity(0)), 8)
        self.root = os.geteuid() == 0
        self.files = self.bytes = 0
        self.workers = []
        self.batch, self.waiting = [], 0

    def run(self):
        self.reader = detect.open_reader(self.found, self.below)
        try:
            for index in range(self.count):
                self.workers.append(_Worker(self))
            self._walk()
            self._send()
            for worker in self.workers:
                worker.finish()
            self._settle()
        except OSError as error:
            raise AppPotError(f"{os.fsdecode(error.filename or self.target)}: {error.strerror}; what is there is not the "
                              "whole image") from error
        finally:
            for worker in self.workers:
                worker.stop()
            self.reader.close()
        return self.files

    def _walk(self):
        reader = self.reader
        self.directories = [(self.target, reader.root)]
        seen = {reader.root.number}
        names = {}
        todo = [(self.target, reader.root)]
        while todo:
            above, directory = todo.pop()
            for name, inode in reader.entries(directory):
                path = above + b"/" + name
                self.files += 1
                kind = S_IFMT(inode.mode)
                if kind == S_IFDIR:
                    if inode.number in seen:
                        raise DamagedImage(reader.name, "a directory lies within itself")
                    seen.add(inode.number)
                    os.mkdir(path, 0o700)
                    self.directories.append((path, inode))
                    todo.append((path, inode))
                elif kind in (S_IFCHR, S_IFBLK) and not self.root:
                    continue
                elif inode.nlink > 1 and inode.number in names:
                    self._link(names[inode.number], path)
                else:
                    if inode.nlink > 1:
                        names[inode.number] = path
                    if kind == S_IFREG:
                        self._later(path, inode)
                    else:
                        self._special(path, inode, kind)

    def _link(self, old, new):
        if not os.path.lexists(old):         # still in a batch
            os.close(os.open(old, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.link(old, new, follow_symlinks=False)

    def _later(self, path, inode):
        self.batch.append((path, inode.ref))
        self.waiting += inode.size
        self.bytes += inode.size
        if len(self.batch) >= _BATCH_FILES or self.waiting >= _BATCH_BYTES:
            self._send()

    def _send(self):
        if not self.batch:
            return
        self.progress(self.files, self.bytes)
        data = b"".join(struct.pack("<QH", ref, len(path)) + path for path, ref in self.batch)
        worker = min(self.workers, key=lambda worker: worker.load)
        worker.load += self.waiting + 16384 * len(self.batch)
        worker.send(data)
        self.batch, self.waiting = [], 0

    def _special(self, path, inode, kind):
        if kind == S_IFLNK:
            os.symlink(self.reader.readlink(inode), path)
        elif kind in (S_IFIFO, S_IFSOCK):
            os.mknod(path, kind | 0o600)
        elif kind in (S_IFCHR, S_IFBLK):
            os.mknod(path, kind | 0o600, inode.rdev)
        else:
            raise DamagedImage(self.reader.name, f"{os.fsdecode(path)!r} is of an unknown type")
        self._attributes(path, inode)

    def _attributes(self, path, inode):
        if self.root:
            os.chown(path, inode.uid, inode.gid, follow_symlinks=False)
        kind = S_IFMT(inode.mode)
        if kind != S_IFLNK:
            if kind in (S_IFREG, S_IFDIR):
                xattrs.put_as(self.root, path, self.reader.xattrs(inode))
            os.chmod(path, inode.mode & (0o7777 if self.root else 0o1777) | (0 if self.root else
                                                                              0o700 if kind == S_IFDIR else 0o400))
        os.utime(path, ns=(inode.mtime_ns, inode.mtime_ns), follow_symlinks=False)

    def _settle(self):
        """Attributes of directories: from below, when all is in them."""
        for path, inode in reversed(self.directories):
            self._attributes(path, inode)

    # In a worker

    def work(self, receive):
        # The window's descriptor is shared: it is only read with pread. What the reader keeps is the worker's own.
        buffer = b""
        while True:
            while len(buffer) < 4 or len(buffer) < 4 + _LENGTH.unpack_from(buffer)[0]:
                data = os.read(receive, 1 << 16)
                if not data:
                    return
                buffer += data
            end = 4 + _LENGTH.unpack_from(buffer)[0]
            batch, buffer = buffer[4:end], buffer[end:]
            at = 0
            while at < len(batch):
                ref, size = struct.unpack_from("<QH", batch, at)
                at += 10 + size
                self._file(batch[at - size:at], ref)

    def _file(self, path, ref):
        reader = self.reader
        inode = reader.inode(ref)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            reader.copy(inode, fd)
            if os.fstat(fd).st_size < inode.size:
                os.ftruncate(fd, inode.size)
            if self.root:
                os.fchown(fd, inode.uid, inode.gid)
            xattrs.put_as(self.root, fd, reader.xattrs(inode))
            os.fchmod(fd, inode.mode & (0o7777 if self.root else 0o1777) | (0 if self.root else 0o400))
            os.utime(fd, ns=(inode.mtime_ns, inode.mtime_ns))
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        finally:
            os.close(fd)


class _Worker:
    """A process that writes files. load: bytes that it was given."""

    def __init__(self, extraction):
        receive, self._send = os.pipe()
        self._result, result = os.pipe()
        self.load = 0
        self.pid = os.fork()
        if self.pid == 0:
            status = b"0"
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                for other in extraction.workers:
                    os.close(other._send)
                os.close(self._send)
                extraction.work(receive)
            except AppPotError as error:
                status = b"A" + error.message.encode(errors="surrogateescape")
            except OSError as error:
                status = b"O%d %s" % (error.errno or 5, os.fsencode(error.filename or b""))
            except BaseException as error:
                status = b"A" + f"unpacking failed: {error!r}".encode(errors="surrogateescape")
            finally:
                os.write(result, status)
                os._exit(0)
        os.close(receive)
        os.close(result)

    def send(self, data):
        data = memoryview(_LENGTH.pack(len(data)) + data)
        try:
            while data:
                data = data[os.write(self._send, data):]
        except BrokenPipeError:
            self.finish()
            raise AppPotError("a process that unpacked was killed") from None

    def finish(self):
        """No more work; raise what went wrong."""
        os.close(self._send)
        self._send = -1
        status = b""
        while data := os.read(self._result, 1 << 16):
            status += data
        os.waitpid(self.pid, 0)
        self.pid = 0
        if status == b"0":
            return
        if status[:1] == b"O":
            number, _, name = status[1:].partition(b" ")
            raise OSError(int(number), os.strerror(int(number)), name or None)
        raise AppPotError(os.fsdecode(status[1:]) or "a process that unpacked was killed")

    def stop(self):
        if self._send >= 0:
            os.close(self._send)
            self._send = -1
        os.close(self._result)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
