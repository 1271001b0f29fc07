"""What the files of /proc say inside a machine: pure functions from the host's text to the guest's.

`guest` is always a function from a host path to the guest's name of it, None where the guest has no name for it.
`hidden` are host paths whose mappings the guest shall not see: the stub and the window.
"""

import struct

DELETED = b" (deleted)"
UNREACHABLE = b"(unreachable)"


# --- names of files ---------------------------------------------------------------------------------------------------

def link(text, guest):
    """The text of a magic link: a path gets its guest name; `pipe:[1]`, `anon_inode:…`, `/memfd:…` stay."""
    if not text.startswith(b"/") or text.startswith(b"/memfd:"):
        return text
    deleted = text.endswith(DELETED)
    path = text[: -len(DELETED)] if deleted else text
    name = guest(path)
    if name is None:
        return UNREACHABLE + b"/" + path.rpartition(b"/")[2]
    return name + (DELETED if deleted else b"")


def unescape(name):
    """Undo the kernel's `\\040` for characters that would break a line."""
    first, *rest = name.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def escape(name, characters=b"\\ \t\n"):
    """The kernel's mangling of a name in a line of fields."""
    for character in characters:  # the backslash first
        name = name.replace(bytes([character]), b"\\%03o" % character)
    return name


def _lines(text):
    """The lines with their ends. (A name may hold the other characters that splitlines() takes for one.)"""
    return [line + b"\n" for line in text.split(b"\n")[:-1]]


def _plain(path):
    return path[: -len(DELETED)] if path.endswith(DELETED) else path


def _mapping(line):
    """(fields, name) of the head line of a mapping in `maps` and `smaps`, None for other lines.

    The fields keep their blanks: the kernel pads the name to a column, whatever stands before it.
    """
    words = line.split(None, 5)
    if len(words) < 5 or b"-" not in words[0] or words[0].endswith(b":"):
        return None
    name = words[5].rstrip(b"\n") if len(words) == 6 else b""
    return line[: len(line.rstrip(b"\n")) - len(name)] if name else line, name


def maps(text, guest, hidden=()):
    """`maps`, and also `smaps`, `smaps_rollup`: the lines of a mapping follow its head line."""
    lines = []
    show = True
    for line in _lines(text):
        mapping = _mapping(line)
        if mapping:
            fields, name = mapping
            # In this file only line ends are escaped, and a backslash stands for itself.
            path = name.replace(b"\\012", b"\n")
            show = _plain(path) not in hidden
            if path.startswith(b"/"):
                line = fields + link(path, guest).replace(b"\n", b"\\012") + b"\n"
        if show:
            lines.append(line)
    return b"".join(lines)


def numa_maps(text, guest, hidden=()):
    """`numa_maps`: `7f00 default file=/usr/lib/x mapped=1 N0=1`, blanks in names written as \\040."""
    lines = []
    for line in _lines(text):
        before, mark, after = line.partition(b" file=")
        if mark:
            name, blank, after = after.partition(b" ") if b" " in after else (after.rstrip(b"\n"), b"", b"\n")
            path = unescape(name)
            if _plain(path) in hidden:
                continue
            line = before + mark + escape(link(path, guest), b"\\ \t\n=") + blank + after
        lines.append(line)
    return b"".join(lines)


# --- mounts -----------------------------------------------------------------------------------------------------------

def _source(mount):
    """What is mounted. A path of the host's would tell the guest nothing."""
    return mount.fstype if mount.source.startswith(b"/") else escape(mount.source)


def mounts(mounted):
    """`mounts`, in the form of fstab(5)."""
    return b"".join(b"%s %s %s %s 0 0\n" % (_source(mount), escape(mount.path), mount.fstype, mount.options)
                    for mount in mounted)


def mountstats(mounted):
    return b"".join(b"device %s mounted on %s with fstype %s\n" % (_source(mount), escape(mount.path), mount.fstype)
                    for mount in mounted)


FIRST_MOUNT_ID = 21


def mountinfo(mounted, device=lambda path: 0):
    """`mountinfo`; `device(guest path)` is the st_dev of what is mounted there."""
    known = {}
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
                     mount.options, mount.fstype, _source(mount), access))
    return b"".join(lines)


# --- status, stat -----------------------------------------------------------------------------------------------------

ALL_CAPABILITIES = (1 << 41) - 1  # CAP_CHECKPOINT_RESTORE is the last one; kernels without it show fewer


def status(text, credentials, stopped=False, own_filters=1, capabilities=ALL_CAPABILITIES):
    """`status` without the traces of the supervisor: its ptrace, its seccomp filters, the host's ids.

    own_filters: how many seccomp filters the supervisor has put on the task; the guest's own ones stay visible.
    """
    fields = {b"TracerPid": b"0", b"NoNewPrivs": b"0"}
    host = {name: value.strip() for name, _, value in (line.partition(b":") for line in _lines(text))}
    left = max(0, int(host.get(b"Seccomp_filters", b"0")) - own_filters)
    fields[b"Seccomp_filters"] = b"%d" % left
    if not left:
        fields[b"Seccomp"] = b"0"
    if host.get(b"State", b"").startswith(b"t"):
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
    for line in _lines(text):
        name = line.partition(b":")[0]
        lines.append(b"%s:\t%s\n" % (name, fields[name]) if name in fields else line)
    return b"".join(lines)


def stat_state(text):
    """The state letter in `stat`; the command name before it may hold blanks and parentheses."""
    return text.rpartition(b") ")[2][:1]


def stopped_stat(text):
    """`stat` of a task that job control has stopped: the host shows a tracing stop instead."""
    head, mark, tail = text.rpartition(b") ")
    return head + mark + b"T" + tail[1:] if tail[:1] == b"t" else text


# --- auxv -------------------------------------------------------------------------------------------------------------

def auxv(read, start, kept):
    """The auxiliary vector behind argv and envp on the stack that begins at `start`; it is as long as `kept`.

    read(address, length) gives memory of the process. Where that no longer holds one, it is `kept`.
    """
    try:
        count, = struct.unpack("<Q", read(start, 8))
        at = start + 8 * (count + 2)
        while any(read(at, 8)):
            at += 8
        found = read(at + 8, len(kept))
    except (struct.error, OSError, OverflowError):
        return kept
    for place in range(0, len(kept), 16):
        if found[place:place + 8] != kept[place:place + 8]:
            return kept
        if not any(kept[place:place + 8]):       # AT_NULL: what follows is other things
            return found[:place].ljust(len(kept), b"\0")
    return kept
