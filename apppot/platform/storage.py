"""Where this host has room for AppPot's files, and the probes that tell of it."""

import os

from apppot.image import place as cache
from apppot.image import suitable
from apppot.platform.finding import DEGRADED, MISSING, OK, Finding, read_text

_NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "afs",
                         "fuse.ceph", "fuse.glusterfs", "panfs", "orangefs", "9p"}
_ROOM = 16 << 20                            # bytes: what a machine's window takes, with room for many tasks


def temporary():
    """$TMPDIR, else /tmp: where large temporary things go."""
    return os.path.abspath(os.environb.get(b"TMPDIR") or b"/tmp")


def run_places():
    """Host directories where a run directory can be, best first: in memory, since the window is written at every stop."""
    found = (b"/dev/shm", os.environb.get(b"XDG_RUNTIME_DIR"), temporary(), b"/tmp")
    return sorted((place for place in found if place and place.startswith(b"/") and os.access(place, os.W_OK | os.X_OK)),
                  key=_is_full)


def _is_full(place):
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize < _ROOM


# -- probes

def cache_directory():
    path = os.fsdecode(cache.cache_directory())
    trouble = _unwritable(path) or _unsuitable(path)
    if trouble:
        return Finding("cache directory", DEGRADED, f"{path}: {trouble}",
                       "set APPPOT_CACHE to a directory of yours on a local disk; directory images need none")
    kind = file_system(path)
    if kind in _NETWORK_FILE_SYSTEMS:
        return Finding("cache directory", DEGRADED, f"{path} ({kind})",
                       "set APPPOT_CACHE to a directory on a local disk; a network file system is slower")
    return Finding("cache directory", OK, f"{path} ({kind})")


def run_directory():
    """Where a run's window and generated files live: a tmpfs where there is one."""
    path = next((path for path in map(os.fsdecode, run_places()) if not _unwritable(path)), None)
    if path is None:
        return Finding("run-time directory", MISSING, "none of /dev/shm, $XDG_RUNTIME_DIR, $TMPDIR and /tmp can be "
                       "written", "set TMPDIR to a directory of yours", needed=True)
    return Finding("run-time directory", OK, f"{path} ({file_system(path)})", needed=True)


def temporary_directory():
    """Where the copy-on-write layer of a run without --cow lives."""
    path = os.fsdecode(temporary())
    trouble = _unwritable(path) or _unsuitable(path)
    if trouble:
        return Finding("temporary directory", MISSING, trouble, "set TMPDIR to a directory of yours on a local disk", needed=True)
    detail = f"{path} ({file_system(path)})"
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return Finding("temporary directory", DEGRADED, f"{detail} is mounted noexec", "set TMPDIR to a directory "
                       "whose programs may run: guests execute what they write there", needed=True)
    return Finding("temporary directory", OK, detail, needed=True)


def _unwritable(path):
    """Why nothing can be written below path (which need not exist yet), or None."""
    path = _existing(path)
    if not os.path.isdir(path):
        return f"{path} is not a directory"
    try:
        scratch = os.path.join(path, f".apppot-probe-{os.getpid()}")
        os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(scratch)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _unsuitable(path):
    """Why the files of a system can't be below path, where files can be made, or None."""
    path = _existing(path)
    lacking = suitable.lacks(os.fsencode(path))
    return lacking and f"{path} ({file_system(path)}): {lacking}"


def _existing(path):
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def file_system(path):
    """Type of the file system that holds path, or would."""
    path = os.path.realpath(_existing(path))
    best, kind = -1, "unknown file system"
    for line in (read_text("/proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape")
        inside = path == point or point == "/" or path.startswith(point + "/")
        if inside and len(point) >= best:
            best, kind = len(point), right.split()[0]
    return kind
