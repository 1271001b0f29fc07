"""Writing a Source in a format: directory, tar, OCI archive, squashfs, ext4."""

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_ISGID, S_ISUID

from apppot.errors import AppPotError
from apppot.image import xattrs
from apppot.image.compression import zstandard
from apppot.image.progress import BYTES, ITEMS, SILENT
from apppot.making import ext4, output, squashfs, tar
from apppot.vfs.copyup import copy_data

FORMATS = ("directory", "tar", "tar.gz", "tar.xz", "tar.zst", "oci", "squashfs", "ext4")
_SUFFIXES = ((".tar", "tar"), (".tar.gz", "tar.gz"), (".tgz", "tar.gz"), (".tar.xz", "tar.xz"), (".tar.zst", "tar.zst"),
             (".oci", "oci"), (".oci.tar", "oci"), (".squashfs", "squashfs"), (".sqfs", "squashfs"), (".img", "ext4"),
             (".ext4", "ext4"))
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def by_name(path):
    """The format that a file's name suggests, or None."""
    name = os.fsdecode(path)
    found = [(len(suffix), format) for suffix, format in _SUFFIXES if name.endswith(suffix)]
    return max(found)[1] if found else None


def write(source, path, format, progress=SILENT, size=None, boot=False):
    """Write a Source to `path`, which appears when it is whole. Lines that the user should read are returned.

    size: of an ext4 image, in bytes; boot: make an ext4 image that a kernel can boot.
    """
    path = os.path.abspath(os.fsencode(path))
    _check_outside(source, path)
    with output.whole(path, format == "directory") as temporary:
        progress.begin(f"writing {os.fsdecode(os.path.basename(path))}", None, ITEMS if format == "squashfs" else BYTES)
        try:
            if format == "directory":
                return _directory(source, temporary, progress)
            if format == "oci":
                _oci(source, temporary, progress)
            elif format == "squashfs":
                return squashfs.write(source, temporary, progress)
            elif format == "ext4":
                return ext4.write(source, temporary, progress, size, boot)
            else:
                _tar(source, temporary, format.partition(".")[2], progress)
        finally:
            progress.end()
    return []


def _check_outside(source, path):
    """What is written would be read again, and written, for ever."""
    above = os.path.realpath(os.path.dirname(path)) + b"/"
    for layer in source.layers:
        if above.startswith(layer.host + b"/"):
            raise AppPotError(f"{os.fsdecode(path)} lies within the image, {os.fsdecode(layer.host) or '/'}; name a place "
                              "outside of it")


# Directory

def _directory(source, target, progress):
    """As `tar -x` would. For root everything is as in the image; else all belongs to the user, and devices and set-id
    bits, which would be the user's, are left out."""
    root = os.geteuid() == 0
    bits = 0o7777 if root else 0o1777
    left_out = set_ids = 0
    directories = []
    for entry in source.entries():
        path = target + b"/" + entry.path if entry.path else target
        st, kind = entry.st, entry.kind
        if kind == S_IFDIR:
            if entry.path:
                os.mkdir(path, 0o700)
            directories.append((path, entry))
        elif entry.same is not None:
            os.link(target + b"/" + entry.same, path, follow_symlinks=False) \
                if os.path.lexists(target + b"/" + entry.same) else None
            continue
        elif kind == S_IFREG:
            _file(source, entry, path, progress)
            set_ids += bool(st.st_mode & (S_ISUID | S_ISGID))
        elif kind == S_IFLNK:
            os.symlink(source.target(entry), path)
        elif kind == S_IFIFO:
            os.mkfifo(path, 0o600)
        elif root and kind in (S_IFCHR, S_IFBLK):
            os.mknod(path, kind | 0o600, st.st_rdev)
        else:
            left_out += 1
            continue
        if kind != S_IFDIR:
            _attributes(source, entry, path, root, bits)
    for path, entry in reversed(directories):
        _attributes(source, entry, path, root, bits)
    lines = []
    if left_out:
        lines.append(f"{left_out} device nodes or sockets were left out: only root can make them")
    if set_ids and not root:
        lines.append(f"{set_ids} files are not set-user-id or set-group-id any more: they are yours now")
    return lines


