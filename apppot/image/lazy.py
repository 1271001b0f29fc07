"""A single-file image as a layer that is made while it is used.

The layer's host directory lives in the cache, in `trees/DIGEST` (see `place.cache_directory`):

    tree/        the files. A directory's entries are made when it is listed, of a large one those that were looked up before;
                 a regular file is a hole of the right size until it is first opened, a device node an empty file
    index/REF    what the image says of the entries of the directory REF, and whether all of them are made. That is written
                 last: where it says so, the directory is whole
    filled       one byte for each inode number: 1 when the contents are whole
    links/N      a name for inode number N, of files that have several
    image.json   what the image is; its time is that of the last use
    lock         locked, shared, by those who use the tree; who removes it wants it alone

Nobody waits for anybody. All that is made follows from the image alone, so two who make the same thing at once write the
same bytes, and what one has finished, the other only writes once more; who is killed leaves something that the next one
makes again: of a file that was made alone, the image's time is put on it last. A full disk is an error to the guest, and nothing is marked as whole. Inode numbers on the host never
change, as files are filled in place. Owners, modes, times, link counts and device numbers are told from the index.
"""

from collections import OrderedDict
from errno import EIO, ENOENT, ENOTDIR
import fcntl
import os
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK
import time

from apppot import messages
from apppot.errors import AppPotError
from apppot.image import detect, suitable, xattrs
from apppot.image.image import Image
from apppot.image.index import BLOCKS, GID, MODE, MTIME, NLINK, NUMBER, RDEV, REF, UID, entry_of, index_bytes, parse_index
from apppot.image.layer import Layer
from apppot.image.place import cache_directory
from apppot.image.replacing import replace
from apppot.image.tree import DamagedImage

VERSION = 1
_KEPT_DIRECTORIES = 2000
_AT_ONCE = 16                                   # a directory with no more entries is made whole at once
_PART = 4                                       # one is made whole when one in so many of its names was asked for
_TOP = b"."                                     # how index/top calls the image's root
_WHITEOUT = b".wh."                             # overlays look for such names by themselves
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_image(found, below=None):
    """The Image of a `detect.Found` with a lazy format. below: where the image below a UML COW file is now."""
    layer = LazyTree(found, below)
    return Image(found.path, layer.format, [layer], digest="sha256:" + layer.content_digest)


