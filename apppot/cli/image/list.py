"""apppot image list: show what is in the cache."""

import time

from apppot.cli.image.command import JSON, Command, print_json, print_table
from apppot.cli.progress import size_text


def run(command, chosen, words):
    from apppot.image.contents import images
    found = images()
    if chosen["json"]:
        print_json([entry.as_dict() for entry in found])
        return
    rows = [(entry.name, entry.format, size_text(entry.size), size_text(entry.shared) if entry.shared else "",
             time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)), entry.source) for entry in found]
    print_table(("NAME", "FORMAT", "SIZE", "SHARED", "LAST USE", "SOURCE"), rows, (2, 3))


main = Command(
    "list", run, "[--json]",
    "Show what the cache has: imports by their name, other images and archives of changes by the beginning of their "
    "digest, the space that each takes alone and shares with others, when it was last started, and where it came from.",
    [JSON], words=(0, 0), examples=("apppot image list",))