def _file(source, entry, path, progress):
    st = entry.st
    with source.content(entry) as origin:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            copy_data(origin.fileno(), fd)
        finally:
            os.close(fd)
    progress.advance(st.st_size)


def _attributes(source, entry, path, root, bits):
    st = entry.st
    if root:
        os.chown(path, st.st_uid, st.st_gid, follow_symlinks=False)
    if entry.kind in (S_IFREG, S_IFDIR):
        xattrs.put_as(root, path, source.xattrs(entry))
    if entry.kind != S_IFLNK:
        os.chmod(path, st.st_mode & bits)
    os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns), follow_symlinks=False)


# Tar

def _tar(source, path, compression, progress):
    with open(path, "wb") as file:
        out = compressor(file, compression)
        tar.write(source, out, progress)
        if out is not file:
            out.close()


def compressor(file, kind):
    """A writable stream that compresses to `file` without anything that differs from run to run."""
    if kind == "gz":
        return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    if kind == "xz":
        import lzma
        return lzma.LZMAFile(file, "wb", preset=6)
    if kind == "zst":
        return zstandard(file.name).ZstdCompressor(level=10).stream_writer(file, closefd=False)
    return file


# OCI

class _Counted(io.RawIOBase):
    """A stream that knows the digest and number of the bytes that went through it."""

    def __init__(self, file):
        super().__init__()
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def writable(self):
        return True

    def write(self, data):
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self):
        return "sha256:" + self._hash.hexdigest()


def _oci(source, path, progress):
    """One layer with everything, under the configuration that the image had."""
    layer = path + b".layer"
    try:
        with open(layer, "wb") as file:
            stored = _Counted(file)
            packed = compressor(stored, "gz")
            plain = _Counted(packed)
            tar.write(source, plain, progress)
            packed.close()
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(source.newest))
        config = _json(configuration(source, plain.digest, created))
        config_digest = "sha256:" + hashlib.sha256(config).hexdigest()
        manifest = _json({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest,
                       "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": stored.digest,
                        "size": stored.size}]})
        manifest_digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        index = _json({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest_digest,
                           "size": len(manifest), "platform": {"architecture": "amd64", "os": "linux"},
                           "annotations": {"org.opencontainers.image.ref.name": "latest"}}]})
        when = source.newest if source.newest is not None else int(time.time())
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for name in ("blobs", "blobs/sha256"):          # skopeo can't make them as an ordinary user
                _add(archive, name, 0, None, when)
            for name, data in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index),
                               (_blob(manifest_digest), manifest), (_blob(config_digest), config)):
                _add(archive, name, len(data), io.BytesIO(data), when)
            with open(layer, "rb") as file:
                _add(archive, _blob(stored.digest), stored.size, file, when)
    finally:
        if os.path.lexists(layer):
            os.unlink(layer)


def _blob(digest):
    return "blobs/" + digest.replace(":", "/")


def _add(archive, name, size, file, when):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, when
    if file is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(info, file)


def _json(data):
    return json.dumps(data, separators=(",", ":"), sort_keys=True).encode()


def configuration(source, diff_id, created):
    """The OCI configuration of an image with one layer."""
    known = source.image.config
    raw = dict(known.raw) if known is not None and known.raw else {}
    inner = dict(raw.get("config") or {})
    if known is None:
        inner["Env"] = ["PATH=" + DEFAULT_PATH]
        autorun = source.exists(b"/home/user/apppot-autorun")
        inner["Cmd"] = ["/home/user/apppot-autorun" if autorun else "/bin/sh"]
    return {"architecture": "amd64", "os": "linux", "created": created, "config": inner,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "created_by": "apppot image"}]}
