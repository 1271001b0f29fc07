"""What the image commands share."""

import os
import signal
import sys

from apppot.cli import command, progress
from apppot.cli.options import Option, UsageError

QUIET = Option("--quiet", "-q", help="No progress and no notes.")
JSON = command.JSON


class Command(command.Command):
    """One subcommand. `progress` and `note` are for its run(), and silent with --quiet."""

    def __init__(self, name, run, usage, summary, options, words=(1, 1), examples=(), footer=""):
        super().__init__(f"image {name}", run, usage, summary, [*options, QUIET], words, examples, footer=footer)

    def begin(self, chosen):
        signal.signal(signal.SIGTERM, _end)
        self.quiet = chosen["quiet"]
        self.progress = progress.for_command(self.program, self.quiet)

    def note(self, line):
        if not self.quiet:
            super().note(line)


def _end(signum, frame):
    """What is half-made is removed on the way out."""
    raise SystemExit(128 + signum)


def image_path(word):
    """The path (bytes) of an image that a word names, or the name of an import, which a digest names as well."""
    from apppot.cli.imagefile import by_digest, is_import
    path = os.fsencode(word)
    if not path:
        raise UsageError("an image's name is empty")
    if os.path.lexists(path):
        return os.path.abspath(path)
    return path if is_import(path) else by_digest(path) or os.path.abspath(path)


def required(chosen, key, what):
    if chosen[key] is None:
        raise UsageError(f"where to? Say {what}")
    return chosen[key]


def print_json(data):
    import json
    json.dump(data, sys.stdout, indent=2, default=lambda value: os.fsdecode(value))
    print()


def print_table(titles, rows, right=()):
    """A table of rich's on a terminal, else lines with tabs. right: numbers of columns that are right-aligned."""
    if sys.stdout.isatty():
        try:
            _print_with_rich(titles, rows, right)
            return
        except ImportError:             # a bundle has no rich
            pass
    for row in [titles, *rows]:
        print("\t".join(row))


def _print_with_rich(titles, rows, right):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    table = Table(box=None, pad_edge=False)
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def target_format(path, chosen, default=None):
    """The format of what is to be written to `path`: --format, else what the name says."""
    from apppot.making import formats
    format = chosen["format"] or formats.by_name(path) or default
    if format is None:
        raise UsageError(f"in which format is {os.fsdecode(path)} to be? Say --format {'|'.join(formats.FORMATS)}")
    boot, size = chosen["bootable"], chosen["size"]
    if format != "ext4" and (boot or size is not None):
        raise UsageError(f"{'--bootable' if boot else '--size'} is for ext4 images, and this one is {format}")
    return format


def write(command, source, path, format, chosen):
    """Write a Source to `path`."""
    from apppot.making import formats
    for line in formats.write(source, path, format, command.progress, chosen["size"], chosen["bootable"]):
        command.note(line)


