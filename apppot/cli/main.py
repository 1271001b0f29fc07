"""apppot COMMAND: finds the command's module and hands over; nothing else is imported."""

import sys

from apppot.cli import commands, report
from apppot.cli.options import Option, help_text, parse

PROGRAM = "apppot"

# name → (module, one line of help); each module has main(argv) → exit status
COMMANDS = {
    "start": ("apppot.cli.start", "run a program in a machine; the same as apppot-start"),
    "snap": ("apppot.cli.snap", "keep what a machine changed, or merge such changes; the same as apppot-snap"),
    "image": ("apppot.cli.image", "make, look at and keep images"),
    "bundle": ("apppot.cli.bundle", "make one file that holds AppPot, for hosts where it is not installed"),
    "submit": ("apppot.cli.submit", "hand a job to an ARC or Slurm site"),
    "status": ("apppot.cli.status", "show what became of jobs"),
    "fetch": ("apppot.cli.fetch", "bring the results of jobs"),
    "cancel": ("apppot.cli.cancel", "end jobs"),
    "resubmit": ("apppot.cli.resubmit", "submit failed tasks of jobs again"),
    "record": ("apppot.cli.record", "write down what a task left; job scripts run this"),
    "doctor": ("apppot.cli.doctor", "tell whether this host can run machines, and what to do if not"),
}
OPTIONS = [
    Option("--version", "-V", help="Print the version and end."),
    Option("--help", "-h", help="Print this text and end."),
]
USAGE = f"{PROGRAM} COMMAND [ARGS...]"
SUMMARY = "Run programs inside a root tree as an ordinary user, with copy-on-write."


def _elsewhere():
    from apppot.cli import elsewhere
    return elsewhere.COMMANDS


def dispatch(argv):
    chosen, _, words = parse(OPTIONS, argv)
    if chosen["help"]:
        sys.stdout.write(help_text(USAGE, SUMMARY, [("Options", OPTIONS)], commands.listing(PROGRAM, COMMANDS)))
        return 0
    if chosen["version"]:
        from apppot import __version__
        print(f"{PROGRAM} {__version__}")
        return 0
    return commands.call(COMMANDS, words, _elsewhere)


def main(argv=None):
    return report.guard(PROGRAM, dispatch, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
