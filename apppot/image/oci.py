"""The OCI image layout and `docker save` archives: from their JSON to a list of layer blobs and a Config.

Specifications: OCI image-spec (image-layout.md, image-index.md, manifest.md, config.md); docker's image spec v1.2.
"""

import hashlib
import io
import json
import os
import re
from stat import S_ISREG

from apppot.errors import AppPotError
from apppot.image.image import Config

MOST_JSON = 4 << 20
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")


class DirectoryBlobs:
    """The files of an OCI layout directory."""

    def __init__(self, path):
        self.path = os.fsencode(path)

    def __contains__(self, name):
        return os.path.isfile(self.path + b"/" + os.fsencode(name))

    def open(self, name):
        """(binary stream, size), or FileNotFoundError."""
        fd = os.open(self.path + b"/" + os.fsencode(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        st = os.fstat(fd)
        if not S_ISREG(st.st_mode):
            os.close(fd)
            raise FileNotFoundError(name)
        return open(fd, "rb", buffering=1 << 18), st.st_size

    def close(self):
        pass


class TarBlobs:
    """The members of an uncompressed tar file. members: name -> (offset, size) or name of another, for links."""

    def __init__(self, path, members):
        self.path = path
        self.members = members

    def _find(self, name):
        for _ in range(10):
            found = self.members.get(name)
            if not isinstance(found, str):
                return found
            name = found
        return None

    def __contains__(self, name):
        return self._find(name) is not None

    def open(self, name):
        found = self._find(name)
        if found is None:
            raise FileNotFoundError(name)
        offset, size = found
        return io.BufferedReader(_Part(self.path, offset, size), 1 << 18), size


class _Part(io.RawIOBase):
    """A part of a file as a stream."""

    def __init__(self, path, offset, size):
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._at, self._end = offset, offset + size

    def readable(self):
        return True

    def readinto(self, buffer):
        view = memoryview(buffer)[:max(self._end - self._at, 0)]
        count = os.preadv(self._fd, [view], self._at) if len(view) else 0
        self._at += count
        return count

    def close(self):
        if not self.closed:
            os.close(self._fd)
        super().close()


class Blob:
    """One layer as it is stored. digest: of the stored bytes, or None; diff_id: of the uncompressed tar, or None."""

    __slots__ = ("name", "digest", "diff_id", "size")

    def __init__(self, name, digest, diff_id, size=None):
        self.name, self.digest, self.diff_id, self.size = name, digest, diff_id, size


class Found:
    """What an archive holds. layers: Blobs, lowest first."""

    def __init__(self, format, digest, layers, config, platform, tags=()):
        self.format, self.digest, self.layers, self.config = format, digest, layers, config
        self.platform, self.tags = platform, list(tags)


def read(blobs, name):
    """What an OCI layout or docker archive holds, as Found; AppPotError if that can't be started here."""
    try:
        if "index.json" in blobs and "oci-layout" in blobs:
            return _Layout(blobs, name).read()
        if "manifest.json" in blobs:
            return _read_docker(blobs, name)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise AppPotError(f"{name} is damaged: its image description can't be understood "
                          f"({type(error).__name__}: {error})") from error
    raise AppPotError(f"{name} is neither an OCI image layout nor a docker archive: it has no index.json and no "
                      "manifest.json")


def _json(blobs, file, name):
    stream, size = _open(blobs, file, name)
    with stream:
        if size > MOST_JSON:
            raise AppPotError(f"{name} is damaged: {file} has {size} bytes")
        text = stream.read(MOST_JSON)
    return _object(text, file)


def _described(blobs, descriptor, name):
    """The JSON that a descriptor (descriptor.md) names, when it is what the descriptor says."""
    digest = checked_digest(descriptor["digest"])
    file = _blob(digest)
    stream, _ = open_blob(blobs, file, _size(descriptor), name)
    with stream:
        text = stream.read(MOST_JSON + 1)
    if len(text) > MOST_JSON:
        raise AppPotError(f"{name} is damaged: {file} has more than {MOST_JSON} bytes")
    if not same_digest(digest, text):
        raise AppPotError(f"{name} is damaged: {file} does not have the digest {digest}; get it again")
    return _object(text, file)


def _object(text, file):
    data = json.loads(text)
    if not isinstance(data, (dict, list)):
        raise ValueError(f"{file} is no object")
    return data


def _size(descriptor):
    size = descriptor.get("size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise ValueError(f"{size!r} is no size")
    return size


def same_digest(digest, data):
    return hashlib.new(digest.partition(":")[0], data).hexdigest() == digest.partition(":")[2]


def checked_digest(text):
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise ValueError(f"{text!r} is no digest")
    return text


class _Layout:
    def __init__(self, blobs, name):
        self.blobs, self.name = blobs, name

    def read(self):
        version = _json(self.blobs, "oci-layout", self.name).get("imageLayoutVersion")
        if not str(version).startswith("1."):
            raise AppPotError(f"{self.name} has the OCI layout version {version}; this program knows 1.0.0")
        found = {}
        self._collect(_json(self.blobs, "index.json", self.name), found, [], 0)
        if not found:
            raise AppPotError(f"{self.name} holds no image")
        matching = {digest: entry for digest, entry in found.items() if entry[1] in ("linux/amd64", None)}
        images = {digest: (entry, self._image(entry[0])) for digest, entry in matching.items()}
        fitting = {digest: pair for digest, pair in images.items() if pair[1].platform == "linux/amd64"}
        if not fitting:
            has = sorted({entry[1] for entry in found.values() if entry[1]} | {p[1].platform for p in images.values()})
            raise AppPotError(f"{self.name} has no image for linux/amd64, only for {', '.join(has)}")
        if len(fitting) > 1:
            names = sorted(tag for entry, _ in fitting.values() for tag in entry[2]) or sorted(fitting)
            raise AppPotError(f"{self.name} holds several images ({', '.join(names)}); export the one that is wanted "
                              "alone, as with skopeo copy")
        (entry, image), = fitting.values()
        image.tags = entry[2]
        return image

    def _collect(self, index, found, tags, depth):
        """Put the manifests of an index into found: digest -> [descriptor, platform or None, tags]."""
        if depth > 4 or len(found) > 1000:
            raise ValueError("too many indexes")
        for descriptor in index["manifests"]:
            digest = checked_digest(descriptor["digest"])
            tag = (descriptor.get("annotations") or {}).get("org.opencontainers.image.ref.name")
            mine = tags + [tag] if isinstance(tag, str) else tags
            if descriptor.get("mediaType") in INDEXES:
                if depth == 0 or _blob(digest) in self.blobs:
                    self._collect(_described(self.blobs, descriptor, self.name), found, mine, depth + 1)
                continue
            platform = descriptor.get("platform")
            word = f"{platform['os']}/{platform['architecture']}" if platform else None
            if word == "unknown/unknown":           # an attestation of buildkit's
                continue
            known = found.setdefault(digest, [descriptor, word, []])
            known[2] += [tag for tag in mine if tag not in known[2]]

    def _image(self, descriptor):
        manifest = _described(self.blobs, descriptor, self.name)
        described = manifest["config"]
        if described.get("mediaType") not in CONFIGS:
            raise AppPotError(f"{self.name} holds no container image but {described.get('mediaType')}")
        config = _described(self.blobs, described, self.name)
        diff_ids = config.get("rootfs", {}).get("diff_ids") or []
        layers = manifest["layers"]
        if len(diff_ids) not in (0, len(layers)):
            raise ValueError("its configuration names another number of layers than its manifest")
        made = []
        for index, layer in enumerate(layers):
            if "tar" not in str(layer.get("mediaType")):
                raise AppPotError(f"{self.name} has a layer of the kind {layer.get('mediaType')}, which is no tar")
            blob = checked_digest(layer["digest"])
            made.append(Blob(_blob(blob), blob, checked_digest(diff_ids[index]) if diff_ids else None,
                             _size(layer)))
        return Found("oci", descriptor["digest"], made, config_of(config), _platform(config))


def _blob(digest):
    return "blobs/" + digest.replace(":", "/")


def _platform(config):
    return f"{config.get('os') or 'linux'}/{config.get('architecture') or 'amd64'}"


def _read_docker(blobs, name):
    images = _json(blobs, "manifest.json", name)
    if not images:
        raise AppPotError(f"{name} holds no image")
    if len(images) > 1:
        tags = [tag for image in images for tag in image.get("RepoTags") or ["without a name"]]
        raise AppPotError(f"{name} holds several images ({', '.join(tags)}); save the one that is wanted alone")
    image = images[0]
    stream, _ = _open(blobs, image["Config"], name)
    with stream:
        text = stream.read(MOST_JSON)
    digest = "sha256:" + hashlib.sha256(text).hexdigest()
    named = re.search(r"(?:^|/)([0-9a-f]{64})(?:\.json)?$", image["Config"])
    if named and named[1] != digest[7:]:
        raise AppPotError(f"{name} is damaged: {image['Config']} has another digest than its name says; get it again")
    config = json.loads(text)
    if _platform(config) != "linux/amd64":
        raise AppPotError(f"{name} has no image for linux/amd64, only for {_platform(config)}")
    diff_ids = config["rootfs"]["diff_ids"]
    layers = image["Layers"]
    if len(diff_ids) != len(layers):
        raise ValueError("its configuration names another number of layers than its manifest")
    return Found("docker", digest, [Blob(layer, None, checked_digest(diff_id))
                                    for layer, diff_id in zip(layers, diff_ids)],
                 config_of(config), "linux/amd64", image.get("RepoTags") or [])


def _open(blobs, file, name):
    try:
        return blobs.open(file)
    except (FileNotFoundError, NotADirectoryError):
        raise AppPotError(f"{name} is incomplete: {file} is missing; export the image again") from None


def open_blob(blobs, file, told, name):
    """(binary stream, size) of a blob's stored bytes. told: what its size must be, or None."""
    stream, size = _open(blobs, file, name)
    if told is not None and told != size:
        stream.close()
        raise AppPotError(f"{name} is damaged: {file} has {size} bytes instead of {told}; get it again")
    return stream, size


def config_of(raw):
    """The Config of an image configuration (JSON as parsed)."""
    inner = raw.get("config") or {}
    env = {}
    for line in inner.get("Env") or []:
        key, equals, value = line.partition("=")
        if key and equals and "\0" not in line:
            env[_bytes(key)] = _bytes(value)
    workdir = inner.get("WorkingDir") or None
    if workdir is not None:
        if "\0" in workdir:
            raise ValueError("a NUL in its directory")
        workdir = b"/" + os.path.normpath(b"/" + _bytes(workdir)).lstrip(b"/")
    user = inner.get("User") or None
    if user is not None and (not isinstance(user, str) or "\0" in user):
        raise ValueError(f"{user!r} is no user")
    return Config(env, workdir, _words(inner.get("Entrypoint")), _words(inner.get("Cmd")), user, raw)


def _words(value):
    if isinstance(value, str):
        return [b"/bin/sh", b"-c", _bytes(value)]
    words = [_bytes(word) for word in value or []]
    if any(b"\0" in word for word in words):
        raise ValueError("a NUL in its command")
    return words


def _bytes(text):
    return text.encode("utf-8", "surrogateescape")
