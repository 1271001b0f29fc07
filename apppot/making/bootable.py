"""What an image needs so that a kernel can boot it: an init. An image that has one keeps it."""

import os
import stat
import tempfile
from contextlib import contextmanager

from apppot.errors import AppPotError
from apppot.image.cow import remove_tree
from apppot.image.layer import Layer
from apppot.vfs.caller import KERNEL

BOOT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "rc", "boot")
PLACE = b"/sbin/apppot-boot"
INITS = (b"/sbin/init", b"/etc/init", b"/bin/init")        # where the kernel looks
DIRECTORIES = (b"/proc", b"/sys", b"/dev", b"/tmp", b"/home/user/job")


@contextmanager
def added(source):
    """While this lasts, the Source has /sbin/apppot-boot, and it is /sbin/init where the image has none."""
    if not source.exists(b"/bin/sh"):
        raise AppPotError(f"{os.fsdecode(source.image.path)}: the image has no /bin/sh, so it can't boot by itself; "
                          "leave --bootable out")
    top = os.fsencode(tempfile.mkdtemp(prefix="apppot-"))
    try:
        os.chmod(top, 0o755)
        has_init = any(source.exists(path) for path in INITS)
        with open(BOOT, "rb") as file:
            text = file.read()
        path = _place(source, top, PLACE)
        with open(path, "wb") as file:
            file.write(text)
        os.chmod(path, 0o755)
        if not has_init:
            os.symlink(b"apppot-boot", _place(source, top, INITS[0]))
        for directory in DIRECTORIES:
            if not source.exists(directory):
                os.makedirs(_place(source, top, directory), 0o755)
        source.add(Layer(top))
        yield
    finally:
        remove_tree(top)


def _place(source, top, path):
    """The host path for a new guest file; the directories on the way are made as they are in the image."""
    above = source.ns.resolve(KERNEL, path, None, False).parent if _has_parent(source, path) else None
    directory = above.path if above is not None else os.path.dirname(path)
    host = top
    for part in directory.strip(b"/").split(b"/"):
        if not part:
            continue
        host += b"/" + part
        if not os.path.isdir(host):
            os.mkdir(host, 0o755)
            _like(source, host, host[len(top):])
    return host + b"/" + os.path.basename(path)


def _has_parent(source, path):
    return source.exists(os.path.dirname(path))


def _like(source, host, path):
    """Give a directory the mode that it has in the image."""
    if source.exists(path):
        st = source.ns.stat(KERNEL, source.ns.resolve(KERNEL, path))
        os.chmod(host, stat.S_IMODE(st.st_mode) | 0o700)
