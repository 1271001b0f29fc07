"""apppot image build: make an image from a recipe."""

import os
import sys

from apppot.cli.image import writing
from apppot.cli.image.command import Command, UsageError, required
from apppot.cli.options import Option


def run(command, chosen, words):
    target = required(chosen, "output", "-o FILE")
    if chosen["verbose"] and command.quiet:
        raise UsageError("--quiet and --verbose exclude each other")
    from apppot.making import formats
    from apppot.making.build import builder, recipe
    described = recipe.read(words[0])
    format = chosen["format"] or described.format or ("directory" if target.endswith(b"/") else formats.by_name(target))
    if format is None:
        raise UsageError(f"in which format is {os.fsdecode(target)} to be? Say --format {'|'.join(formats.FORMATS)}, or "
                         "format: in the recipe")
    size = chosen["size"] or described.size
    if format != "ext4" and (chosen["bootable"] or size is not None):
        raise UsageError(f"{'--bootable' if chosen['bootable'] else 'a size'} is for ext4 images, and this one is {format}")
    made = builder.Builder(described, command.note, _show if chosen["verbose"] else None, command.progress,
                           chosen["fresh"])
    for line in made.build(target, format, size, chosen["bootable"]):
        command.note(line)


def _show(data):
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


main = Command(
    "build", run, "RECIPE -o FILE [--format FORMAT]",
    "Make an image as the YAML file RECIPE says. Its steps run in a machine as virtual root; what each made is kept in the "
    "cache, so that only what changed, and what comes after it, is made again.",
    [writing.OUTPUT, writing.FORMAT, writing.SIZE, writing.BOOTABLE,
     Option("--fresh", help="Make everything again, with the packages that there are now."),
     Option("--verbose", "-v", help="Show what the steps say.")],
    examples=("apppot image build recipe.yaml -o built.tar.gz",), footer=writing.FOOTER)
