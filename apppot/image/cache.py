"""What the cache holds of images that start without being unpacked (see `lazy`): list, remove, verify; unpack one."""

import fcntl
import json
import os
from contextlib import suppress
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from apppot.errors import AppPotError
from apppot.image import detect, index, lazy
from apppot.image.cow import remove_tree
from apppot.image.place import cache_directory
from apppot.image.store import disk_usage
from apppot.image.tree import DamagedImage


class Cached:
    """digest, image (the name it had), kind ("ext4"...), size on the disk, used (time), in_use, place."""

    __slots__ = ("digest", "image", "kind", "size", "used", "in_use", "place")

    def __init__(self, place):
        self.place = place
        try:
            with open(place + b"/image.json", encoding="utf-8", errors="surrogateescape") as file:
                about = json.load(file)
            self.image, self.kind, self.digest = about["image"], about["kind"], about["digest"]
        except (OSError, ValueError, KeyError, TypeError):
            self.image, self.kind, self.digest = "?", "?", os.fsdecode(os.path.basename(place)).partition("-")[0]
        self.used = lazy.last_use(place)
        self.size = disk_usage(place)
        self.in_use = not _alone(place)


def trees(cache=None):
    """[Cached] of all images in the cache, last used last."""
    top = (cache_directory() if cache is None else cache) + b"/trees"
    try:
        names = os.listdir(top)
    except FileNotFoundError:
        return []
    found = [Cached(top + b"/" + name) for name in names if not name.endswith(b".gone")]
    return sorted(found, key=lambda cached: cached.used)


def remove(cached):
    """Free what a Cached holds; AppPotError when a machine is using it. Leftovers of interrupted removals go as well."""
    lock = _lock(cached.place)
    try:
        if lock is None:
            raise AppPotError(f"image {cached.image} is in use; wait for the end of its machines")
        with suppress(FileNotFoundError):          # somebody else removed it
            os.rename(cached.place, cached.place + b".%s.gone" % os.urandom(4).hex().encode())
    finally:
        if lock is not None and lock >= 0:
            os.close(lock)
    top = os.path.dirname(cached.place)
    for name in os.listdir(top):
        if name.endswith(b".gone"):
            remove_tree(top + b"/" + name)


