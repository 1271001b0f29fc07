"""Ctrl-Z in the caller's shell stops the caller's job, and that is apppot-start: it stops with the guest.

While the supervisor is stopped, every guest task stops at its next traced call. So it stops only where a shell may wait
for it, on a terminal, and when the terminal's key has stopped the first process, which is in our process group, or when
nothing in the guest runs that could continue it, as after `suspend` in the guest's shell.
"""

import os
import signal
import threading

from apppot.kernel.signals import send

STOP_SIGNALS = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))


class JobControl:
    """`main`: number of the machine's first process."""

    def __init__(self, running, main):
        self._running, self._main = running, main
        self._terminal = _has_terminal()

    def stopped(self, tid, signum):
        """Task `tid` has been stopped by `signum` and left so."""
        stopped = self._running.stopped_tasks
        stopped.add(tid)
        if not self._terminal or self._main not in stopped:
            return
        by_key = tid == self._main and signum != signal.SIGSTOP and self._in_our_group()
        if by_key or len(stopped) == len(self._running.tasks):
            self._stop(signum)

    def _in_our_group(self):
        try:
            return os.getpgid(self._main) == os.getpgrp()
        except ProcessLookupError:
            return False

    def _stop(self, signum):
        """Stop by the same signal as the guest, which the caller's shell names, until somebody sends SIGCONT."""
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
        signal.pthread_kill(threading.get_ident(), signum)
        # Delivered here; if the terminal's own is still pending, SIGCONT takes it away.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
        signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def continued(self):
        """SIGCONT came to apppot-start; shells send it to its process group, where the guest need not be."""
        if self._main in self._running.stopped_tasks:
            send(self._main, signal.SIGCONT)


def _has_terminal():
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
