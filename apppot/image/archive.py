"""Images that are unpacked once into the cache: OCI layouts, docker archives, root tars.

Imported at every start of such an image: what only the unpacking needs is in `importing`.
"""

import os

from apppot.image import compression, oci
from apppot.image.image import Image
from apppot.image.progress import SILENT
from apppot.image.store import Store, file_key


def is_layout(path):
    """Whether a directory is an OCI image layout."""
    path = os.fsencode(path)
    return os.path.isfile(path + b"/oci-layout") and os.path.isfile(path + b"/index.json")


def is_tar(head):
    """Whether a file with these first 512 bytes is a tar archive, or something compressed that may be one."""
    if compression.kind(head) is not None:
        return True
    if len(head) < 512:
        return False
    if head[257:262] == b"ustar":
        return True
    import tarfile
    try:                                # the old format has no magic, but the same checksum
        return bool(head[0]) and tarfile.nti(head[148:156]) in tarfile.calc_chksums(head)
    except tarfile.TarError:
        return False


def open_image(path, progress=SILENT, store=None):
    """The Image of an OCI layout directory, or of an archive file; unpacked now if it isn't yet."""
    path = os.path.abspath(os.fsencode(path))
    store = store or Store()
    if os.path.isdir(path):
        return _open_layout(store, path, progress)
    key, facts = file_key(path)
    image = known_image(store, key, path)
    if image is None:
        from apppot.image import importing
        return importing.archive(store, path, key, facts, progress)
    return image


def _open_layout(store, path, progress):
    blobs = oci.DirectoryBlobs(path)
    name = os.fsdecode(path)
    found = oci.read(blobs, name)
    image = known_image(store, found.digest.replace(":", "-"), path)
    if image is None:
        from apppot.image import importing
        return importing.found(store, blobs, found, name, path, progress)
    return image


def open_name(name, store=None):
    """The Image that was imported under a name, or None."""
    return known_image(store or Store(), name, os.fsencode(name))


def give_name(name, image, store=None):
    """Let an opened archive be started by a name, also when its file is gone."""
    store = store or Store()
    known = store.image(name)
    if known is not None and not known.get("named"):
        raise ValueError(f"{name} is not a name")
    about = {"format": image.format, "digest": image.digest, "layers": [layer.about["digest"] for layer in
                                                                      reversed(image.layers)],
             "config": image.config.raw if image.config else None, "source": os.fsdecode(image.path), "named": True}
    with store.full_disk(name):
        store.remember(name, about)


def known_image(store, key, path):
    """The Image that the store knows by a key, or None when it doesn't or a layer of it is no more."""
    known = store.image(key)
    if known is None:
        return None
    layers = []
    for digest in reversed(known.get("layers", ())):
        layer = store.layer(digest)
        if layer is None:
            for other in layers:
                other.close()
            return None
        layers.append(layer)
    store.used(key)
    raw = known.get("config")
    return Image(path, known["format"], layers, oci.config_of(raw) if raw else None, known["digest"])
