"""Unpacking archives into the cache: what a first start and `apppot image import` do."""

import hashlib
import os
import re
import tarfile
from contextlib import closing

from apppot.errors import AppPotError
from apppot.image import compression, oci, tarstream, unpack
from apppot.image.archive import known_image
from apppot.image.progress import Watched

#: Names of the members that only OCI and docker archives begin with.
_PARTS = re.compile(r"(oci-layout|index\.json|manifest\.json|repositories|blobs(/.*)?|[0-9a-f]{64}(\.json|\.tar|/.*)?)/?")
_TRAILING = 1 << 30         # bytes behind the end of an archive that are read


def archive(store, path, key, facts, progress):
    """The Image of an archive file that the store doesn't know yet. key, facts: see store.file_key."""
    name = os.fsdecode(path)
    with open(path, "rb", buffering=1 << 18) as file:
        head = file.peek(512)[:512]
        compressed = compression.kind(head)
        with tarstream.damage(name):
            first = _first_name(file, name)
    if first is None:
        raise AppPotError(f"{name} is an empty archive")
    if _PARTS.fullmatch(first[2:] if first.startswith("./") else first):
        if compressed is None:
            blobs = oci.TarBlobs(path, _index(path, name))
            if _holds_image(blobs):
                return found(store, blobs, oci.read(blobs, name), name, path, progress, key, facts)
        else:
            with store.new(name) as staged:
                plain = staged.path + b"/archive.tar"
                _decompress(path, plain, name, progress)
                blobs = oci.TarBlobs(plain, _index(plain, name))
                if _holds_image(blobs):
                    return found(store, blobs, oci.read(blobs, name), name, path, progress, key, facts)
    return _import_tar(store, path, name, key, facts, progress)


def _holds_image(blobs):
    return "manifest.json" in blobs or ("oci-layout" in blobs and "index.json" in blobs)


def _first_name(file, name):
    first = None
    for _, member in tarstream.members(compression.reader(file, name)):
        first = member.name
        if os.path.normpath(first) != ".":
            break
    return first


def _index(path, name):
    """name -> (offset, size), or name of another, of an uncompressed tar's members."""
    members = {}
    with tarstream.damage(name), open(path, "rb") as file, \
            tarfile.open(fileobj=file, mode="r:", tarinfo=tarstream.Member) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()
            here = os.path.normpath(member.name)
            if member.isreg() and member.sparse is None:
                members[here] = (member.offset_data, member.size)
            elif member.issym():
                members[here] = os.path.normpath(os.path.join(os.path.dirname(here), member.linkname))
            elif member.islnk():
                members[here] = os.path.normpath(member.linkname)
            if len(members) > 10000:
                raise AppPotError(f"{name} has too many members for an OCI or docker archive")
    return members


def _decompress(path, target, name, progress):
    with open(path, "rb") as file, open(target, "wb") as out:
        progress.begin(f"decompressing {os.path.basename(name)}", os.path.getsize(path))
        try:
            stream = compression.reader(Watched(file, progress.advance), name)
            with tarstream.damage(name):
                while data := stream.read(1 << 20):
                    out.write(data)
        finally:
            progress.end()


def found(store, blobs, found, name, path, progress, key=None, facts=None):
    """The Image that `found` describes, with its layers unpacked."""
    count = len(found.layers)
    digests = [_layer(store, blobs, blob, name, f"layer {number} of {count} of {os.path.basename(name)}", progress)
               for number, blob in enumerate(found.layers, 1)]
    about = {"format": found.format, "digest": found.digest, "layers": digests, "config": found.config.raw,
             "tags": found.tags, "source": os.fsdecode(path), "file": facts}
    key = key or found.digest.replace(":", "-")
    with store.full_disk(name):
        store.remember(key, about)
    return _just_imported(store, key, path)


def _just_imported(store, key, path):
    image = known_image(store, key, path)
    if image is None:
        raise AppPotError(f"{os.fsdecode(path)}: its layers were removed from the cache meanwhile; start again")
    return image


def _layer(store, blobs, blob, name, label, progress):
    """The digest of a layer in the cache, unpacked if it isn't there yet."""
    if blob.diff_id is not None:
        if os.path.isdir(store.place(blob.diff_id)) and store.about_layer(blob.diff_id) is not None:
            return blob.diff_id
    stream, size = oci.open_blob(blobs, blob.name, blob.size, name)
    with closing(stream), store.new(name, blob.diff_id) as staged:
        if staged is None:
            return blob.diff_id
        wanted = {"stored": blob.digest, "content": blob.diff_id}
        return _unpack(store, staged, stream, size, name, label, progress, wanted)[0]


def _import_tar(store, path, name, key, facts, progress):
    with open(path, "rb") as file, store.new(name, "sha256:" + key) as staged:
        image = known_image(store, key, path)
        if image is not None:                       # another process has done it meanwhile
            return image
        digest, stored = _unpack(store, staged, file, os.path.getsize(path), name, os.path.basename(name), progress, {})
        about = {"format": "tar", "digest": stored, "layers": [digest], "config": None, "source": os.fsdecode(path),
                 "file": facts}
        store.remember(key, about)
    return _just_imported(store, key, path)


def _unpack(store, staged, file, size, name, label, progress, wanted):
    """Unpack a stored layer into the staging directory and put it in place: (its digest, that of the stored bytes)."""
    progress.begin(f"unpacking {label}", size)
    try:
        def advance(amount):
            staged.beat()
            progress.advance(amount)

        stored = _Hashed(file, (wanted.get("stored") or "sha256:").partition(":")[0], advance)
        content = _Hashed(compression.reader(stored, name), (wanted.get("content") or "sha256:").partition(":")[0])
        unpacker = unpack.unpack(content, staged.path + b"/tree", name)
        with tarstream.damage(name):
            content.drain(_TRAILING)
            stored.drain(_TRAILING)
        for kind, stream in (("stored", stored), ("content", content)):
            if wanted.get(kind) and stream.digest() != wanted[kind]:
                raise AppPotError(f"{name} is damaged: a layer has the digest {stream.digest()} instead of "
                                  f"{wanted[kind]}; get it again")
        digest = content.digest()
        store.put(staged, digest, unpacker, {"stored": stored.digest(), "size": content.count})
        return digest, stored.digest()
    finally:
        progress.end()


class _Hashed(Watched):
    """A stream that knows the digest of what was read of it."""

    def __init__(self, file, algorithm, advance=None):
        super().__init__(file, advance or (lambda amount: None))
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self.count = 0

    def read(self, size=-1):
        data = super().read(size)
        self._hash.update(data)
        self.count += len(data)
        return data

    def drain(self, most):
        """Read up to the end, which must be near."""
        limit = self.count + most
        while self.read(1 << 20):
            if self.count > limit:
                raise ValueError("there is more behind its end than in any archive")

    def digest(self):
        return f"{self._algorithm}:{self._hash.hexdigest()}"
