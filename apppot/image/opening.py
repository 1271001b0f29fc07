"""From what --image names to an opened Image."""

import os
from stat import S_ISDIR, S_ISREG

from apppot.errors import AppPotError
from apppot.image.image import Image
from apppot.image.layer import Layer
from apppot.image.progress import SILENT


def is_name(image):
    """Whether `image` (bytes) is the name of an import rather than a path."""
    return b"/" not in image


def open_image(path, progress=SILENT, below=None):
    """The Image at a host path, or with the name that `apppot image import` gave it.

    Archives are unpacked into the cache if they aren't there yet; progress is told about that. below: where the image
    below is, when `path` is a User-Mode Linux COW file.
    """
    path = os.fsencode(path)
    name = os.fsdecode(path)
    if is_name(path):
        from apppot.image import archive
        image = archive.open_name(name)
        if image is None:
            raise AppPotError(f"image {name}: there is no such import in the cache; apppot image list shows them")
        return image
    try:
        st = os.stat(path)
        if S_ISDIR(st.st_mode):
            if not os.path.lexists(path + b"/oci-layout"):
                return Image(path, "directory", [Layer(path)])
            from apppot.image import archive
            return archive.open_image(path, progress)
        if not S_ISREG(st.st_mode):
            raise AppPotError(f"image {name} is neither a file nor a directory")
    except OSError as error:
        if error.filename is not None and os.fsencode(error.filename) != path:
            raise
        raise AppPotError(f"image {name}: {error.strerror}") from error
    from apppot.image import detect
    found = detect.detect(path, look_inside=False)
    if found.format == "archive":
        from apppot.image import archive
        return archive.open_image(path, progress)
    if found.format in detect.LAZY:
        from apppot.image import lazy
        return lazy.open_image(found, below)
    raise AppPotError(f"image {name} is {found.what}, which this version can't start; name a directory that holds a "
                      "root tree, or an archive of one")
