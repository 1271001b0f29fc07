"""Programs with commands: a table {name: (module, one line of help)}; each module has main(argv) → exit status."""

from importlib import import_module

from apppot.cli.options import UsageError


def listing(program, commands):
    """The part of --help that lists the commands."""
    lines = ["Commands:"] + [f"  {name:<24}{text}" for name, (_, text) in commands.items()]
    return "\n".join(lines) + f"\n\n{program} COMMAND --help tells more.\n"


def call(commands, words, elsewhere):
    """Hand over to the command that the first word names; nothing but its module is imported.

    elsewhere: a function that gives what to say instead of the commands of other tools, by their names.
    """
    if not words:
        raise UsageError(f"which command? There are: {', '.join(commands)}")
    name = words[0]
    if name not in commands:
        from apppot import suggestions
        instead = elsewhere().get(name) or suggestions.among(name, commands)
        raise UsageError(f"unknown command {name!r}; {instead}")
    return import_module(commands[name][0]).main(words[1:])
