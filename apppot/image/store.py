"""The cache of what archives were unpacked into, and what the cache knows about images.

    $APPPOT_CACHE, else $XDG_CACHE_HOME/apppot, else ~/.cache/apppot:

    layers/sha256-HEX/        a layer by the digest of its uncompressed tar: tree/, owners, inodes, layer.json
    images/KEY.json           what an archive file was found to be; KEY stands for that very file, or NAME for an import
    staging/RANDOM/           a layer that is being unpacked; it is locked, and removed by others when its lock is free

A layer is renamed into place when it is whole, so what is in `layers` is whole. No lock is needed to use it. Who wants
to unpack a layer that another process is unpacking waits as long as that one makes progress.
"""

import fcntl
import hashlib
import json
import os
import time
from contextlib import contextmanager, suppress
from errno import EDQUOT, EEXIST, ENOSPC, ENOTEMPTY

from apppot.errors import AppPotError
from apppot.image import suitable
from apppot.image.cow import remove_tree
from apppot.image.owners import UnpackedLayer, make_table, use
from apppot.image.place import cache_directory
from apppot.image.replacing import replace
from apppot.image.workplace import STUCK, Workplace, remove_dead

FORMAT = "apppot-layer"
VERSION = 1
_CLAIM = b".lock"           # how names of lock files end


class Store:
    def __init__(self, path=None):
        self.path = cache_directory() if path is None else os.path.abspath(path)
        self.layers = self.path + b"/layers"
        self.images = self.path + b"/images"
        self.staging = self.path + b"/staging"

    # Layers

    def place(self, digest):
        return self.layers + b"/" + digest.replace(":", "-").encode()

    def layer(self, digest):
        """The UnpackedLayer with this digest ("sha256:..."), or None."""
        place = self.place(digest)
        about = _load(place + b"/layer.json")
        if about is None or about.get("format") != FORMAT or about.get("version") != VERSION:
            return None
        try:
            return UnpackedLayer(place, about)
        except (OSError, ValueError, IndexError):
            return None

    def about_layer(self, digest):
        return _load(self.place(digest) + b"/layer.json")

    @contextmanager
    def new(self, what, digest=None):
        """A staging directory, locked; removed at the end whatever happens. None when, meanwhile, another process
        has put the layer `digest` in place."""
        with self.full_disk(what):
            for directory in (self.layers, self.images, self.staging):
                os.makedirs(directory, 0o700, exist_ok=True)
            remove_dead(self.staging)
            _remove_dead_claims(self.staging)
            suitable.check_cache(self.staging, what)
            claim = None
            if digest is not None:
                claim = Claim(self.staging + b"/" + digest.replace(":", "-").encode() + _CLAIM)
                if not claim.take(lambda: os.path.isdir(self.place(digest))):
                    yield None
                    return
            try:
                staged = Staged(self.staging, claim)
            except BaseException:
                if claim is not None:
                    claim.close()
                raise
            try:
                yield staged
            finally:
                staged.close()

    @contextmanager
    def full_disk(self, what):
        try:
            yield
        except OSError as error:
            if error.errno in (ENOSPC, EDQUOT):
                raise AppPotError(f"{what}: no space left for the cache {os.fsdecode(self.path)}; free some, or set "
                                  "APPPOT_CACHE to a directory with more") from error
            if error.filename is not None and os.fsencode(error.filename).startswith(self.path):
                raise AppPotError(f"the cache {os.fsdecode(self.path)}: {error.strerror} "
                                  f"({os.fsdecode(error.filename)}); set APPPOT_CACHE to a directory that you may "
                                  "write") from error
            raise

    def put(self, staged, digest, unpacker, facts):
        """Move the staged tree into place as the layer `digest`."""
        unpacker.owners.write(staged.path + b"/owners")
        with open(staged.path + b"/inodes", "wb") as file:
            file.write(make_table(staged.path + b"/tree", unpacker.owners))
        about = {"format": FORMAT, "version": VERSION, "digest": digest, "files": unpacker.files,
                 "devices": sorted(map(os.fsdecode, unpacker.devices)), **facts}
        _save(staged.path + b"/layer.json", about)
        os.chmod(staged.path + b"/tree", 0o755)
        try:
            os.rename(staged.path, self.place(digest))
        except OSError as error:
            if error.errno not in (EEXIST, ENOTEMPTY):     # another process was faster
                raise

    # What is known of images

    def image(self, key):
        """What is known under a key or name: a dict, or None."""
        return _load(self.images + b"/" + os.fsencode(key) + b".json")

    def remember(self, key, about):
        os.makedirs(self.images, 0o700, exist_ok=True)
        _save(self.images + b"/" + os.fsencode(key) + b".json", about)

    def used(self, key):
        """The image was used now."""
        try:
            os.utime(self.images + b"/" + os.fsencode(key) + b".json")
        except OSError:
            pass

    def known(self):
        """[(key, about, time of last use)] of all images."""
        try:
            names = sorted(os.listdir(self.images))
        except OSError:
            return []
        found = []
        for name in names:
            if name.endswith(b".json"):
                path = self.images + b"/" + name
                about = _load(path)
                try:
                    used = os.stat(path).st_mtime
                except FileNotFoundError:           # it was removed meanwhile
                    continue
                if about is not None:
                    found.append((os.fsdecode(name[:-5]), about, used))
        return found

    def by_digest(self, beginning):
        """The key of the image with a digest that begins so, "sha256:12ab"; None: there is none. AppPotError: several do."""
        found = [(used, key, about["digest"]) for key, about, used in self.known()
                 if str(about.get("digest")).startswith(beginning)]
        digests = sorted({digest for _, _, digest in found})
        if len(digests) > 1:
            raise AppPotError(f"{beginning}: several images in the cache begin so, {', '.join(digests)}; say more of it")
        return max(found)[1] if found else None

    def digests(self):
        """Digests of the layers in the cache."""
        try:
            return sorted(os.fsdecode(name).replace("-", ":", 1) for name in os.listdir(self.layers))
        except OSError:
            return []

    def forget(self, key):
        """Know nothing of an image any more."""
        with suppress(FileNotFoundError):
            os.unlink(self.images + b"/" + os.fsencode(key) + b".json")

    def remove_layer(self, digest):
        """Remove a layer: out of sight first, so that nobody starts with half of it. BlockingIOError: it is in use."""
        os.makedirs(self.staging, 0o700, exist_ok=True)
        lock = use(self.place(digest), alone=True)
        try:
            gone = self.staging + b"/" + os.urandom(12).hex().encode()
            os.rename(self.place(digest), gone)
        finally:
            if lock >= 0:
                os.close(lock)
        remove_tree(gone)

    def size(self, digest):
        """Bytes on the disk."""
        return disk_usage(self.place(digest))