class LazyTree(Layer):
    """Also: digest, its name in the cache; content_digest, which copies of the image share; format of the file system;
    place: its directory in the cache."""

    recorded = True
    lazy = True

    def __init__(self, found, below=None, cache=None):
        self.name = os.fsdecode(found.path)
        self._reader = None
        self._filled = self._lock = -1
        self._whole = set()                 # inode numbers whose contents are there
        self._entries = OrderedDict()       # host directory -> {name: entry}
        self._asked = {}                    # host directory that is not whole -> names that were looked up in it
        self.late = set()
        self._shows_new_names = None        # suitable.shows_new_names, once it is needed
        self._told = True                   # while it is opened, the caller hears of what is wrong with it
        self._window, self.format = detect.open_window(found, below)
        try:
            self.digest, self.content_digest = detect.digests(self._window, self.format)
            self.place = os.path.join(cache_directory() if cache is None else cache,
                                      b"trees", b"%s-%d" % (self.digest.encode(), VERSION))
            self._open()
        except BaseException:
            self.close()
            raise
        self._told = False

    def _open(self):
        self.devices = set()
        if not os.path.lexists(self.place):
            self.reader                     # so that nothing is made in the cache for what is no image after all
        try:
            self._join()
            self.host = os.path.realpath(self.place) + b"/tree"
            top, _ = self._index("top")
            if top is None:
                top = {_TOP: entry_of(self.reader.root)}
                self._write_index("top", top)
            self.top = top[_TOP]
            if self._filled < 0:
                self._open_filled()
            self.enter(self.host)
        except OSError as error:
            if isinstance(error.__cause__, AppPotError):
                raise error.__cause__
            raise AppPotError(f"image {self.name}: the cache {os.fsdecode(self.place)}: {error.strerror}; set "
                              "APPPOT_CACHE to a directory that you may write and that has space") from error

    def _join(self):
        """Make the tree's place, if it isn't there, and be among its users."""
        for _ in range(10):
            os.makedirs(self.place, 0o700, exist_ok=True)
            for part in (b"tree", b"index", b"links"):
                os.makedirs(self.place + b"/" + part, 0o700, exist_ok=True)
            try:
                self._lock = os.open(self.place + b"/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:                          # perhaps a site's cache, for reading
                self._lock = os.open(self.place + b"/lock", os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:                          # a file system without locks, or it is being removed
                pass
            try:
                if os.path.samestat(os.fstat(self._lock), os.stat(self.place + b"/lock")):
                    break
            except FileNotFoundError:                # it was removed meanwhile
                pass
            os.close(self._lock)
            self._lock = -1
        try:
            os.utime(self.place + b"/image.json")
        except OSError:
            suitable.check_cache(self.place, f"image {self.name}")
            self._describe()

    def _describe(self):
        import json
        about = {"format": "apppot-tree", "version": VERSION, "digest": self.digest, "image": self.name,
                 "kind": self.format, **self.reader.detail}
        replace(self.place + b"/image.json", json.dumps(about, indent=1).encode() + b"\n")

    def _open_filled(self):
        path = self.place + b"/filled"
        try:
            self._filled = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self._filled = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def reader(self):
        if self._reader is None:
            if self._window is None:
                raise OSError(EIO, os.strerror(EIO))
            self._reader = detect.reader_of(self._window, self.format)
        return self._reader

    def close(self):
        if self._window is not None:
            self._window.close()
        self._window = self._reader = None
        for fd in (self._filled, self._lock):
            if fd >= 0:
                os.close(fd)
        self._filled = self._lock = -1

    # What the overlay asks

    def record(self, directory, name, ino):
        entry = self.entry(directory, name)
        if entry is None:
            return None
        mode = entry[MODE]
        if name and S_IFMT(mode) == S_IFDIR:
            self.enter(directory + b"/" + name, entry)    # so that its own attributes are true
        if S_IFMT(mode) in (S_IFCHR, S_IFBLK):
            return entry[UID], entry[GID], mode, entry[RDEV], (entry[NLINK], 0, entry[MTIME])
        return entry[UID], entry[GID], mode & 0o7777, -1, (entry[NLINK], entry[BLOCKS], entry[MTIME])

    def enter(self, host, entry=None):
        """See to it that names can be looked up in a host directory of the tree; its {name: entry}."""
        found = self._entries.get(host)
        if found is not None:
            return found
        if entry is None:
            entry = self.top if host == self.host else self.entry(*_split(host))
            if entry is None:
                raise OSError(ENOENT, os.strerror(ENOENT))
        if S_IFMT(entry[MODE]) != S_IFDIR:
            raise OSError(ENOTDIR, os.strerror(ENOTDIR))
        key = "%x" % entry[REF]
        found, whole = self._index(key)
        if found is None:
            found, whole = self._telling(self._make_entries, host, entry, key, _AT_ONCE)
        if not whole:
            self._asked[host] = set()
        if any(S_IFMT(entry[MODE]) in (S_IFCHR, S_IFBLK) for entry in found.values()):
            self.devices.add(host)
        self._entries[host] = found
        if len(self._entries) > _KEPT_DIRECTORIES:
            self._asked.pop(self._entries.popitem(last=False)[0], None)
        return found

    def reach(self, directory, name):
        entries = self.enter(directory)
        asked = self._asked.get(directory)
        if asked is None or name in asked:
            return
        entry = entries.get(name)
        if entry is not None and not self._is_made(directory + b"/" + name, entry):
            self._telling(self._make_one, directory, name, entry)
        asked.add(name)

    @staticmethod
    def _is_made(host, entry):
        try:
            return os.lstat(host).st_mtime_ns == entry[MTIME]
        except FileNotFoundError:
            return False

    def complete(self, host, needed=True):
        entries = self.enter(host)
        asked = self._asked.get(host)
        if asked is None:
            return True
        if not needed and len(asked) * _PART < len(entries):
            return False
        if self._shows_new_names is None:
            self._shows_new_names = suitable.shows_new_names(self.place)
        if not self._shows_new_names:
            self.late.add(host)
        self._telling(self.make_again, host)
        return True

    def entry(self, directory, name):
        """What the index says of a name in a host directory of the tree, or None."""
        return self.enter(directory).get(name) if name else self.top

    def content(self, host):
        """Make the contents of a regular file there."""
        entry = self.entry(*_split(host))
        if entry is None or S_IFMT(entry[MODE]) != S_IFREG:
            return
        if not self._is_whole(entry, host):
            self._telling(self._fill, host, entry)
            self._whole.add(entry[NUMBER])

    def whole(self, host, st=None):
        entry = self.entry(*_split(host))
        return entry is None or S_IFMT(entry[MODE]) != S_IFREG or self._is_whole(entry, host, st)

    def _is_whole(self, entry, host, st=None):
        number = entry[NUMBER]
        if number in self._whole:
            return True
        if not self.is_filled(number) or entry[BLOCKS] and not (st or os.lstat(host)).st_blocks:
            return False                        # or a host that crashed lost it
        self._whole.add(number)
        return True

    def is_filled(self, number):
        return os.pread(self._filled, 1, number) == b"\1"

    def _telling(self, work, *arguments):
        """Do what may find that the image is damaged: the guest gets EIO, the user one line."""
        try:
            return work(*arguments)
        except AppPotError as error:
            if not self._told:
                self._told = True
                messages.tell(messages.shown(f"apppot: {error.message}"))
            raise OSError(EIO, os.strerror(EIO)) from error

    # The index

    def _index(self, key):
        """({name: entry} of a directory, whether all of them are made), or (None, False): nobody looked into it yet."""
        try:
            with open(self.place + b"/index/" + key.encode(), "rb", buffering=0) as file:
                data = file.read()
        except FileNotFoundError:
            return None, False
        return parse_index(data)

    def _write_index(self, key, entries, whole=True):
        replace(self.place + b"/index/" + key.encode(), index_bytes(entries, whole))

    # Making

    def _make_entries(self, host, entry, key, most=None):
        """({name: entry} of a directory, whether all of them were made: if there are no more than `most`)."""
        listed = self.reader.entries(self.reader.inode(entry[REF]))
        whole = most is None or len(listed) <= most
        self._make_in(host, entry, listed if whole else [made for made in listed if made[0].startswith(_WHITEOUT)])
        entries = {name: entry_of(inode) for name, inode in listed}
        self._write_index(key, entries, whole)
        return entries, whole

    def _make_one(self, directory, name, entry):
        above = self.top if directory == self.host else self.entry(*_split(directory))
        self._make_in(directory, above, [(name, self.reader.inode(entry[REF]))])

    def _make_in(self, host, entry, listed):
        """Make some [(name, Inode)] of a directory, which keeps its time."""
        fd = os.open(host, _OPEN_DIRECTORY)
        try:
            for name, inode in listed:
                self._make(fd, name, inode)
            os.utime(fd, ns=(entry[MTIME], entry[MTIME]))
        finally:
            os.close(fd)

    def _make(self, fd, name, inode):
        kind = S_IFMT(inode.mode)
        try:
            if kind == S_IFDIR:
                os.mkdir(name, 0o700, dir_fd=fd)
            elif kind == S_IFLNK:
                os.symlink(self.reader.readlink(inode), name, dir_fd=fd)
            elif kind in (S_IFIFO, S_IFSOCK):
                os.mknod(name, kind | 0o600, dir_fd=fd)
            elif inode.nlink > 1:
                link = self.place + b"/links/%d" % inode.number
                self._make_file(link, None, inode)
                os.link(link, name, dst_dir_fd=fd)
                return
            elif kind in (S_IFREG, S_IFCHR, S_IFBLK):
                self._make_file(name, fd, inode)
                return
            else:
                raise DamagedImage(self.name, f"{os.fsdecode(name)!r} is of an unknown type")
        except FileExistsError:
            if kind not in (S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK):
                return
        if kind != S_IFLNK:
            os.chmod(name, inode.mode & 0o1777 | (0o700 if kind == S_IFDIR else 0o600), dir_fd=fd)
            if kind == S_IFDIR:
                xattrs.put(b"/proc/self/fd/%d/%s" % (fd, name), self.reader.xattrs(inode))
        os.utime(name, ns=(inode.mtime_ns, inode.mtime_ns), dir_fd=fd, follow_symlinks=False)

    def _make_file(self, name, dir_fd, inode):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600,
                       dir_fd=dir_fd)
        try:
            if S_IFMT(inode.mode) == S_IFREG and os.fstat(file).st_size != inode.size:
                os.ftruncate(file, inode.size)
            os.fchmod(file, inode.mode & 0o777 | 0o600)
            xattrs.put(file, self.reader.xattrs(inode))
            os.utime(file, ns=(inode.mtime_ns, inode.mtime_ns))
        finally:
            os.close(file)

    def _fill(self, host, entry):
        inode = self.reader.inode(entry[REF])
        fd = os.open(host, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.reader.copy(inode, fd)
            os.utime(fd, ns=(entry[MTIME], entry[MTIME]))
        finally:
            os.close(fd)
        os.pwrite(self._filled, b"\1", entry[NUMBER])

    # For `cache` as well

    def forget(self, number):
        """The contents aren't whole after all."""
        self._whole.discard(number)
        os.pwrite(self._filled, b"\0", number)

    def make_again(self, host, entry=None):
        """Make all of a directory's entries that are missing."""
        entry = entry or (self.top if host == self.host else self.entry(*_split(host)))
        self._entries[host], _ = self._make_entries(host, entry, "%x" % entry[REF])
        self._asked.pop(host, None)

    def looked_into(self, entry):
        """({name: entry} of a directory's entry, whether all of them were made); (None, False): none yet."""
        return self._index("%x" % entry[REF])


def _split(host):
    directory, _, name = host.rpartition(b"/")
    return directory, name


def last_use(place):
    try:
        return os.stat(place + b"/image.json").st_mtime
    except OSError:
        return time.time()
