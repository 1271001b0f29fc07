"""apppot image verify: compare what the cache has of an image with the image."""

import os

from apppot.cli.image.command import Command, image_path
from apppot.errors import STATUS_FAILED
from apppot.cli.options import Option


def run(command, chosen, words):
    from apppot.image import verifying
    bad = 0
    for word in words:
        path = image_path(word)
        for name, problem in verifying.verify(path, command.progress, chosen["repair"]):
            bad += 1
            print(f"{word}: {os.fsdecode(name)}: {problem}")
    if bad:
        return 0 if chosen["repair"] else STATUS_FAILED
    command.note("what the cache has is right")
    return 0


main = Command(
    "verify", run, "IMAGE...",
    "Check the digests of an archive, and compare what the cache has of it, or of a single-file image, with the image. "
    "Prints what differs; the exit status is 125 then.",
    [Option("--repair", help="Put right what differs; the exit status is 0 then.")], words=(1, None),
    examples=("apppot image verify root.tar.gz",))
