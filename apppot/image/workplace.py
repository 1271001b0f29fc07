"""Directories that belong to one process: it holds their lock, and when it is killed, the next one removes them."""

import fcntl
import os
import time

from apppot.image.cow import remove_tree

STUCK = 60               # seconds after which what is not locked, or can't be, is taken for a dead process's
_NEW = b".new-"          # begins the names of those that are not locked yet
_LOCK = b"/lock"


class Workplace:
    """path: the directory. It may be renamed to become something that stays."""

    def __init__(self, parent, name):
        """Made and locked under another name, then renamed: who sees the final name unlocked sees a dead process's."""
        new = b"%s/%s%s" % (parent, _NEW, name)
        os.mkdir(new, 0o700)
        self._lock = hold(new)
        self.path = parent + b"/" + name
        os.rename(new, self.path)

    def another_lock(self):
        """A descriptor of the same lock, which is held until both are closed."""
        return os.dup(self._lock)

    def close(self):
        """Remove what is there under its path."""
        try:
            remove_tree(self.path)
        finally:
            os.close(self._lock)


def hold(path):
    """Lock a directory: a descriptor that does until it is closed. BlockingIOError: another process holds it."""
    lock = os.open(path + _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    except OSError:          # a file system without locks: what is left over is removed by its age
        pass
    return lock


def is_workplace(name, prefix):
    """Whether a name is that of a workplace whose own name begins with `prefix`."""
    return name.startswith((prefix, _NEW + prefix))


def remove_dead(parent, prefix=b"", but=None):
    """Remove the workplaces in a directory whose processes are dead, as far as this user can. but: the path of one's own."""
    with os.scandir(parent) as entries:
        found = [entry.path for entry in entries
                 if is_workplace(entry.name, prefix) and entry.path != but and entry.is_dir(follow_symlinks=False)]
    for path in found:
        try:
            _remove_if_dead(path)
        except OSError:
            pass


def _remove_if_dead(path):
    old = time.time() - os.stat(path).st_mtime > STUCK
    if not old and os.path.basename(path).startswith(_NEW):
        return                                          # not locked yet
    try:
        lock = os.open(path + _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        if old:
            remove_tree(path)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(path)
    finally:
        os.close(lock)