class Staged:
    """A private place in the cache. path: the directory that becomes a layer."""

    def __init__(self, parent, claim=None):
        self._place = Workplace(parent, os.urandom(12).hex().encode())
        self._claim = claim
        self.path = self._place.path + b"/layer"
        os.mkdir(self.path, 0o700)
        os.mkdir(self.path + b"/tree", 0o755)

    def beat(self):
        """There was progress."""
        if self._claim is not None:
            self._claim.beat()

    def close(self):
        try:
            self._place.close()
        except OSError:
            pass                # the next one removes it
        if self._claim is not None:
            self._claim.close()


class Claim:
    """The right to make something, as a lock file whose time tells of progress. Who has the right removes it at the end."""

    def __init__(self, path):
        self.path = path
        self._fd = -1
        self._next = 0

    def take(self, done):
        """Wait for the right; False if meanwhile `done` (a function) is true. Whoever makes no progress is passed."""
        while not done():
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _locked(fd, self.path):
                self._fd = fd
                os.utime(fd)
                if not done():
                    return True
                self.close()
                return False
            os.close(fd)
        return False

    def beat(self):
        now = time.monotonic()
        if now > self._next:
            self._next = now + 1
            os.utime(self._fd)

    def close(self):
        if self._fd >= 0:
            if _is_at(self._fd, self.path):
                with suppress(OSError):
                    os.unlink(self.path)
            os.close(self._fd)
            self._fd = -1


def _locked(fd, path):
    """Whether the lock file is this process's now; else wait a moment."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if _age(path) < STUCK:
            time.sleep(0.1)
            return False
    except OSError:
        pass                # a file system without locks
    return _is_at(fd, path)


def _is_at(fd, path):
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _remove_dead_claims(staging):
    """Remove the lock files of processes that were killed."""
    for name in os.listdir(staging):
        if not name.endswith(_CLAIM):
            continue
        path = staging + b"/" + name
        with suppress(OSError):             # others hold it, or removed it
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(fd, path):
                    os.unlink(path)
            finally:
                os.close(fd)


def file_key(path):
    """(key of this very file as it is now, facts about it). It changes when the file is replaced or written."""
    st = os.stat(path)
    facts = [os.fsdecode(os.path.realpath(path)), st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest(), facts


def disk_usage(path):
    total = 0
    todo = [path]
    seen = set()
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    st = entry.stat(follow_symlinks=False)
                    if st.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        if st.st_ino in seen:
                            continue
                        seen.add(st.st_ino)
                    total += st.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            continue
    return total


def _age(path):
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0


def _load(path):
    try:
        with open(path, encoding="utf-8") as file:
            about = json.load(file)
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def _save(path, about):
    replace(path, json.dumps(about, indent=1).encode() + b"\n")
