"""The private directory of one run on the host: window, generated files, socket aliases, /dev.

It is on a tmpfs where there is one, has a short name (socket addresses hold 108 bytes), and is locked by the
supervisor. What a killed supervisor left is removed by the next start of the same user.
"""

import os

from apppot.errors import AppPotError
from apppot.image.workplace import Workplace, remove_dead


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
        prefix = b"%s%d-" % (prefix, os.getuid())
        name = b"%x" % int.from_bytes(os.urandom(5), "little")
        problem = "/tmp: not writable"
        for parent in parents or places():
            try:
                self._place = Workplace(parent, prefix + name)
                break
            except OSError as error:
                problem = f"{os.fsdecode(parent)}: {error.strerror}"
        else:
            raise AppPotError(f"{problem}: no place for the run's private directory; set TMPDIR to a directory that "
                              "you may write")
        self.path = self._place.path
        remove_dead(parent, prefix, self.path)

    def close(self):
        self._place.close()
