"""base, changes and merge on the copy-on-write layer of one machine."""

import hashlib
import json
import os
from errno import EOPNOTSUPP, EISDIR
from stat import S_IFDIR, S_IFREG, S_ISREG

from apppot.errors import AppPotError
from apppot.image import compression, graft, tarstream
from apppot.image.progress import SILENT, Watched
from apppot.snap import accounts, archive, exclude
from apppot.snap.base import Record, chain, now, of_image
from apppot.snap.difference import GONE, Part, Walk, part_of_upper
from apppot.snap.members import clean
from apppot.snap.staging import Staging
from apppot.snap.upper import UpperLayer
from apppot.vfs import users
from apppot.vfs.caller import KERNEL
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay
from apppot.vfs.ownership import KEEP

FORMAT, VERSION = "apppot-changes", 1
_MOST_RECORD = 1 << 20
_MOST_TRAILER = 1 << 26               # what may follow the end of a tar
_OWN = {b"": 0o755, b"etc": 0o755, b"home": 0o755, b"home/user": 0o755, b"tmp": 0o1777}


class Snapshots:
    """cow: an open image.cow.Cow. image: an opened image.image.Image. ownership: the records of cow.upper.

    changes   layers of changes put over the image at start, topmost first
    uid, gid  the machine's user
    say, warn functions (text): what -v tells, and what could not be done as it should
    progress  an image.progress.Progress, told about archives that are written and unpacked
    """

    def __init__(self, cow, image, ownership, changes=(), say=lambda text: None, warn=lambda text: None):
        self.cow, self.image, self.ownership, self.changes = cow, image, ownership, list(changes)
        self.uid, self.gid = ownership.uid, ownership.gid
        self.say, self.warn, self.progress = say, warn, SILENT
        self._below = None

    # -- base

    def base_name(self):
        record = Record.read(self.cow.path)
        return record.name if record else of_image(self.image)

    def base(self, dry=False):
        """Record the present state as the base; (its name, number of entries)."""
        image = of_image(self.image)
        entries = {}
        writer = archive.Changes(_Nowhere(), self.uid, self.gid)
        for entry, text in self._differences(None):
            entries[entry.name] = entry.signature()
            writer.add(entry, text)
        writer.close()
        name = chain(image, writer.diff) if writer.written else image
        if not dry:
            if writer.written:
                Record(name, image, entries).write(self.cow.path)
            else:
                _forget(self.cow.path)
        return name, len(entries)

    # -- changes

    def list(self):
        """The entries that `archive` would write."""
        for entry, _ in self._differences(Record.read(self.cow.path)):
            yield entry

    def archive(self, sink, skip=(), shown="-"):
        """Write changes to sink (has write(bytes)); the number of entries. shown: its name for progress."""
        self.progress.begin(f"writing {shown}")
        try:
            return self._archive(sink, skip)
        finally:
            self.progress.end()

    def _archive(self, sink, skip):
        base = Record.read(self.cow.path)
        image = of_image(self.image)
        packed = archive.Gzip(sink, advance=self.progress.advance)
        writer = archive.Changes(packed, self.uid, self.gid, skip, self.warn)
        about = {"format": FORMAT, "version": VERSION, "base": base.name if base else image, "image": image,
                 "created": now()}
        writer.record(json.dumps(about, indent=1).encode() + b"\n")
        for entry, text in self._differences(base):
            self.say(describe(entry))
            writer.add(entry, text)
        writer.close()
        packed.close()
        return writer.written

    def archive_to(self, path, shown=None):
        """Write changes to the file `path`, which is there as a whole or not at all; (entries, bytes).

        shown: the file's name for progress.
        """
        try:
            old = os.lstat(path)
            if not S_ISREG(old.st_mode):
                raise AppPotError(f"{os.fsdecode(path)} is no regular file; name another")
            skip = [(old.st_dev, old.st_ino)]
        except FileNotFoundError:
            skip = []
        directory, name = os.path.split(path)
        fd, temporary = _unnamed(directory or b".", name)
        try:
            with open(fd, "wb", buffering=1 << 18) as file:
                st = os.fstat(fd)
                count = self.archive(file, [*skip, (st.st_dev, st.st_ino)], shown or os.fsdecode(name))
                file.flush()
                size = os.fstat(fd).st_size
                if temporary is None:
                    temporary = os.path.join(directory, b"." + name[:200] + b"." + os.urandom(4).hex().encode())
                    os.link(b"/proc/self/fd/%d" % fd, temporary, src_dir_fd=fd)      # so that it follows the link
            os.rename(temporary, path)
        except BaseException:
            if temporary is not None and os.path.lexists(temporary):
                os.unlink(temporary)
            raise
        return count, size

    def _differences(self, base):
        """(entry, contents in place of the file's own or None)."""
        parts = [part_of_upper(self.cow.upper, self.ownership)]
        parts += [Part(layer.host, _recorder(layer)) for layer in self.changes]
        left_out = exclude.matcher(self._present().read(exclude.FILE))
        mountpoints = {path.strip(b"/") for path in self.cow.mountpoints}
        own = dict(_OWN)
        for path in mountpoints:
            own.setdefault(path, KEEP)
        if self.image.path == b"/":
            own[b"var/tmp"] = 0o1777
            own.setdefault(b"var", 0o755)
        own = _Own(own, self._edited, self.uid, self.gid)
        for entry in Walk(parts, base.entries if base else None, left_out, own):
            if entry.name == archive.RECORD:
                continue
            yield entry, self._edited(entry) if entry.name in accounts.FILES and entry.kind == S_IFREG else None

    def _edited(self, entry):
        """passwd and group without AppPot's line; None: nothing else differs."""
        below = self._lower().read(b"/" + entry.name)
        with open(entry.host, "rb") as file:
            return accounts.edited(entry.name, file.read(), below)

    # -- views

    def _lower(self):
        if self._below is None:
            self._below = _View(self.image.layers)
        return self._below

    def _present(self):
        return _View(self.present())

    def present(self):
        """The layers of the present state, topmost first, read-only."""
        return [UpperLayer(self.cow.upper, self.ownership.records), *self.changes, *self.image.layers]

    # -- merge

    def stage(self, path, force=False, shown=None):
        """First half of a merge: unpack the archive beside the upper layer, and check it. A Merge.

        shown: the file's name for messages.
        """
        self.cow.keep()
        place = graft.begin(self.cow.path)
        try:
            merge = unpack(path, self.present(), place, self.uid, self.gid, self.protected(), self._check, force,
                           shown, self.progress)
        except BaseException:
            graft.abandon(self.cow.path)
            raise
        with open(place + b"/merged", "w", encoding="utf-8") as file:
            json.dump({"archive": merge.archive, "diff": merge.diff}, file)
        for note in merge.notes:
            self.warn(note)
        return merge

    def commit(self):
        """Second half: put it into the upper layer. Whoever has looked at the upper layer must look again."""
        graft.commit(self.cow.path)
        self.cow.reload()
        self.ownership.reload()

    def place(self):
        """Where `stage` put what it unpacked."""
        return self.cow.path + graft.NEW

    def abandon(self):
        """Forget what was staged."""
        graft.abandon(self.cow.path)

    def has_merged(self, digest):
        return any(merged.get("archive") == digest for merged in self.cow.data.get("merged", ()))

    def protected(self):
        """Directories that something is mounted on or below."""
        found = set()
        for path in self.cow.mountpoints:
            path = path.strip(b"/")
            while path:
                found.add(path)
                path = path.rpartition(b"/")[0]
        return {path for path in found if os.path.isdir(self.cow.upper + b"/" + path)}

    def _check(self, base):
        ours = self.base_name()
        known = {ours}
        for diff in [merged["diff"] for merged in self.cow.data.get("merged", ())] + [
                layer.diff for layer in self.changes]:
            known.add(chain(ours, diff))
        return None if base in known else ours


