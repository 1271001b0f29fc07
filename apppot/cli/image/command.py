"""What the image commands share: one class that parses, prints the help and reports."""

import os
import signal
import sys

from apppot.cli import progress, report
from apppot.cli.options import Option, UsageError, help_text, parse

QUIET = Option("--quiet", "-q", help="No progress and no notes.")
HELP = Option("--help", "-h", help="Print this text and end.")
JSON = Option("--json", help="Print JSON.")


class Command:
    """One subcommand. usage: what follows its name; words: how many there must be (least, most); examples: command
    lines with what they do, for --help and the tests."""

    def __init__(self, name, run, usage, summary, options, words=(1, 1), examples=(), footer=""):
        self.program = f"apppot image {name}"
        self.run, self.usage, self.summary, self.words = run, usage, summary, words
        self.options = [*options, QUIET, HELP]
        self.examples, self.footer = examples, footer

    def help(self):
        footer = self.footer + ("\n\n" if self.footer else "") + \
            "\n".join(["Example:" if len(self.examples) == 1 else "Examples:", *(f"  {line}" for line in self.examples)])
        return help_text(f"{self.program} {self.usage}", self.summary, [("Options", self.options)], footer)

    def __call__(self, argv=None):
        return report.guard(self.program, self._main, sys.argv[1:] if argv is None else argv)

    def _main(self, argv):
        chosen, _, words = parse(self.options, argv, mixed=True)
        if chosen["help"]:
            sys.stdout.write(self.help())
            return 0
        least, most = self.words
        if len(words) < least or most is not None and len(words) > most:
            raise UsageError(f"{'too few' if len(words) < least else 'too many'} words; the usage is: "
                             f"{self.program} {self.usage}")
        signal.signal(signal.SIGTERM, _end)
        self.quiet = chosen["quiet"]
        self.progress = progress.for_command(self.program, self.quiet)
        return self.run(self, chosen, words) or 0

    def note(self, line):
        if not self.quiet:
            report.say(self.program, line)


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


