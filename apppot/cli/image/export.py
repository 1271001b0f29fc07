"""apppot image export: write an image as one file."""

from apppot.cli.image import writing
from apppot.cli.image.command import Command, image_path, required, target_format, write
from apppot.cli.options import UsageError


def run(command, chosen, words):
    target = required(chosen, "output", "-o FILE")
    if chosen["format"] == "directory":
        raise UsageError("a directory is no file; use apppot image unpack")
    format = target_format(target, chosen)
    from apppot.making.source import Source
    with Source.open(image_path(words[0]), chosen["cow"], command.progress) as source:
        write(command, source, target, format, chosen)


main = Command(
    "export", run, "IMAGE -o FILE [--format FORMAT]",
    "Write an image (a path or the name of an import) as one file.",
    [writing.OUTPUT, writing.FORMAT, writing.COW, writing.SIZE, writing.BOOTABLE],
    examples=("apppot image export root.tar.gz -o root.oci.tar",), footer=writing.FOOTER)
