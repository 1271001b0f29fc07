"""Start hooks: the executable files in the guest's /etc/apppot/rc.d run as virtual root before the command.

They run one after the other, in the order of the bytes of their names, each as the machine's first process. What one
leaves running stays for the machine's life. The command is looked for when they are done, for they may have made it.
Nothing of the host is needed: a hook may be a static program.
"""

import os
from stat import S_IFREG

from apppot.errors import STATUS_FAILED, AppPotError
from apppot.vfs.caller import KERNEL

DIRECTORY = b"/etc/apppot/rc.d"
_IN_NAMES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_SHOWN = 4000            # bytes of a failed hook's output


def find(ns):
    """Guest paths of the hooks, in their order."""
    try:
        names = sorted(name for name, *_ in ns.readdir(KERNEL, ns.resolve(KERNEL, DIRECTORY))
                       if not name.startswith(b".") and not name.translate(None, _IN_NAMES))
    except OSError:
        return []
    return [path for path in (DIRECTORY + b"/" + name for name in names) if _is_hook(ns, path)]


def _is_hook(ns, path):
    try:
        node = ns.resolve(KERNEL, path)
        return node.kind == S_IFREG and bool(ns.stat(KERNEL, node).st_mode & 0o111)
    except OSError:
        return False


class Hooks:
    """Runs hooks, then the command.

    begin(path, output)  starts a hook as the machine's first process; output: descriptor of where it writes
    command()            starts the command as the first process
    """

    def __init__(self, paths, verbose, place, begin, command):
        self._left, self._begin, self._command = list(paths), begin, command
        self._verbose = verbose
        self._path = None                # of the hook that runs
        self._output = 2 if verbose else os.open(place + b"/hooks", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
                                                 0o600)
        self.error = None                # AppPotError that ended it

    def next(self, status=0):
        """The first process has ended with this wait status: start the next one. False when there is none."""
        if self._path is None and not self._left:
            return False                 # it was the command
        try:
            if status:
                self._failed(status)
            if not self._left:
                self._path = None
                self._close()
                self._command()
                return True
            self._path = self._left.pop(0)
            if not self._verbose:
                os.ftruncate(self._output, 0)
            self._begin(self._path, self._output)
            return True
        except AppPotError as error:
            self.error = error
        return False

    def _failed(self, status):
        how = f"by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"with status {os.WEXITSTATUS(status)}"
        if not self._verbose:
            size = os.fstat(self._output).st_size
            text = os.pread(self._output, _SHOWN, max(0, size - _SHOWN))
            os.write(2, text if not text or text.endswith(b"\n") else text + b"\n")
        raise AppPotError(f"the start hook {os.fsdecode(self._path)} ended {how}; the command is not started",
                          STATUS_FAILED)

    def _close(self):
        if not self._verbose and self._output >= 0:
            os.close(self._output)
            self._output = -1
