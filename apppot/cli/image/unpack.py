"""apppot image unpack: write an image into a new directory."""

import os

from apppot.cli.image.command import Command, UsageError, image_path


def unpack(command, path, target):
    """Write an image into the new directory `target`."""
    from apppot.image import detect
    from apppot.image.opening import is_name
    target = target.rstrip(b"/") or b"/"
    if not is_name(path) and detect.detect(path).format in detect.LAZY:
        _extract(command, path, target)
        return
    from apppot.making import formats
    from apppot.making.source import Source
    with Source.open(path, None, command.progress) as source:
        for line in formats.write(source, target, "directory", command.progress):
            command.note(line)


def _extract(command, path, target):
    """Without the cache, by several processes."""
    from apppot.image import cache
    from apppot.making import output
    done = 0

    def tell(files, size):
        nonlocal done
        command.progress.advance(size - done)
        done = size

    with output.whole(target, directory=True) as temporary:
        command.progress.begin(f"unpacking {os.fsdecode(os.path.basename(path))}")
        try:
            cache.unpack(path, temporary, progress=tell)
        finally:
            command.progress.end()


def run(command, chosen, words):
    if not words[1]:
        raise UsageError("the directory's name is empty")
    unpack(command, image_path(words[0]), os.fsencode(words[1]))


main = Command(
    "unpack", run, "IMAGE DIR",
    "Write an image into the new directory DIR. Unless you are root, all files belong to you then, and device nodes and "
    "set-user-id bits are left out.",
    [], words=(2, 2), examples=("apppot image unpack root.tar.gz tree",))
