"""Reading tar archives that nobody vouches for: tarfile, with limits on what it would take from their headers.

Names and texts are bytes outside of this module. What is wrong with an archive is an AppPotError.
"""

import tarfile
from contextlib import contextmanager

from apppot.errors import AppPotError
from apppot.image import acl, compression

MOST_HEADER = 1 << 20        # bytes of a long name or of one set of pax headers; Linux allows names of 4 KiB
MOST_FILE = 1 << 44
MOST_MAP = 8 << 20           # bytes of the map of a sparse file: some 300,000 pieces
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
XATTR = "SCHILY.xattr."
_LISTS = {"SCHILY.acl.access": acl.ACCESS, "SCHILY.acl.default": acl.DEFAULT}      # as text


class Member(tarfile.TarInfo):
    """A TarInfo whose extended headers have been looked at before tarfile parses them."""

    @classmethod
    def fromtarfile(cls, tar):
        try:
            return super().fromtarfile(tar)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            raise tarfile.ReadError(str(error)) from None       # tarfile would take it for the archive's end

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        member = super().frombuf(buf, encoding, errors)
        if buf[257:265] == b"ustar  \0":      # GNU's own format has times where ustar has the start of a long name
            times = tarfile.nts(buf[345:500], encoding, errors)
            if times and member.name.startswith(times + "/"):
                member.name = member.name[len(times) + 1:]
        return member

    def _proc_member(self, tar):
        if self.type in _LONG + _EXTENDED and not 0 <= self.size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        self._check_size()
        return super()._proc_member(tar)

    def _proc_pax(self, tar):
        stream = tar.fileobj
        data = stream.read(self._block(self.size))
        _check_records(data[:self.size])
        tar.fileobj = _Replay(data, stream)
        try:
            described = super()._proc_pax(tar)
        finally:
            tar.fileobj = stream
        described._check_size()             # with a negative one tarfile goes back, and never ends
        return described

    def _check_size(self):
        if not 0 <= self.size <= MOST_FILE:
            raise tarfile.ReadError(f"a member of {self.size} bytes")

    def _proc_sparse(self, tar):
        with _capped(tar):
            return super()._proc_sparse(tar)

    def _proc_gnusparse_10(self, next, pax_headers, tar):
        with _capped(tar):
            return super()._proc_gnusparse_10(next, pax_headers, tar)


@contextmanager
def _capped(tar):
    """Maps of sparse files have no size of their own: a small archive could fill the memory."""
    stream = tar.fileobj
    tar.fileobj = _Capped(stream, MOST_MAP)
    try:
        yield
    finally:
        tar.fileobj = stream


class _Capped:
    """A stream of which no more than `most` bytes are read."""

    def __init__(self, stream, most):
        self._stream = stream
        self._left = most

    def read(self, size):
        self._left -= size
        if self._left < 0:
            raise tarfile.ReadError("a sparse file of too many pieces")
        return self._stream.read(size)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def _check_records(data):
    """tarfile's own search in records that are not well-formed takes quadratic time."""
    at = 0
    while at < len(data) and data[at]:
        blank = data.find(b" ", at, at + 12)
        if blank < 0 or not data[at:blank].isdigit():
            raise tarfile.ReadError("a damaged pax header")
        end = at + int(data[at:blank])
        equals = data.find(b"=", blank, end)
        if end > len(data) or equals < blank + 2 or data[end - 1:end] != b"\n":
            raise tarfile.ReadError("a damaged pax header")
        at = end


class _Replay:
    """A stream of which a first part was read already."""

    def __init__(self, data, stream):
        self._data = data
        self._stream = stream

    def read(self, size):
        data, self._data = self._data[:size], self._data[size:]
        return data if len(data) == size else data + self._stream.read(size - len(data))

    def __getattr__(self, name):
        return getattr(self._stream, name)


@contextmanager
def damage(name):
    """Turn what reading a damaged archive raises into an AppPotError."""
    try:
        yield
    except (tarfile.TarError, ValueError, OverflowError, IndexError, KeyError, TypeError, RecursionError,
            *compression.errors()) as error:
        raise damaged(name, error) from error


def damaged(name, error):
    return AppPotError(f"{name} is damaged or incomplete ({str(error) or type(error).__name__}); get it again")


def members(stream):
    """(tarfile, each member) of an uncompressed tar stream, one after the other."""
    with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 18, tarinfo=Member, errorlevel=2) as tar:
        while True:
            member = tar.next()
            if member is None:
                return
            tar.members.clear()
            yield tar, member


def contents(tar, member, chunk=1 << 20):
    """(offset, bytes) pieces of a regular member; holes are left out. Raises when the archive ends within it."""
    stream = tar.fileobj
    if member.sparse is None:
        stream.seek(member.offset_data)
        at = 0
        while at < member.size:
            data = stream.read(min(chunk, member.size - at))
            if not data:
                raise tarfile.ReadError("it ends within a file")
            yield at, data
            at += len(data)
        return
    position = member.offset_data
    for at, length in member.sparse:
        if at < 0 or length < 0 or at + length > member.size:
            raise tarfile.ReadError("a sparse file with parts outside of it")
        stream.seek(position)
        position += length
        while length:
            data = stream.read(min(chunk, length))
            if not data:
                raise tarfile.ReadError("it ends within a file")
            yield at, data
            at += len(data)
            length -= len(data)


def as_bytes(text):
    return text.encode("utf-8", "surrogateescape")


def xattrs(member):
    """{name (str): value} of a member's extended attributes, access control lists that are told as text among them."""
    found = {key[len(XATTR):]: as_bytes(value) for key, value in member.pax_headers.items() if key.startswith(XATTR)}
    for key, name in _LISTS.items():
        text = member.pax_headers.get(key)
        if text and name not in found:
            try:
                found[name] = acl.from_text(text, lambda tag, who: _number_of(member, tag, who))
            except OSError:         # a list of another kind; tar leaves such a one out as well
                continue
    return found


def _number_of(member, tag, name):
    """Whom a name of a list means: the file's owner or group, or who has the name on this host, as tar takes it."""
    if tag == acl.USER and name == member.uname:
        return member.uid
    if tag == acl.GROUP and name == member.gname:
        return member.gid
    import grp
    import pwd
    try:
        return pwd.getpwnam(name).pw_uid if tag == acl.USER else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def mtime_ns(member):
    """Modification time; what no file system can keep becomes 0."""
    text = member.pax_headers.get("mtime")
    try:
        if text is None:
            nanoseconds = int(member.mtime) * 10**9
        else:
            seconds, _, fraction = text.partition(".")
            nanoseconds = int(seconds) * 10**9 + int((fraction + "0" * 9)[:9])
    except (ValueError, OverflowError):
        return 0
    return nanoseconds if -(1 << 31) * 10**9 <= nanoseconds < (1 << 34) * 10**9 else 0
