"""Archives of changes as read-only layers over an image, unpacked once into the cache.

    $CACHE/changes/KEY/    tree/, ownership.log, layer.json; KEY stands for the archive's digest and all that is below it

A layer is renamed into place when it is whole, so any number of starts may unpack the same one at once and any of them
may be killed. What killed ones left is removed by the next. While it is used it is held (see `image.changes`).
"""

import hashlib
import json
import os
import time
from errno import EEXIST, ENOTEMPTY

from apppot.errors import AppPotError
from apppot.image.changes import NEW, directory
from apppot.image.layer import Layer
from apppot.image.names import unescape
from apppot.image.owners import use
from apppot.image.progress import SILENT
from apppot.image.workplace import Workplace, remove_dead
from apppot.snap import snapshots
from apppot.snap.base import chain, of_image
from apppot.vfs.ownership import Record

VERSION = 1
_TRIES = 100            # to put a layer in place, 10 ms apart, while others remove the one that is there


class ChangesLayer(Layer):
    """An unpacked archive of changes. diff: see snapshots.Merge; key: its name in the cache. OSError: it is not there."""

    recorded = True

    def __init__(self, place, key):
        super().__init__(place + b"/tree")
        self.key = key
        self._lock = use(place)
        try:
            self._read(place)
        except BaseException:
            self.close()
            raise

    def _read(self, place):
        with open(place + b"/layer.json", encoding="utf-8") as file:
            about = json.load(file)
        self.diff, self.base = about["diff"], about["base"]
        self._prefix = len(self.host) + 1
        self._records = {}
        devices = set()
        with open(place + b"/ownership.log", "rb") as file:
            for line in file:
                if line.startswith(b"set "):
                    _, uid, gid, mode, rdev, name = line.rstrip(b"\n").split(b" ")
                    name = unescape(name)
                    self._records[name] = (int(uid), int(gid), -1 if mode == b"-1" else int(mode, 8), int(rdev))
                    if rdev != b"-1":
                        devices.add((self.host + b"/" + name).rpartition(b"/")[0])
        self.devices = frozenset(devices)

    def record(self, directory, name, ino):
        path = (directory + b"/" + name if name else directory)[self._prefix:]
        return self._records.get(path)

    def close(self):
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def stack(image, archives, uid, gid, force=False, say=lambda text: None, cache=None, progress=SILENT):
    """The layers for `archives` (host paths, most recent last) over an opened image; topmost first."""
    layers = []
    try:
        _stack(layers, image, archives, uid, gid, force, say, directory(cache), progress)
    except BaseException:
        for layer in layers:
            layer.close()
        raise
    return layers[::-1]


def _stack(layers, image, archives, uid, gid, force, say, cache, progress):
    base = of_image(image)
    key = base
    for path in archives:
        digest = snapshots.file_digest(path)
        key = hashlib.sha256(f"{VERSION} {key} {digest} {uid} {gid}".encode()).hexdigest()
        layer = _cached(cache, key)
        known = {base} | {chain(base, below.diff) for below in layers}
        if layer is not None and layer.base not in known | {None} and not force:
            layer.close()
            layer = None                        # the message comes from there
        if layer is None:
            layer = _unpack(cache, key, path, layers[::-1] + image.layers, uid, gid, base, known, force, say, progress)
        layers.append(layer)


def give_top(layers, upper, ownership):
    """Let a new upper layer's root look like that of the topmost layer: guests see the upper one."""
    if not layers or os.listdir(upper):
        return
    layer = layers[0]
    st = os.lstat(layer.host)
    os.chmod(upper, st.st_mode & 0o1777 | 0o700)
    told = layer.record(layer.host, b"", st.st_ino)
    if told is not None:
        ownership.set(os.lstat(upper), Record(*told), b"")
    os.utime(upper, ns=(st.st_atime_ns, st.st_mtime_ns))


def _cached(cache, key):
    place = cache + b"/" + key.encode()
    try:
        layer = ChangesLayer(place, key)
    except (OSError, ValueError, KeyError):
        return None
    try:
        os.utime(place + b"/layer.json")
    except OSError:                             # a site's cache, for reading
        pass
    return layer


def _unpack(cache, key, path, lowers, uid, gid, base, known, force, say, progress):
    try:
        os.makedirs(cache, 0o700, exist_ok=True)
        remove_dead(cache, NEW)
        place = Workplace(cache, NEW + os.urandom(8).hex().encode())
    except OSError as error:
        raise AppPotError(f"the cache {os.fsdecode(cache)}: {error.strerror}; set APPPOT_CACHE to a directory that you "
                          "can write") from None
    work = place.path
    try:
        merge = snapshots.unpack(path, lowers, work, uid, gid, check=lambda name: None if name in known else base,
                                 force=force, progress=progress)
        for note in merge.notes:
            say(note)
        with open(work + b"/layer.json", "w", encoding="utf-8") as file:
            json.dump({"diff": merge.diff, "base": merge.base, "archive": merge.archive,
                       "path": os.fsdecode(os.path.abspath(path))}, file)
        layer = _put(work, cache, key)
        if layer is None:
            raise AppPotError(f"the cache {os.fsdecode(cache)} was changed meanwhile; start again")
        return layer
    finally:
        place.close()


def _put(work, cache, key):
    """Move a whole layer into place, held all the time; the layer, or None."""
    held = use(work)
    try:
        for _ in range(_TRIES):
            try:
                os.rename(work, cache + b"/" + key.encode())
                return _cached(cache, key)
            except OSError as error:
                if error.errno not in (EEXIST, ENOTEMPTY):
                    raise
            layer = _cached(cache, key)                    # somebody else was as quick
            if layer is not None:
                return layer
            time.sleep(0.01)
        return None
    finally:
        if held >= 0:
            os.close(held)