class Merge:
    """What was unpacked. diff: digest of the layer; archive: digest of the file; base: what it was made against, or
    None; entries: how many; notes: what could not be kept."""

    def __init__(self):
        self.diff = self.archive = self.base = None
        self.entries, self.notes = 0, []


def unpack(path, lowers, place, uid, gid, protected=(), check=lambda base: None, force=False, shown=None,
           progress=SILENT):
    """Unpack an archive of changes over `lowers` into the empty directory `place`; a Merge.

    check: function (name of a base) → None, or the name of the base that there is instead.
    """
    name = shown or os.fsdecode(path)
    digest = file_digest(path, name)
    with open_regular(path, name) as file:
        told = _Told(progress, f"unpacking {name}", os.fstat(file.fileno()).st_size)
        try:
            merge = _unpack(file, name, lowers, place, uid, gid, protected, check, force, told)
        finally:
            told.end()
    merge.archive = digest
    return merge


def _unpack(file, name, lowers, place, uid, gid, protected, check, force, told):
    merge = Merge()
    staging = None
    with tarstream.damage(name):
        stream = _Hashing(compression.reader(Watched(file, told.advance), name))
        for tar, member in tarstream.members(stream):
            if staging is None:
                about = None
                if clean(tarstream.as_bytes(member.name)) == archive.RECORD and member.isreg():
                    about = _about(tar, member, name)
                    merge.base = about["base"]
                    other = None if force else check(merge.base)
                    if other is not None:
                        raise AppPotError(f"{name} was made against the base {merge.base}, here the base is {other}; "
                                          "use the image it was made for, or --force")
                    stream.start(member.offset_data + (member.size + 511 & ~511))
                else:
                    stream.start(0)
                told.begin()
                staging = Staging(lowers, place, uid, gid, about is not None, protected)
                if about is not None:
                    continue
            elif clean(tarstream.as_bytes(member.name)) == archive.RECORD:
                continue
            staging.member(tar, member)
            merge.entries += 1
        if staging is None:
            raise AppPotError(f"{name} is no archive of changes: it is empty")
        merge.diff = stream.finish()
    staging.finish()
    merge.notes = staging.notes
    return merge


