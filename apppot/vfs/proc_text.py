"""What the files of /proc say inside a machine: pure functions from the host's text to the guest's.

`guest` is always a function from a host path to the guest's name of it, None where the guest has no name for it.
`hidden` are host paths whose mappings the guest shall not see: the stub and the window.
"""

import re
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

Translator = Callable[[bytes], bytes | None]

DELETED = b" (deleted)"
UNREACHABLE = b"(unreachable)"


class Mounted(Protocol):
    """A mount as the mount tables show it."""

    path: bytes  # guest path of the mount point
    fstype: bytes
    source: bytes
    options: bytes  # "rw" or "ro" first, comma separated


class Credentials(Protocol):
    """The ids of a process. `virtual`: they are not the host's own."""

    ruid: int
    euid: int
    suid: int
    fsuid: int
    rgid: int
    egid: int
    sgid: int
    fsgid: int
    groups: Iterable[int]
    virtual: bool


# --- names of files ---------------------------------------------------------------------------------------------------

def link(text: bytes, guest: Translator) -> bytes:
    """The text of a magic link: a path gets its guest name; `pipe:[1]`, `anon_inode:…`, `/memfd:…` stay."""
    if not text.startswith(b"/") or text.startswith(b"/memfd:"):
        return text
    deleted = text.endswith(DELETED)
    path = text[: -len(DELETED)] if deleted else text
    name = guest(path)
    if name is None:
        return UNREACHABLE + b"/" + path.rpartition(b"/")[2]
    return name + (DELETED if deleted else b"")


_ESCAPE = re.compile(rb"\\([0-7]{3})")
_MAPPING = re.compile(rb"^([0-9a-f]+-[0-9a-f]+ \S{4} [0-9a-f]+ \S+ \d+)( +)(/.*)?")


def unescape(name: bytes) -> bytes:
    """Undo the kernel's `\\040` for characters that would break a line."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), name)


def escape(name: bytes, characters: bytes = b" \t\n\\") -> bytes:
    """The kernel's mangling of a name in a line of fields."""
    for character in b"\\" + characters.replace(b"\\", b"") if b"\\" in characters else characters:
        name = name.replace(bytes([character]), b"\\%03o" % character)
    return name


def _plain(path: bytes) -> bytes:
    return path[: -len(DELETED)] if path.endswith(DELETED) else path


def maps(text: bytes, guest: Translator, hidden: Collection[bytes] = ()) -> bytes:
    """`maps`, and also `smaps`, `smaps_rollup`: the lines of a mapping follow its head line."""
    lines = []
    show = True
    for line in text.splitlines(keepends=True):
        match = _MAPPING.match(line)
        if match:
            path = unescape(match[3] or b"")
            show = _plain(path) not in hidden
            if path:
                # The kernel pads the name to a column, whatever stands before it.
                line = match[1] + match[2] + escape(link(path, guest), b"\n") + b"\n"
        if show:
            lines.append(line)
    return b"".join(lines)


_NUMA_FILE = re.compile(rb"(?<= )file=(\S*)")


def numa_maps(text: bytes, guest: Translator, hidden: Collection[bytes] = ()) -> bytes:
    """`numa_maps`: `7f00 default file=/usr/lib/x mapped=1 N0=1`, blanks in names written as \\040."""
    lines = []
    for line in text.splitlines(keepends=True):
        match = _NUMA_FILE.search(line)
        if match:
            path = unescape(match[1])
            if _plain(path) in hidden:
                continue
            name = escape(link(path, guest), b" \t\n=")
            line = line[: match.start(1)] + name + line[match.end(1):]
        lines.append(line)
    return b"".join(lines)


# --- mounts -----------------------------------------------------------------------------------------------------------

def mounts(mounted: Iterable[Mounted]) -> bytes:
    """`mounts`, in the form of fstab(5)."""
    return b"".join(b"%s %s %s %s 0 0\n" % (escape(mount.source), escape(mount.path), mount.fstype, mount.options)
                    for mount in mounted)


