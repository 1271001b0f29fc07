"""What build steps made, kept in the cache: each a layer over the step before.

    $APPPOT_CACHE/steps/KEY/      upper/, ownership.log as in a COW; layer.json says what it is, and is locked while in use
    $APPPOT_CACHE/staging/        where it is made; renamed when it is whole
"""

import os
import time
from errno import EEXIST, ENOTEMPTY

from apppot.image.cow import remove_tree
from apppot.image.layer import Layer
from apppot.image.owners import use
from apppot.image.store import Store, disk_usage
from apppot.vfs.ownership import KEEP, Ownership

FORMAT = "apppot-step"


class StepLayer(Layer):
    """What a step changed. place: a directory with `upper` and `ownership.log`. kept: hold it, so that nobody removes it.

    user: (uid, gid) that the image's `user` has; in records they replace the host user's own.
    """

    recorded = True

    def __init__(self, place, kept=False, user=None):
        super().__init__(place + b"/upper")
        self._lock = use(place) if kept else -1
        ownership = Ownership(self.host, place + b"/ownership.log")
        device = os.lstat(self.host).st_dev
        me = (os.geteuid(), os.getegid())
        self._records = {}
        for (dev, ino), record in ownership.records.items():
            if dev == device:
                uid, gid = record.uid, record.gid
                if user is not None and me[0] != 0:
                    uid, gid = user[0] if uid == me[0] else uid, user[1] if gid == me[1] else gid
                self._records[ino] = uid, gid, record.mode, record.rdev
        self.devices = frozenset(os.path.dirname(self.host + b"/" + name) for name, key in ownership.names.items()
                                 if key in ownership.records and ownership.records[key].rdev != KEEP)

    def record(self, directory, name, ino):
        return self._records.get(ino)

    def close(self):
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Steps:
    """The steps in the cache."""

    def __init__(self, store=None):
        self.store = store or Store()
        self.path = self.store.path + b"/steps"

    def place(self, key):
        return self.path + b"/" + key.encode()

    def has(self, key):
        return os.path.exists(self.place(key) + b"/layer.json")

    def layer(self, key):
        """The StepLayer of a step, or None."""
        try:
            layer = StepLayer(self.place(key), kept=True)
            os.utime(self.place(key) + b"/layer.json")
            return layer
        except OSError:
            return None

    def put(self, place, key, about):
        """Move a finished step into its place; what another process put there meanwhile is as good."""
        import json
        with open(place + b"/layer.json", "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "version": 1, "key": key, **about}, file, indent=1)
        os.makedirs(self.path, 0o700, exist_ok=True)
        try:
            os.rename(place, self.place(key))
        except OSError as error:
            if error.errno not in (EEXIST, ENOTEMPTY):
                raise

    def drop(self, key):
        """Remove a step that is to be made again. BlockingIOError: a build is using it."""
        try:
            lock = use(self.place(key), alone=True)
        except FileNotFoundError:
            remove_tree(self.place(key))
            return
        try:
            gone = self.place(key) + b".%s.gone" % os.urandom(4).hex().encode()
            os.rename(self.place(key), gone)
        finally:
            if lock >= 0:
                os.close(lock)
        remove_tree(gone)

    def remove(self, unused=None):
        """Remove all steps, or those not used for so many seconds: (bytes freed, lines about what is in use)."""
        freed, lines = 0, []
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return 0, []
        for name in names:
            place = self.path + b"/" + name
            if name.endswith(b".gone"):
                remove_tree(place)
                continue
            try:
                if unused is not None and os.stat(place + b"/layer.json").st_mtime > time.time() - unused:
                    continue
                size = disk_usage(place)
                self.drop(os.fsdecode(name))
                freed += size
            except BlockingIOError:
                lines.append(f"step {os.fsdecode(name)[:12]} is in use by a build; remove again when it has ended")
            except FileNotFoundError:
                pass
        return freed, lines
