"""What commands share: one class that parses, prints the help and reports."""

import sys

from apppot.cli import report
from apppot.cli.options import Option, UsageError, help_text, parse

HELP = Option("--help", "-h", help="Print this text and end.")
JSON = Option("--json", help="Print JSON.")


class Command:
    """A command. run(command, values, words) → exit status or None for 0; usage: what follows its name; words: how many there
    must be (least, most or None); examples: command lines for --help, which tests run; mixed: options may stand between the
    words."""

    def __init__(self, name, run, usage, summary, options, words, examples=(), mixed=True, footer=""):
        self.program = f"apppot {name}"
        self.run, self.usage, self.summary, self.words, self.mixed = run, usage, summary, words, mixed
        self.options, self.examples, self.footer = [*options, HELP], examples, footer

    def help(self):
        title = "Example:" if len(self.examples) == 1 else "Examples:"
        examples = "\n".join([title, *(f"  {line}" for line in self.examples)]) if self.examples else ""
        return help_text(f"{self.program} {self.usage}", self.summary, [("Options", self.options)],
                         "\n\n".join(filter(None, (self.footer, examples))))

    def __call__(self, argv=None):
        return report.guard(self.program, self._main, sys.argv[1:] if argv is None else argv)

    def _main(self, argv):
        chosen, _, words = parse(self.options, argv, mixed=self.mixed)
        if chosen["help"]:
            sys.stdout.write(self.help())
            return 0
        least, most = self.words
        if len(words) < least or most is not None and len(words) > most:
            raise UsageError(f"{'too few' if len(words) < least else 'too many'} words; the usage is: "
                             f"{self.program} {self.usage}")
        self.begin(chosen)
        return self.run(self, chosen, words) or 0

    def begin(self, chosen):
        """What comes before run()."""

    def note(self, line):
        report.say(self.program, line)
