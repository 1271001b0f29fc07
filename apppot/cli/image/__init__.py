"""apppot image COMMAND: finds the command's module and hands over."""

import sys

from apppot.cli import commands, report
from apppot.cli.options import Option, help_text, parse

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


def _elsewhere():
    from apppot.cli import elsewhere
    return elsewhere.IMAGE_COMMANDS


def dispatch(argv):
    chosen, _, words = parse(OPTIONS, argv)
    if chosen["help"]:
        sys.stdout.write(help_text(USAGE, SUMMARY, [("Options", OPTIONS)], commands.listing(PROGRAM, COMMANDS)))
        return 0
    return commands.call(COMMANDS, words, _elsewhere)


def main(argv=None):
    return report.guard(PROGRAM, dispatch, sys.argv[1:] if argv is None else argv)
