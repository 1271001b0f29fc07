"""apppot image commit: make a new image of an image and a COW over it."""

import os

from apppot.cli.image import writing
from apppot.cli.image.command import Command, image_path, required, target_format, write


def run(command, chosen, words):
    target = required(chosen, "output", "-o NEW")
    format = target_format(target, chosen, "directory" if target.endswith(b"/") else None)
    from apppot.making.source import Source
    with Source.open(image_path(words[1]), os.fsencode(words[0]), command.progress) as source:
        write(command, source, target, format, chosen)


main = Command(
    "commit", run, "COW IMAGE -o NEW [--format FORMAT]",
    "Make a new image of IMAGE and what the COW directory COW (apppot-start --cow COW) has changed. Neither is changed.",
    [writing.OUTPUT, writing.FORMAT, writing.SIZE, writing.BOOTABLE], words=(2, 2),
    examples=("apppot-start --image root.tar.gz --cow changes --root touch /etc/mine",
              "apppot image commit changes root.tar.gz -o new.oci.tar"), footer=writing.FOOTER)
