"""Comparing what the cache has of an archive with the archive: its layers are unpacked once more, and compared."""

import os
from stat import S_IFLNK, S_IFMT, S_IFREG

from apppot.errors import AppPotError
from apppot.image import archive, cache, detect
from apppot.image.opening import is_name
from apppot.image.progress import SILENT
from apppot.image.store import Store
from apppot.image.workplace import Workplace


_TIME = "its time is another"


def verify(path, progress=SILENT, repair=False):
    """[(name in the image, what is wrong)] of an image's files in the cache. repair: put it right."""
    store = Store()
    if is_name(path):
        known = store.image(os.fsdecode(path))
        if known is None:
            raise AppPotError(f"{os.fsdecode(path)}: there is no such import in the cache")
        source = os.fsencode(known.get("source") or "")
        if not os.path.exists(source):
            raise AppPotError(f"{os.fsdecode(path)}: what it was imported from, {os.fsdecode(source)}, is no more, so "
                              "there is nothing to compare it with")
        path = source
    found = detect.detect(path)
    if found.format in detect.LAZY:
        return cache.verify(path, repair=repair)
    if found.format == "directory":
        raise AppPotError(f"{os.fsdecode(path)} is a directory, which the cache has nothing of")
    if found.format is None:
        raise AppPotError(f"{os.fsdecode(path)} is {found.what}, no image")
    with archive.open_image(path, progress, store) as image:
        digests = [layer.about["digest"] for layer in image.layers]
    os.makedirs(store.staging, 0o700, exist_ok=True)
    workplace = Workplace(store.staging, b"verify-" + os.urandom(8).hex().encode())
    fresh = Store(workplace.path + b"/cache")
    try:
        with archive.open_image(path, progress, fresh) as true:
            wrong = []
            for digest, layer in zip(digests, true.layers):
                differs = list(_differences(layer.place, store.place(digest)))
                wrong += differs
                if differs and repair:
                    _replace(store, digest, layer.place)
        return wrong
    finally:
        workplace.close()


def _replace(store, digest, place):
    try:
        store.remove_layer(digest)
    except BlockingIOError:
        raise AppPotError(f"layer {digest[:19]} is in use by a running machine; repair when it has ended") from None
    os.rename(place, store.place(digest))


def _differences(true, cached):
    """(name, what is wrong) of a cached layer, beside one that was just unpacked."""
    if not _same_content(true + b"/owners", cached + b"/owners"):
        yield b"/", "the recorded owners are not the image's"
    todo = [b""]
    while todo:
        path = todo.pop()
        here, there = true + b"/tree/" + path, cached + b"/tree/" + path
        names = set(os.listdir(here))
        for name in sorted(set(os.listdir(there)) - names):
            yield b"/" + path + name, "it is not in the image"
        for name in sorted(names):
            problem = _differs(here + name, there + name)
            if problem is not None:
                yield b"/" + path + name, problem
            if problem in (None, _TIME) and os.path.isdir(here + name) and not os.path.islink(here + name):
                todo.append(path + name + b"/")


def _differs(true, cached):
    try:
        found = os.lstat(cached)
    except FileNotFoundError:
        return "it is missing"
    wanted = os.lstat(true)
    if wanted.st_mode != found.st_mode:
        return "its type or mode is another"
    kind = S_IFMT(wanted.st_mode)
    if kind == S_IFLNK:
        return None if os.readlink(true) == os.readlink(cached) else "the symbolic link leads elsewhere"
    if kind == S_IFREG and not _same_content(true, cached):
        return "its contents are not the image's"
    return None if wanted.st_mtime_ns == found.st_mtime_ns else _TIME


def _same_content(one, two):
    with open(one, "rb", buffering=0) as first, open(two, "rb", buffering=0) as second:
        while True:
            data, other = first.read(1 << 20), second.read(1 << 20)
            if data != other:
                return False
            if not data:
                return True
