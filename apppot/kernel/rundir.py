"""The private directory of one run on the host: window, generated files, socket aliases, /dev.

It is on a tmpfs where there is one, has a short name (socket addresses hold 108 bytes), and is locked by the
supervisor. What a killed supervisor left is removed by the next start of the same user.
"""

import os

from apppot.errors import AppPotError
from apppot.image.workplace import Workplace, remove_dead
from apppot.platform.storage import run_places


def places(machine=None):
    """Host directories for run directories, best first. machine: whose run it is; what its guests may write is no place."""
    return [place for place in run_places() if machine is None or is_apart(machine, place)]


def is_apart(machine, path):
    """Whether a host path is in nothing that the kernel lets the machine's guests write."""
    path = os.path.realpath(path)
    given = [bind.host for bind in machine.binds if not bind.read_only]
    if machine.job_dir != b"/":
        given.append(machine.job_dir)
    return not any(_is_in(path, os.path.realpath(directory)) for directory in given)


def _is_in(path, directory):
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


class RunDirectory:
    """`path`: the directory. `close()` removes it."""

    def __init__(self, parents=None, prefix=b"apppot-"):
        prefix = b"%s%d-" % (prefix, os.getuid())
        name = b"%x" % int.from_bytes(os.urandom(5), "little")
        problem = "/tmp: not writable, or the guest may write there"
        for parent in places() if parents is None else parents:
            try:
                self._place = Workplace(parent, prefix + name)
                break
            except OSError as error:
                problem = f"{os.fsdecode(parent)}: {error.strerror}"
        else:
            raise AppPotError(f"{problem}: no place for the run's private directory; set TMPDIR to a directory that "
                              "you may write and the guest may not")
        self.path = self._place.path
        remove_dead(parent, prefix, self.path)

        self.another_lock = self._place.another_lock

    def close(self):
        self._place.close()
