"""What `apppot-snap` was asked for: its words, the default files, and carrying it out. The same inside and outside."""

import os
import time

from apppot import suggestions
from apppot.errors import AppPotError
from apppot.snap.difference import Part, Walk
from apppot.snap.snapshots import describe

PROGRAM = "apppot-snap"
COMMANDS = ("base", "changes", "merge")
OPTIONS = ("--dry-run", "--verbose", "--quiet", "--force", "--cow", "--image", "--help")
CHANGES_FILE = b"apppot-changes.tar.gz"       # merged at start when it is in the job directory

HELP = """\
Usage: apppot-snap [options] base | changes [FILE] | merge [FILE]

Keep what a machine changed as an archive, or put such an archive into a
machine. Inside a machine it works on that machine, outside on the
copy-on-write directory --cow.

Commands:
  base                    Record the present state as the base: changes holds
                          what is different from it. Without one the base is
                          the image.
  changes                 Write what differs from the base to FILE, an OCI
                          layer. Default: apppot.YYYY-MM-DD.changes.tar.gz in
                          the job directory; - is standard output.
  merge                   Put the changes in FILE into the machine. Default:
                          the newest apppot.*.changes.tar.gz in the job
                          directory, else apppot-changes.tar.gz.

Options:
  --dry-run, -n           Write nothing; list what would be written.
  --verbose, -v           List the names; repeatable.
  --quiet, -q             No progress and no summary.
  --force                 Merge changes that were made against another base.
  --cow DIR               Outside: the copy-on-write directory.
  --image PATH            Outside: the image below it. Default: the one that it
                          was last started with.
  --help, -h              Print this text and end.

Names that match a pattern in the machine's file
/var/lib/apppot/apppot-snap.exclude are left out.

    apppot-snap --cow mine changes mine.tar.gz
    apppot-start --changes mine.tar.gz hello

Exit status: 0 done, 2 wrong usage, 125 it could not be done.
"""


class Wrong(Exception):
    """The words make no sense. text: why."""

    def __init__(self, text):
        super().__init__(text)
        self.text = text


class Request:
    """command: one of COMMANDS, or None for help; file: bytes or None; cow, image: bytes or None."""

    __slots__ = ("command", "file", "dry", "verbose", "quiet", "force", "cow", "image")

    def __init__(self):
        self.command = self.file = self.cow = self.image = None
        self.dry = self.force = self.quiet = False
        self.verbose = 0


def parse(words):
    """The Request of the words (bytes) after the program's name; Wrong if they make none."""
    request = Request()
    rest, plain = list(words), []
    while rest:
        word = rest.pop(0)
        if word == b"--":
            plain += rest
            break
        if word[:2] == b"--":
            _long(request, word, rest)
        elif word[:1] == b"-" and word != b"-":
            for letter in word[1:].decode("utf-8", "replace"):
                _switch(request, {"n": "--dry-run", "v": "--verbose", "q": "--quiet", "h": "--help"}.get(letter, "-" + letter))
        else:
            plain.append(word)
        if request.command == "help":
            request.command = None
            return request
    if request.quiet and request.verbose:
        raise Wrong("--quiet and --verbose exclude each other")
    if not plain:
        raise Wrong(f"which command? There are: {', '.join(COMMANDS)}")
    name = os.fsdecode(plain[0])
    if name not in COMMANDS:
        raise Wrong(f"unknown command {name!r}; {suggestions.among(name, COMMANDS)}")
    if len(plain) > (1 if name == "base" else 2):
        raise Wrong(f"unexpected argument {os.fsdecode(plain[-1])}; --help tells what is accepted")
    request.command = name
    request.file = plain[1] if len(plain) > 1 else None
    if request.file == b"":
        raise Wrong("the name of the file is empty")
    return request


def _long(request, word, rest):
    name, equals, value = word.partition(b"=")
    if name in (b"--cow", b"--image"):
        if not equals:
            if not rest:
                raise Wrong(f"{name.decode()} needs a value")
            value = rest.pop(0)
        setattr(request, name[2:].decode(), value)
    elif equals:
        name = os.fsdecode(name)
        raise Wrong(f"{name} takes no value" if name in OPTIONS else suggestions.option(name, OPTIONS, {}))
    else:
        _switch(request, os.fsdecode(name))


def _switch(request, name):
    if name == "--dry-run":
        request.dry = True
    elif name == "--verbose":
        request.verbose += 1
    elif name == "--quiet":
        request.quiet = True
    elif name == "--force":
        request.force = True
    elif name == "--help":
        request.command = "help"
    else:
        raise Wrong(suggestions.option(name, OPTIONS, {}))


def default_changes():
    return time.strftime("apppot.%Y-%m-%d.changes.tar.gz").encode()


def default_merge(names):
    """The archive to merge of the names in the job directory."""
    dated = sorted(name for name in names if name.startswith(b"apppot.") and name.endswith(b".changes.tar.gz"))
    if dated:
        return dated[-1]
    if CHANGES_FILE in names:
        return CHANGES_FILE
    raise AppPotError("there is no apppot.*.changes.tar.gz and no apppot-changes.tar.gz in the job directory; name the "
                      "file to merge")


def first_half(request, snapshots, path, shown, out):
    """Do what takes long and leaves the upper layer alone. A Merge to be committed, or None.

    path: host path of the file, or a descriptor for standard output; shown: its name for messages; out: a text stream.
    """
    if request.verbose:
        snapshots.say = lambda line: print(line, file=out)
    def sum_up(line):
        if not request.quiet:
            print(line, file=out)

    if request.command == "base":
        name, count = snapshots.base(request.dry)
        sum_up(f"base {name}: {'would be recorded' if request.dry else 'recorded'}, "
               f"{_names(count)} in the copy-on-write layer")
    elif request.command == "changes" and request.dry:
        count = 0
        for entry in snapshots.list():
            count += 1
            print(describe(entry), file=out)
        sum_up(f"{shown}: {_names(count)} would be written")
    elif request.command == "changes" and isinstance(path, int):
        with open(path, "wb", closefd=False) as file:
            snapshots.archive(file)
    elif request.command == "changes":
        count, size = snapshots.archive_to(path, shown)
        sum_up(f"{shown}: {_names(count)}, {size} bytes")
    else:
        return _stage(request, snapshots, path, shown, out, sum_up)
    return None


def _stage(request, snapshots, path, shown, out, sum_up):
    merge = snapshots.stage(path, request.force, shown)
    if merge.base is None:
        sum_up(f"{shown}: does not say what base it was made against")
    if request.dry or request.verbose:
        place = snapshots.place() + b"/tree"
        for entry in Walk([Part(place, lambda directory, name, st: None)]):
            print(describe(entry), file=out)
    if request.dry:
        snapshots.abandon()
        sum_up(f"{shown}: {_names(merge.entries)} would be merged")
        return None
    sum_up(f"{shown}: {_names(merge.entries)} merged")
    return merge


def _names(count):
    return f"{count} name" if count == 1 else f"{count} names"
