"""apppot image unpack: write an image into a new directory."""

import os

from apppot.cli.image.command import Command, image_path


def unpack(command, path, target):
    """Write an image into the new directory `target`."""
    from apppot.making import formats
    from apppot.making.source import Source
    target = target.rstrip(b"/") or b"/"
    with Source.open(path, None, command.progress) as source:
        for line in formats.write(source, target, "directory", command.progress):
            command.note(line)


def run(command, chosen, words):
    unpack(command, image_path(words[0]), os.fsencode(words[1]))


main = Command(
    "unpack", run, "IMAGE DIR",
    "Write an image into the new directory DIR. All files belong to you then, and device nodes are left out.",
    [], words=(2, 2), examples=("apppot image unpack root.tar.gz tree",))