def _about(tar, member, name):
    if member.size > _MOST_RECORD:
        raise AppPotError(f"{name}: its record of the base is too long")
    try:
        about = json.loads(b"".join(data for _, data in tarstream.contents(tar, member)))
        if about["format"] != FORMAT or not isinstance(about["base"], str):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise AppPotError(f"{name}: its record of the base is damaged; get it again") from None
    if about.get("version") != VERSION:
        raise AppPotError(f"{name} has version {about.get('version')} of changes; this program knows {VERSION}")
    return about


def open_regular(path, name=None):
    name = name or os.fsdecode(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AppPotError(f"{name}: {error.strerror}; name an archive of changes") from None
    if not S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise AppPotError(f"{name} is no regular file; name an archive of changes")
    return open(fd, "rb")


def file_digest(path, name=None):
    with open_regular(path, name) as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def describe(entry):
    """A line of -v: "+" there, "-" removed; the name as it is, with escapes."""
    shown = entry.name.decode("utf-8", "backslashreplace") if entry.name else "."
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return f"{'-' if entry.kind == GONE else '+'} {shown}{'/' if entry.kind == S_IFDIR else ''}"


class _Own:
    """Whether an entry is as AppPot itself makes it, and so no change."""

    def __init__(self, modes, edited, uid, gid):
        self._modes, self._edited, self._user, self._group = modes, edited, (KEEP, uid), (KEEP, gid)

    def __call__(self, entry):
        if entry.kind == S_IFREG and entry.name in accounts.FILES:
            return entry.mode == 0o644 and entry.uid in (KEEP, 0) and self._edited(entry) is None
        mode = self._modes.get(entry.name)
        if mode is None or entry.kind == GONE or entry.uid not in self._user or entry.gid not in self._group:
            return False
        if entry.name != archive.HOME and (entry.uid, entry.gid) != (KEEP, KEEP):
            return False
        if entry.kind == S_IFREG:
            return mode == KEEP and entry.st.st_size == 0
        return entry.kind == S_IFDIR and mode in (KEEP, entry.mode)


class _View:
    """Reads files of a stack of layers."""

    def __init__(self, layers):
        self._ns = Namespace(Overlay(layers)) if layers else None

    def read(self, path):
        return b"" if self._ns is None else users.read_file(self._ns, KERNEL, path)


class _Hashing:
    """A stream that hashes what is read of it from a place on that is known only after some was read."""

    def __init__(self, stream):
        self._stream, self._held, self._hash = stream, [], None

    def read(self, size=-1):
        data = self._stream.read(size)
        if self._hash is None:
            self._held.append(data)
        else:
            self._hash.update(data)
        return data

    def start(self, at):
        self._hash = hashlib.sha256(b"".join(self._held)[at:])
        self._held = None

    def finish(self):
        """Read the rest; the digest."""
        left = _MOST_TRAILER
        while left > 0 and (data := self.read(1 << 20)):
            left -= len(data)
        return "sha256:" + self._hash.hexdigest()


class _Told:
    """A piece of work that is told about only when it is known that it will be done: what is refused is one line."""

    def __init__(self, progress, label, total):
        self._progress, self._label, self._total = progress, label, total
        self._begun, self._before = False, 0

    def begin(self):
        self._progress.begin(self._label, self._total)
        self._begun = True
        self._progress.advance(self._before)

    def advance(self, amount):
        if self._begun:
            self._progress.advance(amount)
        else:
            self._before += amount

    def end(self):
        if self._begun:
            self._progress.end()


class _Nowhere:
    def write(self, data):
        pass


def _recorder(layer):
    from apppot.vfs.ownership import Record as Owner

    def record(directory, name, st):
        told = layer.record(directory, name, st.st_ino)
        return None if told is None else Owner(*told)
    return record


def _unnamed(directory, name):
    """(descriptor, path or None) of a new file in a directory; without a name if the file system can do that."""
    try:
        return os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o644), None
    except OSError as error:
        if error.errno not in (EOPNOTSUPP, EISDIR):
            raise AppPotError(f"{os.fsdecode(os.path.join(directory, name))}: {error.strerror}; name a file that you can "
                              "write") from None
    path = os.path.join(directory, b"." + name[:200] + b"." + os.urandom(4).hex().encode())
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), path


def _forget(cow_path):
    try:
        os.unlink(cow_path + b"/base.json")
    except FileNotFoundError:
        return
