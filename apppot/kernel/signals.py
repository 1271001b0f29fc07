"""The supervisor's second thread: signals sent to apppot-start, the limit of time, and what is looked at now and then.

The thread takes signals with sigtimedwait, so that the loop is never interrupted. What was typed at the terminal
reaches the guest's processes in the foreground by itself; what somebody sent to apppot-start alone is passed on to the
machine's first process.
"""

import os
import signal
import threading
import time

from apppot.errors import AppPotError

_SI_KERNEL = 0x80                          # si_code of what the terminal sends, sigaction(2)
_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
              signal.SIGALRM)
_STOPS = (signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN)
_TAKEN = _PASSED_ON + _STOPS + (signal.SIGCONT, signal.SIGPIPE)
_GRACE = 10                                # seconds from TERM to KILL
_STACK = 1 << 19                           # bytes of the thread's stack


class Attendant:
    """Blocks the signals when made; start() hands them to the thread."""

    def __init__(self):
        self._former = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)
        self._interrupted = signal.getsignal(signal.SIGINT)
        self._target = self._job_control = None
        self._attends = threading.Event()

    def attend(self, target, job_control):
        """The machine's first process is `target` now."""
        self._target, self._job_control = target, job_control
        self._attends.set()

    def start(self, running, timeout, tick, looks):
        """Attend to the machine, once it has a first process. AppPotError when the host gives no thread.

        `timeout`: seconds after which it is ended, or None; `looks`: functions called every `tick` seconds.
        """
        threading.stack_size(_STACK)        # it counts where the caller has a limit of address space
        try:
            threading.Thread(target=self._run, args=(running, timeout, tick, looks), daemon=True).start()
        except RuntimeError:
            raise AppPotError("the supervisor can't have a second thread: the caller's limit of processes (ulimit -u) or of "
                              "address space (ulimit -v) is too low") from None

    def _run(self, running, timeout, tick, looks):
        deadline = None if timeout is None else time.monotonic() + timeout
        ending = False
        self._attends.wait()
        while True:
            info = signal.sigtimedwait(_TAKEN, tick)
            if info is not None:
                self._pass_on(info)
            elif not self._look(running, looks):
                looks = ()
            if deadline is None or time.monotonic() < deadline:
                continue
            if ending:
                running.kill_all()
                return
            running.time_is_over(f"the time limit of {timeout:g} seconds is over: the machine is ended")
            send(self._target, signal.SIGTERM)
            send(self._target, signal.SIGCONT)         # it may be stopped
            ending, deadline = True, time.monotonic() + _GRACE

    def _look(self, running, looks):
        """Whether all went well: else nobody keeps the machine's limits, and it is ended."""
        try:
            for look in looks:
                look()
        except Exception as error:
            running.end(f"what the machine uses can't be measured any more, and it is ended: {type(error).__name__}: {error}")
            return False
        return True

    def _pass_on(self, info):
        signum = info.si_signo
        typed = info.si_code == _SI_KERNEL and signum != signal.SIGHUP
        if signum == signal.SIGCONT:
            self._job_control.continued()
        if signum in _PASSED_ON + _STOPS and not typed:
            send(self._target, signum)

    def restore_in_child(self):
        """In the forked child: the caller's mask, and the dispositions that Python changed back to the default.

        SIGINT may have been ignored already, as it is for background jobs of a script.
        """
        for signum in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(signum, signal.SIG_DFL)
        if self._interrupted is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._former)


def send(pid, signum):
    """Signal a process of the guest's or one beside the supervisor; it may have ended, its status not yet served."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return


def kill(pid):
    """End the whole process that the task `pid` is of; numbers of ended threads are nobody's."""
    send(pid, signal.SIGKILL)
