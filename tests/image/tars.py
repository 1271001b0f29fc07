"""Tar archives as the tests need them, also impossible ones."""

import io
import tarfile

TYPES = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE,
         "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE}


def member(name, kind="file", data=b"", target="", mode=None, uid=0, gid=0, mtime=1_600_000_000, dev=(0, 0), xattrs=None,
           pax=None):
    """(TarInfo, data)."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.uid, info.gid, info.mtime = TYPES[kind], target, uid, gid, mtime
    info.mode = mode if mode is not None else 0o755 if kind == "dir" else 0o644
    info.devmajor, info.devminor = dev
    info.size = len(data)
    for key, value in (xattrs or {}).items():
        info.pax_headers[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
    info.pax_headers.update(pax or {})
    return info, data


def tar(*members, compress=""):
    """The bytes of an archive of `member`s, each perhaps only its name (a file) or name and data."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compress}", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for each in members:
            if isinstance(each, str):
                each = member(each)
            info, data = each if isinstance(each[0], tarfile.TarInfo) else member(each[0], data=each[1])
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def raw(name, size, type=b"x", data=b""):
    """A header block with whatever it says, and data behind it."""
    info = tarfile.TarInfo(name)
    info.type, info.size = type, size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


END = bytes(1024)
