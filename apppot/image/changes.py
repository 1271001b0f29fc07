"""What the cache holds of archives of changes (see `snap.layers`, which unpacks them): list, remove.

Who uses a layer holds its layer.json locked, shared; the time of that file is that of the last use. Who removes a layer
wants it alone, and renames it to new-RANDOM, like one that is being unpacked: what is left of it goes with the next.
"""

import json
import os

from apppot.errors import AppPotError
from apppot.image.cow import remove_tree
from apppot.image.owners import use
from apppot.image.place import cache_directory
from apppot.image.store import disk_usage
from apppot.image.workplace import hold, is_workplace, remove_dead

NEW = b"new-"           # how names begin of what is being unpacked or removed: a `Workplace`


class CachedChanges:
    """digest and path (str) of the archive, size on the disk, used (time), place."""

    __slots__ = ("digest", "archive", "size", "used", "place")

    def __init__(self, place):
        self.place = place
        try:
            with open(place + b"/layer.json", encoding="utf-8") as file:
                about = json.load(file)
            self.digest, self.archive = str(about["archive"]), str(about.get("path", "?"))
        except (OSError, ValueError, KeyError, TypeError):
            self.digest, self.archive = os.fsdecode(os.path.basename(place)), "?"
        self.used = _time(place)
        self.size = disk_usage(place)


def directory(cache=None):
    return (cache_directory() if cache is None else cache) + b"/changes"


def layers(cache=None):
    """[CachedChanges]"""
    top = directory(cache)
    try:
        names = sorted(os.listdir(top))
    except OSError:
        return []
    return [CachedChanges(top + b"/" + name) for name in names if not is_workplace(name, NEW)]


def remove(cached):
    """Free what a CachedChanges holds; AppPotError when a machine is using it."""
    top = os.path.dirname(cached.place)
    locks = []
    try:
        if os.path.lexists(cached.place + b"/layer.json"):
            locks.append(use(cached.place, alone=True))
        locks.append(hold(cached.place))                # so that nobody takes it for a dead process's
        gone = top + b"/" + NEW + os.urandom(8).hex().encode()
        os.rename(cached.place, gone)
        remove_tree(gone)
    except BlockingIOError:
        raise AppPotError(f"changes {cached.archive} are in use; wait for the end of their machines") from None
    except FileNotFoundError:              # somebody else removed it
        pass
    finally:
        for lock in locks:
            if lock >= 0:
                os.close(lock)
    remove_dead(top, NEW)


def _time(place):
    try:
        return os.stat(place + b"/layer.json").st_mtime
    except OSError:
        return 0
