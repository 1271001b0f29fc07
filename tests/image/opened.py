"""What comes of opening an archive: what is seen in it, or why it is refused and what is left of it in the cache.

TREE: members of an archive, of each kind that there is. SEEN: what is to be seen of them.
"""

import os
import stat

import pytest

from apppot.errors import AppPotError
from apppot.image.opening import open_image
from apppot.making.source import Source
from tests.image.tars import member

NOT_UTF8 = os.fsdecode(b"caf\xe9")
TREE = (member("./", "dir", mode=0o755), member("./etc/", "dir", mode=0o750, gid=4), ("etc/hostname", b"image\n"),
        member("etc/shadow", data=b"x", mode=0o000, gid=42), member("bin/su", data=b"su", mode=0o4755),
        member("bin/same", "link", target="bin/su"), member("lib", "symlink", target="usr/lib"),
        member("dev/null", "char", mode=0o666, dev=(1, 3)), member("dev/sda", "block", mode=0o660, gid=6, dev=(8, 0)),
        member("run/pipe", "fifo"), member("srv/" + NOT_UTF8, data=b"1"), member("srv/new\nline", data=b"2"),
        member("tmp", "dir", mode=0o1777), member("home/me", data=b"mine", uid=1234, gid=5678))
SEEN = {"": ("0o40755", 0, 0, None), "etc": ("0o40750", 0, 4, None), "etc/hostname": ("0o100644", 0, 0, b"image\n"),
        "etc/shadow": ("0o100000", 0, 42, b"x"), "bin": ("0o40755", 0, 0, None), "bin/su": ("0o104755", 0, 0, b"su"),
        "bin/same": ("0o104755", 0, 0, b"su"), "lib": ("0o120777", 0, 0, b"usr/lib"), "dev": ("0o40755", 0, 0, None),
        "dev/null": ("0o20666", 0, 0, (1, 3)), "dev/sda": ("0o60660", 0, 6, (8, 0)), "run": ("0o40755", 0, 0, None),
        "run/pipe": ("0o10644", 0, 0, None), "srv": ("0o40755", 0, 0, None), "srv/" + NOT_UTF8: ("0o100644", 0, 0, b"1"),
        "srv/new\nline": ("0o100644", 0, 0, b"2"), "tmp": ("0o41777", 0, 0, None), "home": ("0o40755", 0, 0, None),
        "home/me": ("0o100644", 1234, 5678, b"mine")}


def seen(path):
    """{name: (type and mode, uid, gid, what is in it)} of a whole image, as virtual root sees it."""
    found = {}
    with Source.open(os.fsencode(path)) as source:
        for entry in source.entries():
            st = entry.st
            content = None
            if stat.S_ISREG(entry.kind):
                with source.content(entry) as file:
                    content = file.read()
            elif stat.S_ISLNK(entry.kind):
                content = source.target(entry)
            elif entry.kind in (stat.S_IFCHR, stat.S_IFBLK):
                content = (os.major(st.st_rdev), os.minor(st.st_rdev))
            found[os.fsdecode(entry.path)] = (oct(entry.kind | stat.S_IMODE(st.st_mode)), st.st_uid, st.st_gid, content)
    return found


def refused(path, *parts):
    """It can't be opened, and one line says so, with its path and these parts."""
    with pytest.raises(AppPotError) as error:
        open_image(os.fsencode(path))
    for part in (str(path), *parts):
        assert part in error.value.message
    assert "\n" not in error.value.message


def nothing_is_left(cache):
    """No layer, no image, nothing half-made."""
    assert not list(cache.glob("layers/*")) and not list(cache.glob("images/*"))
    assert list(cache.glob("staging/*")) == []


def links_are_777(found):
    """What was seen, with the mode that symbolic links have on Linux, whatever their archive says."""
    return {name: ("0o120777", *facts[1:]) if facts[0].startswith("0o12") else facts for name, facts in found.items()}
