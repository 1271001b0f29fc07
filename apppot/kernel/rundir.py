"""The private directory of one run on the host: window, generated files, socket aliases, /dev.

It is on a tmpfs where there is one, has a short name (socket addresses hold 108 bytes), and is locked by the
supervisor. What a killed supervisor left is removed by the next start of the same user.
"""

import fcntl
import os

from apppot.errors import AppPotError

_LOCK = b"lock"


def places():
    """Host directories for run directories, best first: in memory, since the window is written at every stop."""
    found = (b"/dev/shm", os.environb.get(b"XDG_RUNTIME_DIR"), temporary(), b"/tmp")
    return [place for place in found if place and place.startswith(b"/") and os.access(place, os.W_OK | os.X_OK)]


def temporary():
    """$TMPDIR, else /tmp: where large temporary things go."""
    return os.environb.get(b"TMPDIR") or b"/tmp"


class RunDirectory:
    """`path`: the directory. `close()` removes it."""

    def __init__(self, parents=None, prefix=b"apppot-"):
        self._prefix = b"%s%d-" % (prefix, os.getuid())
        name = b"%x" % int.from_bytes(os.urandom(5), "little")
        problem = "/tmp: not writable"
        for parent in parents or places():
            try:
                self._make(parent, name)
                break
            except OSError as error:
                problem = f"{os.fsdecode(parent)}: {error.strerror}"
        else:
            raise AppPotError(f"{problem}: no place for the run's private directory; set TMPDIR to a directory that "
                              "you may write")
        self._remove_stale(parent)

    def _make(self, parent, name):
        """Made under another name and locked, then renamed: who sees the final name unlocked sees a dead run's."""
        new = b"%s/.new-%s%s" % (parent, self._prefix, name)
        os.mkdir(new, 0o700)
        self._lock = os.open(new + b"/" + _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = b"%s/%s%s" % (parent, self._prefix, name)
        os.rename(new, self.path)

    def _remove_stale(self, parent):
        """Directories of this user whose lock nobody holds: their supervisors were killed."""
        with os.scandir(parent) as entries:
            found = [entry.path for entry in entries
                     if entry.name.startswith(self._prefix) and entry.path != self.path]
        for path in found:
            try:
                lock = os.open(path + b"/" + _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
            except OSError:
                continue
            finally:
                os.close(lock)

    def close(self):
        remove_tree(self.path)
        os.close(self._lock)


def remove_tree(path):
    """Remove a directory tree of ours, also directories without permissions in it; the lock file last."""
    os.chmod(path, 0o700)
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name == _LOCK)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(path)
