"""What `--image` names: the default rule, COW:IMAGE, and errors that say which format a file is."""

import os
import stat

from apppot.cli import values
from apppot.errors import AppPotError

HOST_ROOT = b"/"
DEFAULT_FILE = b"apppot.img"
DIGEST = b"sha256:"


def choose(given, environ, cwd):
    """Return (image, cow or None), absolute bytes; the image may also be the name of an import, which has no slash.

    given: what --image said, or None.
    """
    if given is not None:
        return _existing(given, "--image", cwd)
    from_environment = environ.get(b"APPPOT_IMAGE")
    if from_environment:
        return _existing(from_environment, "$APPPOT_IMAGE", cwd)
    local = os.path.join(cwd, DEFAULT_FILE)
    if os.path.lexists(local):
        return _existing(local, "./apppot.img", cwd)
    return HOST_ROOT, None


def _existing(text, source, cwd):
    def is_there(path):
        return os.path.lexists(os.path.join(cwd, path))

    def is_digest(path):                    # or the COW directory sha256 and an image
        return _is_digest(path) and not is_there(path) and not is_there(path[len(DIGEST):])

    if b"://" in text and not is_there(text):
        raise AppPotError(f"image {os.fsdecode(text)} (from {source}): AppPot fetches no images; bring it as a file, like "
                          "skopeo copy docker://debian:12 docker-archive:debian.tar, and name that")
    cow, image = split(text, lambda path: is_there(path) or is_import(path) or is_digest(path))
    if cow is not None:
        cow, image, source = values.home(cow), values.home(image), f"{source} {os.fsdecode(text)}"
    if is_digest(image):
        image = by_digest(image)
    elif is_there(image) or not is_import(image):
        image = os.path.normpath(os.path.join(cwd, image))
        check_image(image, source)
    return image, os.path.normpath(os.path.join(cwd, cow)) if cow else None


def is_import(text):
    """Whether the cache has an image of this name (apppot image import)."""
    if b"/" in text or text in (b"", b".", b".."):
        return False
    from apppot.image.store import Store
    return Store().image(os.fsdecode(text)) is not None


def _is_digest(text):
    """Whether it reads like what apppot image import prints, or enough of its beginning."""
    return text.startswith(DIGEST) and len(DIGEST) + 6 <= len(text) <= len(DIGEST) + 64 \
        and not text[len(DIGEST):].strip(b"0123456789abcdef")


def by_digest(text):
    """The name by which the cache has the image with this digest, of which the beginning is enough; None: it is no digest."""
    if not _is_digest(text):
        return None
    from apppot.image.store import Store
    key = Store().by_digest(os.fsdecode(text))
    if key is None:
        raise AppPotError(f"{os.fsdecode(text)}: the cache has no image with this digest; apppot image list shows what it has, "
                          "apppot image import unpacks an archive into it")
    return os.fsencode(key)


def split(text, exists):
    """Return (cow or None, image) of IMAGE, COW:IMAGE or COW,IMAGE; a name that exists as it stands is an image."""
    if exists(text):
        return None, text
    places = [at for at, byte in enumerate(text) if byte in b",:" and 0 < at < len(text) - 1]
    for at in places:
        if exists(text[at + 1:]):
            return text[:at], text[at + 1:]
    if places:
        return text[:places[0]], text[places[0] + 1:]
    return None, text


def check_image(image, source):
    """Raise AppPotError unless image is something that can be started."""
    name = os.fsdecode(image)
    try:
        mode = os.stat(image).st_mode
    except OSError as error:
        raise AppPotError(f"image {name} (from {source}): {error.strerror}; name a directory that holds a root tree "
                          "or an archive of one, or leave the image out to use the host's own root") from None
    if not stat.S_ISDIR(mode):
        if not _starts(image, mode):
            raise AppPotError(f"image {name} (from {source}) is {_kind(image, mode)}; images are directories that hold "
                              "a root tree, archives of them, ext2/3/4 and squashfs images: name one of those")
        return
    if not os.access(image, os.R_OK | os.X_OK):
        raise AppPotError(f"image {name} (from {source}): permission denied; its directory must be readable and "
                          "searchable by you")


def check_cow(cow, source):
    """Raise AppPotError unless the COW directory is there, or can be made, and can be written."""
    name = os.fsdecode(cow)
    if os.path.isdir(cow):
        writable = cow
    elif os.path.lexists(cow):
        mode = os.stat(cow, follow_symlinks=False).st_mode
        raise AppPotError(f"COW {name} (from {source}) is {_kind(cow, mode)}; this version keeps changes in a "
                          "directory: name one, it is made when it is not there")
    else:
        writable = os.path.dirname(cow)
        if not os.path.isdir(writable):
            raise AppPotError(f"COW {name} (from {source}): the directory {os.fsdecode(writable)} does not exist; "
                              "make it first")
    if not os.access(writable, os.W_OK | os.X_OK):
        raise AppPotError(f"COW {name} (from {source}): {os.fsdecode(writable)} is not writable for you; name a "
                          "directory that is")


def is_uml_cow(path):
    """Whether a COW is a User-Mode Linux COW file: it is read, and changes go elsewhere."""
    if not os.path.isfile(path):
        return False
    from apppot.image import detect
    return detect.detect(path).format == "uml-cow"


def _starts(path, mode):
    """Whether a file is an image that can be started."""
    if not stat.S_ISREG(mode):
        return False
    from apppot.image import detect
    try:
        with open(path, "rb"):
            pass
    except OSError:
        return False
    return detect.detect(path, look_inside=False).format in ("archive", *detect.LAZY)


def _kind(path, mode):
    if stat.S_ISLNK(mode):
        return "a symbolic link that leads nowhere"
    if not stat.S_ISREG(mode):
        return "neither a file nor a directory"
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        return f"a file that can't be read ({error.strerror})"
    from apppot.image import detect
    return detect.detect(path).what
