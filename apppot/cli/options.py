"""Command-line options as a table: one list of Option gives the parser and the --help text.

Differences from argparse that apppot-start needs: options end at the first word that is none, names are never
abbreviated, an optional value is only ever joined by "=", and an error is one line. It also costs no start-up time.
"""

from apppot.errors import STATUS_USAGE, AppPotError


class UsageError(AppPotError):
    """The command line is wrong."""

    def __init__(self, message):
        super().__init__(message, STATUS_USAGE)


class Option:
    """One option under all its names; the first long name, with "_" for "-", is the key of its value.

    metavar: None for a switch, "WORD" for an option with a value, "[WORD]" when the value may be left out.
    convert: value of the command line → value; its ValueError says what would be right.
    repeat: the value is the list of all that were given (for a switch: how often).
    """

    __slots__ = ("names", "metavar", "help", "convert", "repeat", "key")

    def __init__(self, *names, metavar=None, help, convert=str, repeat=False):
        self.names = names
        self.metavar = metavar
        self.help = help
        self.convert = convert
        self.repeat = repeat
        self.key = next(name for name in names if name.startswith("--"))[2:].replace("-", "_")

    @property
    def optional(self):
        return self.metavar is not None and self.metavar.startswith("[")

    def store(self, values, name, text):
        """Put one occurrence into values; text is None where no value was given."""
        if self.metavar is None:
            values[self.key] = values[self.key] + 1 if self.repeat else True
            return
        try:
            value = True if text is None else self.convert(text)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
        if self.repeat:
            values[self.key].append(value)
        else:
            values[self.key] = value

    def default(self):
        if self.metavar is None:
            return 0 if self.repeat else False
        return [] if self.repeat else None


def parse(options, argv, mixed=False, elsewhere=dict):
    """Return (values by key, given option names in order, the words after the options).

    mixed: options may also stand behind and between the words, up to a `--`. elsewhere: a function that gives what to say
    instead of the options of other tools, by their names.
    """
    by_name = {name: option for option in options for name in option.names}
    values = {option.key: option.default() for option in options}
    given = []
    words = []
    at = 0
    while at < len(argv):
        word = argv[at]
        if word == "--":
            at += 1
            break
        if word == "-" or not word.startswith("-"):
            if not mixed:
                break
            words.append(word)
            at += 1
            continue
        at += 1
        name, text, more = _split(by_name, word)
        option = by_name.get(name)
        if option is None:
            from apppot import suggestions
            raise UsageError(suggestions.option(name, by_name, elsewhere()))
        if option.metavar is not None and text is None and not option.optional:
            if at == len(argv):
                raise UsageError(f"{name} needs a value: {name} {option.metavar}")
            text = argv[at]
            at += 1
        option.store(values, name, text)
        given.append(name)
        if more:                            # the rest of a bundle of short switches: -vq
            at -= 1
            argv = [*argv[:at], "-" + more, *argv[at + 1:]]
    return values, given, words + list(argv[at:])


def _split(by_name, word):
    """Return (option name, joined value or None, further short switches)."""
    if word.startswith("--"):
        name, equals, text = word.partition("=")
        option = by_name.get(name)
        if equals and option is not None and option.metavar is None:
            raise UsageError(f"{name} takes no value")
        return name, text if equals else None, ""
    name, rest = word[:2], word[2:]
    option = by_name.get(name)
    if option is None:
        return word if len(word) > 2 else name, None, ""
    if option.metavar is None:
        return name, None, rest
    return name, rest or None, ""


def without_arguments(words):
    if words:
        raise UsageError(f"unexpected argument {words[0]}; --help tells what is accepted")


def help_text(usage, summary, groups, footer=""):
    """The --help text. groups: list of (title, list of Option)."""
    from textwrap import fill
    parts = [f"Usage: {usage}", "", fill(summary, 79)]
    for title, options in groups:
        parts += ["", f"{title}:"]
        for option in options:
            short = [name for name in option.names if not name.startswith("--")]
            long = [name for name in option.names if name.startswith("--")]
            head = ", ".join(short + long)
            if option.optional:
                head += f"[={option.metavar[1:-1]}]"
            elif option.metavar is not None:
                head += f" {option.metavar}"
            text = fill(option.help, 79, initial_indent=" " * 26, subsequent_indent=" " * 26)
            if len(head) <= 22:
                parts.append("  " + head.ljust(24) + text.lstrip())
            else:
                parts += ["  " + head, text]
    if footer:
        parts += ["", footer.strip("\n")]
    return "\n".join(parts) + "\n"
