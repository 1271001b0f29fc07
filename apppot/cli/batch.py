"""What the commands for jobs share: one class that parses, prints the help and reports."""

import sys

from apppot.cli import report
from apppot.cli.options import Option, UsageError, help_text, parse

HELP = Option("--help", "-h", help="Print this text and end.")
QUIET = Option("--quiet", "-q", help="No notes.")
JSON = Option("--json", help="Print JSON.")


class Command:
    """A command. usage: what follows its name; words: how many there must be (least, most or None); mixed: options may stand
    between the words; example: a command line for --help, which tests run."""

    def __init__(self, name, run, usage, summary, options, words, example=None, mixed=True, footer=""):
        self.program = f"apppot {name}"
        self.run, self.usage, self.summary, self.words, self.mixed = run, usage, summary, words, mixed
        self.options, self.example, self.footer = [*options, HELP], example, footer

    def help(self):
        footer = self.footer + (f"\n\nExample:\n  {self.example}" if self.example else "")
        return help_text(f"{self.program} {self.usage}", self.summary, [("Options", self.options)], footer)

    def __call__(self, argv=None):
        return report.guard(self.program, self._main, sys.argv[1:] if argv is None else argv)

    def _main(self, argv):
        chosen, _, words = parse(self.options, argv, mixed=self.mixed)
        if chosen["help"]:
            sys.stdout.write(self.help())
            return 0
        least, most = self.words
        if not least <= len(words) <= (len(words) if most is None else most):
            raise UsageError(f"{'too few' if len(words) < least else 'too many'} words; the usage is: {self.program} {self.usage}")
        return self.run(self, chosen, words) or 0

    def note(self, line):
        report.say(self.program, line)


def records(words):
    """The records that words name."""
    from apppot.batch import record
    return [record.find(word) for word in words]
