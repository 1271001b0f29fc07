"""apppot image import: unpack an archive into the cache, or into a directory."""

import os

from apppot.cli import values
from apppot.cli.image.command import Command, UsageError, image_path
from apppot.cli.options import Option
from apppot.errors import AppPotError


def run(command, chosen, words):
    path = image_path(words[0])
    target = chosen["output"]
    if target is not None and b"/" in target:
        from apppot.cli.image.unpack import unpack
        unpack(command, path, target)
        print(os.fsdecode(target))
        return
    if target is not None:
        try:
            values.name(os.fsdecode(target))
        except ValueError as error:
            raise UsageError(f"--output: {error}; a directory's name has a slash, like ./{os.fsdecode(target)}") from None
    from apppot.image import archive, detect
    found = detect.detect(path)
    if found.format not in detect.UNPACKED:
        raise AppPotError(f"{os.fsdecode(path)} is {found.what}: it starts as it is, and needs no import"
                          if found.format else f"{os.fsdecode(path)} is {found.what}; an archive is needed")
    with archive.open_image(path, command.progress) as image:
        if target is not None:
            archive.give_name(os.fsdecode(target), image)
        print(os.fsdecode(target) if target is not None else image.digest)


main = Command(
    "import", run, "SRC [-o NAME|DIR/]",
    "Unpack an OCI image layout or archive, a docker save archive, or a tar archive of a root tree into the cache, where "
    "apppot-start finds it; it does so by itself, too. Prints the name, or else the digest.",
    [Option("--output", "-o", metavar="NAME", convert=values.path,
            help="Name to start it by: apppot-start --image NAME, also when the archive is gone. With a slash in it, a "
                 "new directory to unpack it into instead.")],
    examples=("apppot image import root.tar.gz -o mine", "apppot-start --image mine true"))
