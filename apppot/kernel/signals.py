"""Signals for the supervisor itself, and the limit of time.

A thread takes them with sigtimedwait, so that the loop is never interrupted. What was typed at the terminal reaches
the guest's processes in the foreground by itself; what somebody sent to apppot-start alone is passed on to the
machine's first process.
"""

import os
import signal
import threading
import time

_SI_KERNEL = 0x80                          # si_code of what the terminal sends, sigaction(2)
_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
              signal.SIGALRM, signal.SIGWINCH)
_TAKEN = _PASSED_ON + (signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN, signal.SIGPIPE)
_FOREVER = 1 << 30
_GRACE = 10                                # seconds from TERM to KILL


class Signals:
    """Blocks the signals when made; start() hands them to the thread; `former` is the mask to give to the guest."""

    def __init__(self):
        self.former = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)
        self._target = None

    def start(self, target, timeout, say, before_kill):
        """Pass signals on to process `target`; after `timeout` seconds (None: never) end it.

        `say` prints a line; `before_kill` is called when TERM was not enough.
        """
        self._target = target
        threading.Thread(target=self._run, args=(timeout, say, before_kill), daemon=True).start()

    def _run(self, timeout, say, before_kill):
        deadline = None if timeout is None else time.monotonic() + timeout
        ending = False
        while True:
            left = _FOREVER if deadline is None else max(0, deadline - time.monotonic())
            info = signal.sigtimedwait(_TAKEN, left)
            if info is None:
                if ending:
                    before_kill()
                    return
                say(f"the time limit of {timeout:g} seconds is over: the machine is ended")
                self._send(signal.SIGTERM)
                ending, deadline = True, time.monotonic() + _GRACE
            elif info.si_signo in _PASSED_ON and info.si_code != _SI_KERNEL and info.si_pid != os.getpid():
                self._send(info.si_signo)
            elif info.si_signo == signal.SIGHUP:
                self._send(signal.SIGHUP)

    def _send(self, signum):
        try:
            os.kill(self._target, signum)
        except ProcessLookupError:
            return

    def restore_in_child(self):
        """In the forked child: the caller's mask, and the dispositions that Python changed back to the default."""
        for signum in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.former)
