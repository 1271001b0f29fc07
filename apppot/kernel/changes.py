"""--changes at start: archives of changes become layers over the image, or part of a copy-on-write layer that is kept."""

import os

from apppot import messages


def put_in(machine, cow, image, ownership):
    """The layers to put over the image, topmost first.

    A layer that is thrown away after the run gets the archives below it, unpacked once into the cache. One that is kept
    gets them merged, once: it must stay whole when it is started without them.
    """
    if not machine.changes:
        return []
    from apppot.image.progress import SILENT
    from apppot.snap import layers, snapshots

    def say(text):
        if not machine.quiet:
            messages.tell(messages.shown(f"apppot-start: {text}"))

    if machine.cow is None:
        found = layers.stack(image, machine.changes, ownership.uid, ownership.gid, machine.force, _only(machine, say),
                             progress=machine.progress or SILENT)
        layers.give_top(found, cow.upper, ownership)
        return found
    own = snapshots.Snapshots(cow, image, ownership, warn=say)
    own.progress = machine.progress or SILENT
    for archive in machine.changes:
        name = os.fsdecode(archive)
        if own.has_merged(snapshots.file_digest(archive)):
            if machine.verbose:
                say(f"{name} is in {os.fsdecode(cow.path)} already")
            continue
        merge = own.stage(archive, machine.force)
        own.commit()
        say(f"merged {name} into {os.fsdecode(cow.path)}, {merge.entries} names")
    return []


def _only(machine, say):
    return say if machine.verbose else lambda text: None
