"""Writes changes: an OCI layer, which is a PAX tar (POSIX.1-2001) with whiteouts, compressed with gzip.

Owners. Files nobody recorded an owner for have empty user and group names; the numbers beside are for other programs:
1000 below /home/user, else 0. Files of the machine's user are 1000 "user", whatever the number on this host is. All
others have their number, in digits, as name.
"""

import hashlib
import os
import zlib
from errno import EINVAL, ENXIO
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG

from apppot.snap.difference import GONE, OPAQUE, WHITEOUT, can_be_kept
from apppot.vfs.ownership import KEEP

RECORD = b"var/lib/apppot/changes.json"   # the archive's first member: what it was made against
USER, USER_ID = b"user", 1000
HOME = b"home/user"

_TYPES = {S_IFREG: b"0", S_IFLNK: b"2", S_IFCHR: b"3", S_IFBLK: b"4", S_IFDIR: b"5", S_IFIFO: b"6"}
_CHUNK = 1 << 20
_SMALL = 1 << 20          # files up to this size are read again when they change meanwhile
_TRIES = 4


class Gzip:
    """Compresses what is written to it, without name and time stamp: the same input gives the same bytes.

    advance: function (number of bytes) that is told how much was compressed.
    """

    def __init__(self, file, level=6, advance=lambda amount: None):
        self._file, self._advance = file, advance
        self._engine = zlib.compressobj(level, zlib.DEFLATED, 31)
        self._held, self._size = [], 0

    def write(self, data):
        self._held.append(data)
        self._size += len(data)
        if self._size > 1 << 18:
            self._flush()

    def _flush(self):
        self._file.write(self._engine.compress(b"".join(self._held)))
        self._held.clear()
        self._advance(self._size)
        self._size = 0

    def close(self):
        self._flush()
        self._file.write(self._engine.flush())


