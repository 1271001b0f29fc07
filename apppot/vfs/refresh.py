"""After a snapshot was put into the upper layer: look at all of it anew."""

import os
from stat import S_ISDIR

from apppot.vfs.layers import OPAQUE


def refresh(overlay):
    """Forget what the overlay found in its upper layer. Directories that lead to mount points are kept, and must be
    directories still."""
    namespace = overlay.namespace
    kept = set()
    for mount in namespace.mounts():
        directory = mount.parent
        while directory is not None and directory.fs is overlay and directory not in kept:
            kept.add(directory)
            directory = directory.parent
    overlay.ownership.merged.clear()
    todo = [overlay.top]
    while todo:
        directory = todo.pop()
        directory.fixed = {name: node for name, node in directory.fixed.items()
                           if node.mount is not directory.mount or node.dir in kept}
        directory.below = directory.whiteouts = None
        directory.data = None
        directory.changed()
        _look(overlay, directory)
        todo += [node.dir for node in directory.fixed.values() if node.mount is directory.mount]
    namespace.flush()
    namespace.cache.file_copied_up(None)


def _look(overlay, directory):
    parent, name, upper = directory.parent, directory.name, None
    if directory is overlay.top:
        opaque = [index for index, lower in enumerate(overlay.lowers) if os.path.lexists(lower + b"/" + OPAQUE)]
        directory.lowers = overlay.lowers[:opaque[0] + 1] if opaque else overlay.lowers
        upper = overlay.upper
    else:
        directory.lowers = ()
        if parent.upper is None or name not in parent.whiteouts:
            directory.lowers = overlay._lower_parts(parent, name)
        if parent.upper is not None and _is_directory(parent.upper + b"/" + name):
            upper = parent.upper + b"/" + name
        directory.node.upper = upper is not None
        if directory.lowers:
            directory.node.host = directory.lowers[0] or b"/"
    overlay._set_upper(directory, upper)


def _is_directory(path):
    try:
        return S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
