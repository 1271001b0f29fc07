"""What a machine without an image sees of the host's root: what the system has installed, and nothing that is anybody's.

Of the top directory only the system's own directories are shown. Homes, temporary and run-time files, mail, spools and
whatever a site mounts for its users' data are not there unless they are given with --bind.
"""

import os
import stat

#: Entries of "/" that are shown (hier(7)), with those starting with "lib"; the last ones hold software of a site.
SYSTEM = frozenset((b"bin", b"sbin", b"usr", b"etc", b"opt", b"var", b"cvmfs", b"nix", b"gnu", b"sw", b"software", b"apps"))
#: Of these, what belongs to users, to services, or to this boot.
NOBODYS_BUSINESS = (b"/var/spool", b"/var/mail", b"/var/tmp", b"/var/run", b"/var/lock", b"/var/crash", b"/var/backups",
                    b"/var/lib/systemd/coredump")
_OWN = (b"HOME", b"TMPDIR", b"XDG_RUNTIME_DIR", b"XDG_CONFIG_HOME", b"XDG_CACHE_HOME", b"XDG_DATA_HOME", b"XDG_STATE_HOME")
# Where root's own secrets are among the files of the system, and how deep to look for them.
_OF_ROOT = ((b"/etc", 3), (b"/opt", 1), (b"/var", 1), (b"/var/lib", 1), (b"/var/log", 1), (b"/var/cache", 1))


def left_out():
    """The host paths that are not there: a frozenset of canonical bytes."""
    found = {b"/" + name for name in os.listdir(b"/") if name not in SYSTEM and not name.startswith(b"lib")}
    found.update(path for path in NOBODYS_BUSINESS if os.path.lexists(path) and not os.path.islink(path))
    found.update(_homes())
    if os.getuid() == 0:
        for path, depth in _OF_ROOT:
            found.update(_private(path, depth))
    return frozenset(found)


def _homes():
    """The caller's own directories. A daemon's home may be a directory of the system: then it is not its own."""
    uid = os.getuid()
    for path in {os.environb.get(name) for name in _OWN} | {os.path.expanduser(b"~")}:
        if not path or not path.startswith(b"/"):
            continue
        path = os.path.realpath(path)
        try:
            if path != b"/" and uid and os.stat(path).st_uid == uid:
                yield path
        except OSError:
            continue


def _private(directory, depth):
    """What everybody else may not read: the kernel would let a machine of root's read it."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError:                    # removed meanwhile
            continue
        if stat.S_ISLNK(mode):
            continue
        if not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH):
            yield entry.path
        elif stat.S_ISDIR(mode) and depth > 1:
            yield from _private(entry.path, depth - 1)


def parents(paths):
    """The directories that hold one of the set `paths` at whatever depth: they can't be given as a whole. "/" is b"".

    None are below one of `paths`, where nothing is given.
    """
    above = set()
    for path in paths:
        ways = set(_above(path))
        if ways.isdisjoint(paths):
            above |= ways
    return frozenset(above)


def _above(path):
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def given(path, without):
    """Canonical host paths that cover the tree `path` (b"": "/"), less the paths `without` and what is below them."""
    return _given(path, without, parents(without))


def _given(path, without, above):
    if path in without:
        return
    if path not in above:
        yield path
        return
    try:
        names = os.listdir(path or b"/")
    except OSError:                        # where homes are, mostly, which nobody may list: nothing below it is given
        return
    for name in names:
        below = path + b"/" + name
        if not os.path.islink(below):
            yield from _given(below, without, above)
