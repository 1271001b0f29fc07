"""Ctrl-Z in the caller's shell stops the caller's job, and that is apppot-start: it stops with the guest.

While the supervisor is stopped, every guest task stops at its next traced call. So it stops only when somebody asked
for it (the terminal, or a stop signal sent to apppot-start itself), or when nothing in the guest runs that could
continue the first process, as after `suspend` in the guest's shell.
"""

import os
import signal
import threading
import time

STOP_SIGNALS = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
_VALID = 5                                 # seconds from the request to the first process's stop


class JobControl:
    """`main`: number of the machine's first process."""

    def __init__(self, running, main):
        self._running, self._main = running, main
        self._asked = None
        self._terminal = _has_terminal()

    def ask(self):
        """A stop signal came to apppot-start. Called by the attendant's thread."""
        self._asked = time.monotonic()

    def stopped(self, tid, signum):
        """Task `tid` has been stopped by `signum` and left so."""
        stopped = self._running.stopped_tasks
        stopped.add(tid)
        if self._main not in stopped:
            return
        asked = self._asked is not None and time.monotonic() - self._asked < _VALID
        if asked or self._terminal and len(stopped) == len(self._running.tasks):
            self._asked = None
            self._stop(signum)

    def _stop(self, signum):
        """Stop by the same signal as the guest, which the caller's shell names, until somebody sends SIGCONT."""
        former = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
        try:
            signal.pthread_kill(threading.get_ident(), signum)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def continued(self):
        """SIGCONT came to apppot-start; shells send it to its process group, where the guest need not be."""
        if self._main in self._running.stopped_tasks:
            try:
                os.kill(self._main, signal.SIGCONT)
            except ProcessLookupError:
                return


def _has_terminal():
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
