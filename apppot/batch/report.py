"""What a task left: written on the node by `apppot record`, compared with what was fetched by `apppot fetch`.

Guests wrote the job directory, so nothing here follows a symbolic link.
"""

import hashlib
import json
import os
import stat

from apppot.batch.job import REPORT
from apppot.errors import AppPotError

PIECE = 1 << 20


class Report:
    """status: exit status of the machine; files: {name: [size, SHA-256]}; links: {name: target}; missing: outputs that are not
    there."""

    def __init__(self, status, files, links, missing):
        self.status, self.files, self.links, self.missing = status, files, links, missing


def digest(path):
    """[size, SHA-256] of a regular file; OSError (ELOOP for a symbolic link)."""
    sha256, size = hashlib.sha256(), 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        while piece := file.read(PIECE):
            sha256.update(piece)
            size += len(piece)
    return [size, sha256.hexdigest()]


def walk(directory, names):
    """(name, kind) of all that the outputs `names` are in `directory`: "file", "link", "directory" or None for one that is
    missing. What is none of these is left out."""
    for name in names:
        plain = name.rstrip("/")
        if any(os.path.islink(os.path.join(directory, above)) for above in _above(plain)):
            yield plain, None
        else:
            yield from _walk(directory, plain)


def _walk(directory, name):
    path = os.path.join(directory, name)
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        yield name, None
        return
    if stat.S_ISDIR(mode):
        yield name, "directory"
        for entry in sorted(os.listdir(path)):
            yield from _walk(directory, f"{name}/{entry}")
    elif stat.S_ISREG(mode):
        yield name, "file"
    elif stat.S_ISLNK(mode):
        yield name, "link"


def _above(name):
    words = name.split("/")
    return ["/".join(words[:count]) for count in range(1, len(words))]


def write(directory, outputs, status):
    """Write REPORT in `directory`, whole or not at all."""
    files, links, missing = {}, {}, []
    for name, kind in walk(directory, outputs):
        if kind == "file":
            files[name] = digest(os.path.join(directory, name))
        elif kind == "link":
            links[name] = os.readlink(os.path.join(directory, name))
        elif kind is None:
            missing.append(name)
    scratch = os.path.join(directory, f"{REPORT}.{os.getpid()}")
    try:
        with open(scratch, "x", encoding="ascii") as file:
            json.dump({"status": status, "files": files, "links": links, "missing": missing}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, os.path.join(directory, REPORT))
    finally:
        if os.path.lexists(scratch):
            os.unlink(scratch)


def read(directory):
    """The Report in a directory; None where the task did not get so far. AppPotError."""
    path = os.path.join(directory, REPORT)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="ascii") as file:
            data = json.load(file)
        return Report(int(data["status"]), dict(data["files"]), dict(data["links"]), list(data["missing"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AppPotError(f"{path}: it is no report of a task ({error})") from None


def damaged(directory, report):
    """Names of the report's files that are not in `directory` as they were on the node."""
    return [name for name, expected in report.files.items() if not _is(os.path.join(directory, name), expected)]


def _is(path, expected):
    try:
        return digest(path) == list(expected)
    except OSError:
        return False
