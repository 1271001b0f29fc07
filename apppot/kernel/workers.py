"""Processes beside the supervisor that do what takes long, while the task that asked for it waits in its call.

A worker is a fork of the supervisor: it sees the machine as it was at that moment. It ends with the supervisor, with the
machine and with its task, at any moment, so what it makes must be of use as a whole only.
"""

import os
import signal
from errno import ENOMEM

from apppot import messages
from apppot.kernel.signals import kill
from apppot.platform import libc


def end_with(parent):
    """Called in a fork: have it killed when process `parent`, which forked it, is gone."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(125)


class Workers:
    """pid → (task, number of its call, Later) of those at work."""

    def __init__(self, affinity):
        self.affinity = affinity
        self._work = {}

    def __contains__(self, pid):
        return pid in self._work

    def start(self, task, number, later):
        """None; or the answer to the call, where the host gives no process: an open fails so without memory, too."""
        self.affinity.release()
        supervisor = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            later.drop()
            return -ENOMEM
        if pid == 0:
            status = 125
            try:
                end_with(supervisor)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                status = later.work()
            except KeyboardInterrupt:
                status = 130
            except BaseException as error:
                messages.tell(f"apppot-start: internal error in a worker: {type(error).__name__}: {error}")
            finally:
                os._exit(status)
        self._work[pid] = task, number, later
        return None

    def ended(self, pid):
        """(task, number of its call, Later) of a worker that has ended."""
        return self._work.pop(pid)

    def forget(self, task):
        """The task has ended: so does what was done for it."""
        for pid, (other, _, _) in self._work.items():
            if other is task:
                kill(pid)

    def end_all(self):
        for pid in self._work:
            kill(pid)
