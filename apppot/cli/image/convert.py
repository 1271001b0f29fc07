"""apppot image convert: write an image in another format."""

from apppot.cli.image import writing
from apppot.cli.image.command import Command, image_path, required, target_format, write


def run(command, chosen, words):
    target = required(chosen, "output", "-o DST")
    format = target_format(target, chosen, "directory" if target.endswith(b"/") else None)
    from apppot.making.source import Source
    with Source.open(image_path(words[0]), None, command.progress) as source:
        write(command, source, target, format, chosen)


main = Command(
    "convert", run, "SRC -o DST [--format FORMAT]",
    "Write the image SRC in another format: a directory, a tar archive, an OCI archive, a squashfs or ext4 image. DST with "
    "a slash at its end is a directory.",
    [writing.OUTPUT, writing.FORMAT, writing.SIZE, writing.BOOTABLE],
    examples=("apppot image convert root.tar.gz -o root.squashfs",), footer=writing.FOOTER)