def mountstats(mounted: Iterable[Mounted]) -> bytes:
    return b"".join(b"device %s mounted on %s with fstype %s\n" % (escape(mount.source), escape(mount.path), mount.fstype)
                    for mount in mounted)


FIRST_MOUNT_ID = 21


def mountinfo(mounted: Iterable[Mounted], device: Callable[[bytes], int] = lambda path: 0) -> bytes:
    """`mountinfo`; `device(guest path)` is the st_dev of what is mounted there."""
    known: dict[bytes, int] = {}
    lines = []
    for number, mount in enumerate(mounted, FIRST_MOUNT_ID):
        above = mount.path
        parent = FIRST_MOUNT_ID - 1
        while above != b"/":
            above = above.rpartition(b"/")[0] or b"/"
            if above in known:
                parent = known[above]
                break
        known[mount.path] = number
        dev = device(mount.path)
        access = mount.options.split(b",")[0]
        major, minor = (dev >> 8 & 0xFFF) | (dev >> 32 & ~0xFFF), (dev & 0xFF) | (dev >> 12 & ~0xFF)
        lines.append(b"%d %d %d:%d / %s %s - %s %s %s\n" % (number, parent, major, minor, escape(mount.path),
                     mount.options, mount.fstype, escape(mount.source), access))
    return b"".join(lines)


# --- status, stat -----------------------------------------------------------------------------------------------------

ALL_CAPABILITIES = (1 << 41) - 1  # CAP_CHECKPOINT_RESTORE is the last one; kernels without it show fewer


def status(text: bytes, credentials: Credentials | None, stopped: bool = False, own_filters: int = 1,
           capabilities: int = ALL_CAPABILITIES) -> bytes:
    """`status` without the traces of the supervisor: its ptrace, its seccomp filters, the host's ids.

    own_filters: how many seccomp filters the supervisor has put on the task; the guest's own ones stay visible.
    """
    fields: dict[bytes, bytes] = {b"TracerPid": b"0", b"NoNewPrivs": b"0"}
    theirs = re.search(rb"^Seccomp_filters:\t(\d+)", text, re.M)
    left = max(0, int(theirs[1]) - own_filters) if theirs else 0
    fields[b"Seccomp_filters"] = b"%d" % left
    if not left:
        fields[b"Seccomp"] = b"0"
    if re.search(rb"^State:\tt ", text, re.M):
        fields[b"State"] = b"T (stopped)" if stopped else b"R (running)"
    if credentials is not None and credentials.virtual:
        who = credentials
        fields[b"Uid"] = b"%d\t%d\t%d\t%d" % (who.ruid, who.euid, who.suid, who.fsuid)
        fields[b"Gid"] = b"%d\t%d\t%d\t%d" % (who.rgid, who.egid, who.sgid, who.fsgid)
        fields[b"Groups"] = b"".join(b"%d " % group for group in who.groups) or b" "
        effective = capabilities if who.euid == 0 else 0
        permitted = capabilities if 0 in (who.ruid, who.euid, who.suid) else 0
        fields |= {b"CapInh": b"%016x" % 0, b"CapPrm": b"%016x" % permitted, b"CapEff": b"%016x" % effective,
                   b"CapBnd": b"%016x" % capabilities, b"CapAmb": b"%016x" % 0}
    lines = []
    for line in text.splitlines(keepends=True):
        name = line.partition(b":")[0]
        lines.append(b"%s:\t%s\n" % (name, fields[name]) if name in fields else line)
    return b"".join(lines)


def stat_state(text: bytes) -> bytes:
    """The state letter in `stat`; the command name before it may hold blanks and parentheses."""
    return text.rpartition(b") ")[2][:1]


def stopped_stat(text: bytes) -> bytes:
    """`stat` of a task that job control has stopped: the host shows a tracing stop instead."""
    head, mark, tail = text.rpartition(b") ")
    return head + mark + b"T" + tail[1:] if tail[:1] == b"t" else text