class Changes:
    """Writes entries as a layer.

    sink   has write(bytes); uid, gid: the machine's user on this host
    skip   (st_dev, st_ino) of files that are no part of it: the archive itself
    warn   function (text) for what could not be kept as it is
    `diff` after close(): the digest of all but the record, "sha256:..."
    """

    def __init__(self, sink, uid, gid, skip=(), warn=lambda text: None):
        self._sink, self._uid, self._gid, self._skip, self._warn = sink, uid, gid, skip, warn
        self._links = {}
        self._hash = hashlib.sha256()
        self.written = 0                   # entries

    def record(self, data):
        """The record of the base; must come first."""
        self._sink.write(_header(RECORD, b"0", 0o644, 0, 0, b"root", b"root", len(data), 0) + _padded(data))

    def add(self, entry, edited=None):
        """edited: contents to write instead of the file's own."""
        directory, _, name = entry.name.rpartition(b"/")
        prefix = directory + b"/" if directory else b""
        if entry.kind == GONE:
            self._plain(prefix + WHITEOUT + name, b"0", 0, 0, 0, b"root", b"root", 0, 0)
        elif not can_be_kept(entry):
            self._warn(f"/{os.fsdecode(entry.name)}: sockets are not kept")
            return
        elif entry.kind == S_IFREG:
            self._file(entry, edited)
        else:
            self._special(entry)
        self.written += 1

    def close(self):
        self._write(bytes(1024))
        self.diff = "sha256:" + self._hash.hexdigest()

    # -- members

    def _file(self, entry, edited):
        if edited is not None:
            self._member(entry, b"0", len(edited))
            self._write(_padded(edited))
            return
        if entry.st.st_nlink > 1 and self._linked(entry):
            return
        try:
            fd = _open(entry.host)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OSError(error.errno, error.strerror, entry.host) from None
        try:
            st = os.fstat(fd)
            if (st.st_dev, st.st_ino) in self._skip:
                return
            entry.st = st
            pieces = holes(fd, st)
            if pieces is not None:
                self._sparse(entry, fd, st.st_size, pieces)
            elif st.st_size <= _SMALL:
                data = self._stable(fd, entry)
                self._member(entry, b"0", len(data))
                self._write(_padded(data))
            else:
                self._member(entry, b"0", st.st_size)
                self._copy(fd, 0, st.st_size)
                self._pad(st.st_size)
                self._compare(fd, entry)
        finally:
            os.close(fd)

    def _stable(self, fd, entry):
        """The contents at one moment, if somebody who writes to the file lets us see one."""
        for _ in range(_TRIES):
            before = entry.st
            data = bytearray()
            while chunk := os.pread(fd, _CHUNK, len(data)):
                data += chunk
            entry.st = os.fstat(fd)
            if (before.st_mtime_ns, before.st_size) == (entry.st.st_mtime_ns, len(data)):
                return bytes(data)
        self._changed(entry)
        return bytes(data)

    def _compare(self, fd, entry):
        now = os.fstat(fd)
        if (now.st_mtime_ns, now.st_size) != (entry.st.st_mtime_ns, entry.st.st_size):
            self._changed(entry)

    def _changed(self, entry):
        self._warn(f"/{os.fsdecode(entry.name)} was written to meanwhile: parts of it may be of different age")

    def _linked(self, entry):
        """Write it as a hard link if another name of it is in the archive."""
        key = entry.st.st_dev, entry.st.st_ino
        first = self._links.setdefault(key, entry.name)
        if first == entry.name:
            return False
        self._member(entry, b"1", 0, first)
        return True

    def _special(self, entry):
        if entry.kind != S_IFDIR and entry.st.st_nlink > 1 and self._linked(entry):
            return
        self._member(entry, _TYPES[entry.kind], 0, entry.target or b"")
        if entry.opaque:
            prefix = entry.name + b"/" if entry.name else b""
            self._plain(prefix + OPAQUE, b"0", 0, 0, 0, b"root", b"root", 0, 0)

    def _sparse(self, entry, fd, size, pieces):
        """GNU's sparse format 1.0: the map stands before the data."""
        table = b"%d\n" % len(pieces) + b"".join(b"%d\n%d\n" % piece for piece in pieces)
        table = _padded(table)
        stored = sum(length for _, length in pieces)
        directory, _, name = entry.name.rpartition(b"/")
        stand_in = (directory + b"/" if directory else b"") + b"GNUSparseFile.0/" + name
        self._member(entry, b"0", len(table) + stored, b"", stand_in, [
            (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", entry.name),
            (b"GNU.sparse.realsize", b"%d" % size)])
        self._write(table)
        for start, length in pieces:
            self._copy(fd, start, length)
        self._pad(stored)
        self._compare(fd, entry)

    def _member(self, entry, kind, size, link=b"", name=None, pax=()):
        uid, uname = self._owner(entry, entry.uid, self._uid)
        gid, gname = self._owner(entry, entry.gid, self._gid)
        name = entry.name if name is None else name
        if kind == b"5":
            name += b"/" if name else b"./"
        more = list(pax)
        if kind != b"1":
            more += [(b"SCHILY.xattr." + os.fsencode(key), value) for key, value in entry.xattrs().items()]
        self._plain(name, kind, entry.mode, uid, gid, uname, gname, size, entry.st.st_mtime_ns, link, entry.rdev, more)

    def _plain(self, *header):
        self._write(_header(*header))

    @staticmethod
    def _owner(entry, number, user):
        if number == KEEP:
            below_home = entry.name == HOME or entry.name.startswith(HOME + b"/")
            return (USER_ID if below_home else 0), b""
        if number == user and user:
            return USER_ID, USER
        return number, b"root" if number == 0 else b"%d" % number

    # -- bytes

    def _write(self, data):
        self._hash.update(data)
        self._sink.write(data)

    def _copy(self, fd, start, length):
        while length:
            data = os.pread(fd, min(length, _CHUNK), start)
            if not data:                   # it was cut meanwhile
                data = bytes(min(length, _CHUNK))
            self._write(data)
            start += len(data)
            length -= len(data)

    def _pad(self, size):
        if size % 512:
            self._write(bytes(-size % 512))


def _open(host):
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
    try:
        return os.open(host, flags)
    except PermissionError:
        pass
    try:
        return os.open(host, flags & ~os.O_NOATIME)
    except PermissionError:                # the user's own file that its mode keeps the user from
        mode = os.lstat(host).st_mode & 0o7777
        os.chmod(host, mode | 0o400)
        try:
            return os.open(host, flags & ~os.O_NOATIME)
        finally:
            os.chmod(host, mode)


def holes(fd, st):
    """[(start, length)] of the data of a file with holes; None: it has none."""
    if st.st_blocks * 512 >= st.st_size:
        return None
    pieces, at = [], 0
    while at < st.st_size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = min(os.lseek(fd, start, os.SEEK_HOLE), st.st_size)
        except OSError as error:
            if error.errno == ENXIO:
                break
            if error.errno == EINVAL:
                return None
            raise
        if at > start:
            pieces.append((start, at - start))
    if pieces == [(0, st.st_size)]:
        return None
    return pieces + [(st.st_size, 0)]


def _padded(data):
    return data + bytes(-len(data) % 512)


def _header(name, kind, mode, uid, gid, uname, gname, size, mtime_ns, link=b"", rdev=0, pax=()):
    """A ustar header, with a PAX header before it for what doesn't fit."""
    pax = list(pax)
    seconds = mtime_ns // 10**9
    if mtime_ns % 10**9 or not 0 <= seconds < 8**11:
        whole, fraction = divmod(abs(mtime_ns), 10**9)
        text = b"%d.%09d" % (whole, fraction) if fraction else b"%d" % whole
        pax.append((b"mtime", b"-" + text if mtime_ns < 0 else text))
    if len(name) > 100:
        pax.append((b"path", name))
    if len(link) > 100:
        pax.append((b"linkpath", link))
    for key, value, most in ((b"uid", uid, 8**7), (b"gid", gid, 8**7), (b"size", size, 8**11)):
        if value >= most:
            pax.append((key, b"%d" % value))
    major, minor = os.major(rdev), os.minor(rdev)
    header = b""
    if pax:
        texts = [value for key, value in pax if key in (b"path", b"linkpath", b"GNU.sparse.name")]
        if any(map(_foreign, texts)):
            pax.insert(0, (b"hdrcharset", b"BINARY"))
        data = b"".join(_record(*pair) for pair in pax)
        header = _block(b"PaxHeaders/" + name.rstrip(b"/").rpartition(b"/")[2][:80], b"x", 0o644, 0, 0, b"", b"", len(data), 0,
                        b"", 0, 0) + _padded(data)
    return header + _block(name, kind, mode, uid if uid < 8**7 else 0, gid if gid < 8**7 else 0, uname, gname,
                           size if size < 8**11 else 0, seconds if 0 <= seconds < 8**11 else 0, link, major, minor)


def _foreign(name):
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _record(key, value):
    """One record of a PAX header: its length, which counts itself, key and value."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return b"%d" % length + rest


def _block(name, kind, mode, uid, gid, uname, gname, size, mtime, link, major, minor):
    block = bytearray(512)
    fields = (name[:100].ljust(100, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
              + b"        " + kind + link[:100].ljust(100, b"\0") + b"ustar\x0000" + uname[:32].ljust(32, b"\0")
              + gname[:32].ljust(32, b"\0")
              + b"%07o\0%07o\0" % (min(major, 8**7 - 1), min(minor, 8**7 - 1)))
    block[:len(fields)] = fields
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
