"""Writing a tree as a pax tar archive, the same bytes for the same tree."""

import os
import tarfile
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG

from apppot.image.progress import SILENT
from apppot.image.tarstream import XATTR

_TYPES = {S_IFREG: tarfile.REGTYPE, S_IFDIR: tarfile.DIRTYPE, S_IFLNK: tarfile.SYMTYPE, S_IFCHR: tarfile.CHRTYPE,
          S_IFBLK: tarfile.BLKTYPE, S_IFIFO: tarfile.FIFOTYPE}


def text(data):
    return data.decode("utf-8", "surrogateescape")


def write(source, out, progress=SILENT):
    """Write the tree of a Source to the binary stream `out`. Sockets, which tar doesn't know, are left out."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape",
                      bufsize=1 << 18) as tar:
        for entry in source.entries():
            if entry.kind not in _TYPES:
                continue
            info = header(source, entry)
            if info.type == tarfile.REGTYPE and info.size:
                with source.content(entry) as file:
                    tar.addfile(info, _Exactly(file, info.size, progress))
            else:
                tar.addfile(info)


def header(source, entry):
    """The TarInfo of an entry."""
    st = entry.st
    info = tarfile.TarInfo("./" + text(entry.path) if entry.path else "./")
    info.type = _TYPES[entry.kind]
    info.mode = st.st_mode & 0o7777
    info.uid, info.gid = st.st_uid, st.st_gid
    seconds, rest = divmod(st.st_mtime_ns, 10**9)
    info.mtime = seconds
    if rest:
        info.pax_headers["mtime"] = f"{seconds}.{rest:09}".rstrip("0") if seconds >= 0 else str(seconds)
    if entry.same is not None:
        info.type, info.linkname = tarfile.LNKTYPE, "./" + text(entry.same)
        return info
    if entry.kind == S_IFREG:
        info.size = st.st_size
    elif entry.kind == S_IFLNK:
        info.linkname = text(source.target(entry))
    elif entry.kind in (S_IFCHR, S_IFBLK):
        info.devmajor, info.devminor = os.major(st.st_rdev), os.minor(st.st_rdev)
    for name, value in source.xattrs(entry).items():
        info.pax_headers[XATTR + name] = text(value)
    return info


class _Exactly:
    """A file that gives as many bytes as its header said."""

    def __init__(self, file, size, progress):
        self._file, self._left, self._progress = file, size, progress

    def read(self, size):
        size = min(size, self._left)
        data = self._file.read(size) if size else b""
        while len(data) < size:
            more = self._file.read(size - len(data))
            if not more:
                raise OSError(5, "a file became shorter while it was read")
            data += more
        self._left -= len(data)
        self._progress.advance(len(data))
        return data