def _lock(place):
    """The descriptor of an exclusive lock; -1 where there is nothing to lock; None: others use it."""
    try:
        fd = os.open(place + b"/lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:                    # a file system without locks
        pass
    return fd


def _alone(place):
    try:
        lock = _lock(place)
    except OSError:
        return True
    if lock is not None and lock >= 0:
        os.close(lock)
    return lock is not None


# Verify

def verify(path, below=None, repair=False, cache=None, tell=lambda name: None):
    """Compare what the cache holds of an image with the image: [(name in the image, what is wrong)].

    repair: put it right. tell: called with each name. DamagedImage when the image itself can't be read.
    """
    found = detect.detect(path)
    if found.format not in detect.LAZY:
        raise AppPotError(f"image {os.fsdecode(path)} is {found.what}: the cache holds no files of it")
    tree = lazy.LazyTree(found, below, cache)
    try:
        wrong = []
        todo = [(b"", tree.host, tree.top)]
        while todo:
            name, host, entry = todo.pop()
            entries, whole = tree.looked_into(entry)
            if entries is None:
                continue
            true = {entry_name: index.entry_of(inode) for entry_name, inode in
                    tree.reader.entries(tree.reader.inode(entry[index.REF]))}
            if entries != true:
                wrong.append((name or b"/", "the list of its entries is not the image's"))
                if repair:
                    tree.make_again(host, entry)
                    whole = True
                entries = true
            for below_name, below_entry in sorted(entries.items()):
                here, there = name + b"/" + below_name, host + b"/" + below_name
                if not whole and not os.path.lexists(there) and tree.looked_into(below_entry)[0] is None:
                    continue
                tell(here)
                what = _differs(tree, there, below_entry, repair)
                if what:
                    wrong.append((here, what))
                if S_IFMT(below_entry[index.MODE]) == S_IFDIR:
                    todo.append((here, there, below_entry))
        return wrong
    finally:
        tree.close()


def _differs(tree, host, entry, repair):
    """What is wrong with a file of the cache, or None."""
    kind = S_IFMT(entry[index.MODE])
    inode = tree.reader.inode(entry[index.REF])
    what = _wrong_name(tree, host, kind, inode)
    if what is None and kind == S_IFREG:
        return _wrong_contents(tree, host, entry, inode, repair)
    if what is not None and repair:
        remove_tree(host)
        if kind == S_IFREG:
            tree.forget(entry[index.NUMBER])
        tree.make_again(os.path.dirname(host))
    return what


def _wrong_name(tree, host, kind, inode):
    try:
        found = S_IFMT(os.lstat(host).st_mode)
    except FileNotFoundError:
        return "it is missing"
    if found != (S_IFREG if kind in (S_IFCHR, S_IFBLK) else kind):
        return "it is of another type"
    if kind == S_IFLNK and os.readlink(host) != tree.reader.readlink(inode):
        return "the symbolic link leads elsewhere"
    return None


def _wrong_contents(tree, host, entry, inode, repair):
    size = os.lstat(host).st_size
    if size != inode.size:
        if repair:
            tree.forget(entry[index.NUMBER])
            os.truncate(host, inode.size)
        return f"its size is {size}, not {inode.size}"
    if not tree.is_filled(entry[index.NUMBER]) or _same_contents(tree.reader, inode, host):
        return None
    if repair:
        tree.forget(entry[index.NUMBER])
        _write_all(tree.reader, inode, host)
        tree.content(host)
    return "its contents are not the image's"


def _ranges(reader, inode):
    """(offset, bytes or None for a hole, length) of all of a file."""
    at = 0
    for start, data in reader.chunks(inode):
        if start > at:
            yield at, None, start - at
        yield start, data, len(data)
        at = start + len(data)
    if at < inode.size:
        yield at, None, inode.size - at


def _pieces(reader, inode):
    with reader.guard():
        for at, data, size in _ranges(reader, inode):
            while size:
                some = min(size, 1 << 20)
                yield at, bytes(some) if data is None else data[:some]
                at, size = at + some, size - some
                data = data and data[some:]


def _same_contents(reader, inode, host):
    with open(host, "rb", buffering=0) as file:
        return all(os.pread(file.fileno(), len(data), at) == data for at, data in _pieces(reader, inode))


def _write_all(reader, inode, host):
    """Also zeros where the image has holes: somebody wrote there."""
    with open(host, "r+b", buffering=0) as file:
        for at, data in _pieces(reader, inode):
            if os.pread(file.fileno(), len(data), at) != data:
                os.pwrite(file.fileno(), data, at)


# Unpack

def unpack(path, target, below=None, progress=lambda files, done: None, processes=None):
    """Unpack a whole image into the new or empty directory `target`; number of files.

    As root, owners, modes and devices are the image's; else files belong to the caller, set-uid bits and devices are left
    out. progress: called with (files made, bytes written). Killed or failed, it leaves a part behind: use a new directory.
    """
    from apppot.image.extract import Extraction
    target = os.fsencode(target)
    try:
        os.makedirs(target, exist_ok=True)
        if os.listdir(target):
            raise AppPotError(f"{os.fsdecode(target)} is not empty; name a new directory")
    except OSError as error:
        raise AppPotError(f"{os.fsdecode(target)}: {error.strerror}; name a directory that can be made") from None
    found = detect.detect(path)
    if found.format not in detect.LAZY:
        raise AppPotError(f"image {os.fsdecode(path)} is {found.what}; this unpacks ext2/3/4 and squashfs images")
    return Extraction(found, below, target, progress, processes).run()


__all__ = ["Cached", "DamagedImage", "remove", "trees", "unpack", "verify"]
