"""What the cache holds, and making it hold less: unpacked archives (`store`), lazily filled images (`cache`), `changes`."""

import os
import time

from apppot.errors import AppPotError
from apppot.image import cache, changes, copies
from apppot.image.store import Store, file_key


class Kept:
    """One image, or layer of changes, in the cache. size: bytes that it takes alone; shared: of layers that others have too.

    key: of the store; else part: a cache.Cached or changes.CachedChanges, and free: the function that removes it.
    """

    def __init__(self, name, format, digest, source, used, key=None, layers=(), part=None, free=None):
        self.name, self.format, self.digest, self.source, self.used = name, format, digest, source, used
        self.key, self.layers, self.part, self.free = key, list(layers), part, free
        self.size = part.size if part is not None else 0
        self.shared = 0

    def as_dict(self):
        return {"name": self.name, "format": self.format, "digest": self.digest, "source": self.source,
                "used": int(self.used), "size": self.size, "shared": self.shared, "layers": self.layers}


def images(store=None):
    """[Kept], last used last."""
    store = store or Store()
    found = []
    for key, about, used in store.known():
        digest = str(about.get("digest"))
        name = key if about.get("named") else digest.partition(":")[2][:12]
        found.append(Kept(name, str(about.get("format")), digest, str(about.get("source")), used, key,
                          about.get("layers") or ()))
    users = {}
    for kept in found:
        for digest in set(kept.layers):
            users.setdefault(digest, []).append(kept)
    for digest, kepts in users.items():
        size = store.size(digest)
        for kept in kepts:
            if len({other.digest for other in kepts}) > 1 or len(kepts) > 1:
                kept.shared += size
            else:
                kept.size += size
    for tree in cache.trees(store.path):
        found.append(Kept(tree.digest[:12], tree.kind, tree.digest, tree.image, tree.used, part=tree,
                          free=cache.remove))
    for layer in changes.layers(store.path):
        found.append(Kept(layer.digest.rpartition(":")[2][:12], "changes", layer.digest, layer.archive, layer.used,
                          part=layer, free=changes.remove))
    patched = copies.Copies(store.path)
    if patched.size:
        found.append(Kept("patched", "copies", "", patched.source, patched.used, part=patched, free=copies.remove_all))
    return sorted(found, key=lambda kept: kept.used)


def remove(words, everything=False, unused=None, store=None):
    """Remove images from the cache: (bytes freed, lines about what could not be removed).

    words: names, beginnings of digests, paths; everything: all; unused: those not used for so many seconds.
    """
    store = store or Store()
    found = images(store)
    before = _size(store)
    if everything:
        chosen = found
    elif unused is not None:
        chosen = [kept for kept in found if kept.used < time.time() - unused]
    else:
        chosen = [kept for word in words for kept in _named(found, word)]
    lines = []
    for kept in dict.fromkeys(chosen):
        if kept.free is not None:
            try:
                kept.free(kept.part)
            except AppPotError as error:
                lines.append(error.message)
        else:
            store.forget(kept.key)
    lines += _remove_layers(store)
    copies.remove(store.path, lambda copy: copy.stale or unused is not None and copy.used < time.time() - unused)
    return max(before - _size(store), 0), lines


def _named(found, word):
    key = file_key(word)[0] if os.path.isfile(word) else None
    path = os.path.abspath(word)
    chosen = [kept for kept in found if word in (kept.name, kept.digest) or key is not None and kept.key == key
              or os.path.exists(word) and kept.source == path
              or len(word) >= 6 and kept.digest.rpartition(":")[2].startswith(word)]
    if not chosen:
        raise AppPotError(f"{word}: the cache has no such image; apppot image list shows what it has")
    return chosen


def _remove_layers(store):
    """Remove the layers that no image has any more: lines about those that are in use."""
    needed = {digest for _, about, _ in store.known() for digest in about.get("layers") or ()}
    lines = []
    for digest in store.digests():
        if digest not in needed:
            try:
                store.remove_layer(digest)
            except BlockingIOError:
                lines.append(f"layer {digest[:19]} is in use by a running machine; remove again when it has ended")
            except FileNotFoundError:
                pass
    return lines


def _size(store):
    parts = [*cache.trees(store.path), *changes.layers(store.path), copies.Copies(store.path)]
    return sum(store.size(digest) for digest in store.digests()) + sum(part.size for part in parts)
