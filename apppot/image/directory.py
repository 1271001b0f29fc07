"""A root tree in a plain directory, as an image."""

import os
from stat import S_ISDIR

from apppot.errors import AppPotError


def recognise(path):
    """Whether `path` is an image of this kind: a directory that isn't the layout of another format."""
    try:
        return S_ISDIR(os.stat(path).st_mode) and not os.path.lexists(os.path.join(os.fsencode(path), b"oci-layout"))
    except OSError:
        return False


def validate(path):
    """The canonical path (bytes) of a directory image; AppPotError if it can't be one."""
    path = os.fsencode(path)
    name = os.fsdecode(path)
    try:
        st = os.stat(path)
    except OSError as error:
        raise AppPotError(f"image {name}: {error.strerror}") from error
    if not S_ISDIR(st.st_mode):
        raise AppPotError(f"image {name} is not a directory")
    if not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
        raise AppPotError(f"image {name}: permission denied; its top directory must be readable and searchable by you")
    return os.path.realpath(path)
