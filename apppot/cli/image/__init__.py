"""apppot image COMMAND: finds the command's module and hands over."""

import sys

from apppot.cli import report
from apppot.cli.options import Option, UsageError, help_text, parse

PROGRAM = "apppot image"

# name → (module, one line of help); each module has main(argv) → exit status
COMMANDS = {
    "build": ("apppot.cli.image.build", "make an image from a recipe"),
    "import": ("apppot.cli.image.bring", "unpack an archive into the cache, or into a directory"),
    "export": ("apppot.cli.image.export", "write an image as one file"),
    "convert": ("apppot.cli.image.convert", "write an image in another format"),
    "unpack": ("apppot.cli.image.unpack", "write an image into a new directory"),
    "commit": ("apppot.cli.image.commit", "make a new image of an image and a COW over it"),
    "inspect": ("apppot.cli.image.inspect", "tell what an image is"),
    "verify": ("apppot.cli.image.verify", "compare what the cache has of an image with the image"),
    "list": ("apppot.cli.image.list", "show what is in the cache"),
    "remove": ("apppot.cli.image.remove", "free the cache"),
}
OPTIONS = [Option("--help", "-h", help="Print this text and end.")]
USAGE = f"{PROGRAM} COMMAND [ARGS...]"
SUMMARY = "Make, look at and keep images: what apppot-start --image starts."


def listing():
    lines = ["Commands:"] + [f"  {name:<24}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(lines) + f"\n\n{PROGRAM} COMMAND --help tells more.\n"


def dispatch(argv):
    chosen, _, words = parse(OPTIONS, argv)
    if chosen["help"]:
        sys.stdout.write(help_text(USAGE, SUMMARY, [("Options", OPTIONS)], listing()))
        return 0
    if not words:
        raise UsageError(f"which command? There are: {', '.join(COMMANDS)}")
    if words[0] not in COMMANDS:
        from difflib import get_close_matches
        near = get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"unknown command {words[0]!r}; {hint}There are: {', '.join(COMMANDS)}")
    from importlib import import_module
    return import_module(COMMANDS[words[0]][0]).main(words[1:])


def main(argv=None):
    return report.guard(PROGRAM, dispatch, sys.argv[1:] if argv is None else argv)
