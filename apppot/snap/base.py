"""What changes are made against: the image, or the state of a machine that was recorded as the base.

A base has a name, "sha256:...". That of an image is its digest; a directory has none, so what tells trees apart is
hashed: the names in its system directories, with the sizes of programs, and the lists of installed packages. A recorded
state is named as OCI names chains of layers: sha256 of "PARENT DIFF", where DIFF is the digest of the uncompressed layer
that `changes` would write.
"""

import hashlib
import json
import os
import time
from stat import S_IFMT, S_ISLNK, S_ISREG

from apppot.errors import AppPotError

FILE = b"/base.json"
FORMAT, VERSION = "apppot-base", 1

_LISTED = (b"", b"etc")                           # names and kinds
_PROGRAMS = (b"bin", b"sbin", b"usr/bin", b"usr/sbin", b"usr/local/bin")   # and sizes
_IDENTITY = (b"etc/os-release", b"usr/lib/os-release", b"var/lib/dpkg/status", b"lib/apk/db/installed",
             b"usr/lib/sysimage/rpm/rpmdb.sqlite", b"var/lib/rpm/rpmdb.sqlite", b"var/lib/rpm/Packages")


def of_image(image):
    """Name of the base that an opened image (image.Image) is."""
    if image.digest:
        return image.digest
    return of_tree(image.layers[0].host)


def of_tree(top):
    """Name of the base that a directory is. Costs a few thousand lstat calls at most, whatever the tree's size."""
    found = hashlib.sha256(b"apppot tree 1\n")
    for directory in _LISTED + _PROGRAMS:
        path = top + b"/" + directory
        try:
            if S_ISLNK(os.lstat(path).st_mode):
                continue
            names = sorted(os.listdir(path))
        except OSError:
            continue
        for name in names:
            try:
                st = os.lstat(path + b"/" + name)
            except OSError:
                continue
            size = st.st_size if directory in _PROGRAMS and S_ISREG(st.st_mode) else 0
            found.update(b"%d %s/%s %o %d\n" % (len(name), directory, name, S_IFMT(st.st_mode), size))
    for name in _IDENTITY:
        try:
            with open(top + b"/" + name, "rb") as file:
                found.update(name + b" " + hashlib.file_digest(file, "sha256").digest())
        except OSError:
            continue
    return "sha256:" + found.hexdigest()


def chain(parent, diff):
    return "sha256:" + hashlib.sha256(f"{parent} {diff}".encode()).hexdigest()


class Record:
    """The recorded base of a COW. name: of the base; image: of the image below; entries: {name: signature}."""

    def __init__(self, name, image, entries, created=None):
        self.name, self.image, self.entries = name, image, entries
        self.created = created or now()

    @classmethod
    def read(cls, cow_path):
        """The record of a COW, or None when its base is the image."""
        try:
            with open(cow_path + FILE, encoding="utf-8") as file:
                data = json.load(file)
            if data["format"] != FORMAT or data["version"] != VERSION:
                raise ValueError
            entries = {os.fsencode(name): signature for name, signature in data["entries"].items()}
            return cls(data["name"], data["image"], entries, data["created"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AppPotError(f"{os.fsdecode(cow_path + FILE)} is damaged; record the base again (apppot-snap base), "
                              "or remove the file: the base is the image then") from None

    def write(self, cow_path):
        new = cow_path + FILE + b".new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "version": VERSION, "name": self.name, "image": self.image,
                       "created": self.created,
                       "entries": {os.fsdecode(name): signature for name, signature in self.entries.items()}}, file)
            file.write("\n")
        os.rename(new, cow_path + FILE)


def now():
    """The time for records, UTC; SOURCE_DATE_EPOCH replaces it."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(given) if given.isdecimal() else None))
