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
DAMAGED = "what it wrote down about its outputs is damaged"
KINDS = ((stat.S_ISDIR, "directory"), (stat.S_ISREG, "file"), (stat.S_ISLNK, "link"))


class Report:
    """status: exit status of the machine; files: {name: [size, SHA-256]}; links: {name: target}; missing: outputs that are not
    there, or may not be read."""

    def __init__(self, status, files, links, missing):
        self.status, self.files, self.links, self.missing = status, files, links, missing

    def complaint(self):
        """What went wrong, in a few words, or None."""
        if self.status:
            return f"status {self.status}"
        return f"output {self.missing[0]} is missing or may not be read" if self.missing else None


def digest(path):
    """[size, SHA-256] of a regular file; OSError (ELOOP for a symbolic link)."""
    sha256, size = hashlib.sha256(), 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        while piece := file.read(PIECE):
            sha256.update(piece)
            size += len(piece)
    return [size, sha256.hexdigest()]


def walk(directory, names):
    """(name, kind) of all that the outputs `names` are in `directory`: "file", "link", "directory", None for one that is missing
    or may not be read, or "other" (fifos, sockets, devices)."""
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
        kind = next((kind for is_so, kind in KINDS if is_so(mode)), "other")
        below = sorted(os.listdir(path)) if kind == "directory" else ()
    except OSError:
        yield name, None
        return
    yield name, kind if kind != "file" or os.access(path, os.R_OK) else None
    for entry in below:
        yield from _walk(directory, f"{name}/{entry}")


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
    """The Report in a directory; None where the task did not get so far. AppPotError: it is damaged. Who does not get so far may
    have written one himself."""
    path = os.path.join(directory, REPORT)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="ascii") as file:
            data = json.load(file)
        files = {_below(name): [int(size), str(sha256)] for name, (size, sha256) in data["files"].items()}
        return Report(int(data["status"]), files, dict(data["links"]), [str(name) for name in data["missing"]])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AppPotError(f"{path}: it is no report of a task ({error})") from None


def _below(name):
    if name != os.path.normpath(name) or name.startswith(("/", "../")):
        raise ValueError(f"{name!r} is no name below the job directory")
    return name


def damaged(directory, report):
    """Names of the report's files that are not in `directory` as they were on the node."""
    return [name for name, expected in report.files.items() if not _is(directory, name, expected)]


def _is(directory, name, expected):
    try:
        return next(walk(directory, [name])) == (name, "file") and digest(os.path.join(directory, name)) == expected
    except OSError:
        return False
