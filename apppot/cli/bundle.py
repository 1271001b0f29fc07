"""apppot bundle: AppPot in one file, for hosts where it is not installed."""

import os
import sys

from apppot.cli import report, values
from apppot.cli.options import Option, help_text, parse, without_arguments

PROGRAM = "apppot bundle"
OPTIONS = [
    Option("--output", "-o", metavar="FILE", convert=values.path, help="Write to FILE. Default: apppot.pyz."),
    Option("--help", "-h", help="Print this text and end."),
]
USAGE = f"{PROGRAM} [-o FILE]"
SUMMARY = ("Make one executable file that holds AppPot and needs only Python 3.11 or newer of the host: as an input file of a "
           "grid job, or as a site's installation. It is used like apppot: ./apppot.pyz start ...; called apppot-start or "
           "apppot-snap, it is that command.")


def bundle(argv):
    chosen, _, words = parse(OPTIONS, argv)
    if chosen["help"]:
        sys.stdout.write(help_text(USAGE, SUMMARY, [("Options", OPTIONS)]))
        return 0
    without_arguments(words)
    from apppot.bundle import write
    write.write(os.fsdecode(chosen["output"]) if chosen["output"] else write.DEFAULT)
    return 0


def main(argv=None):
    return report.guard(PROGRAM, bundle, sys.argv[1:] if argv is None else argv)
