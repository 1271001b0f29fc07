"""Processes beside the supervisor."""

import os
import signal
from errno import ENOMEM

import pytest

from apppot.kernel.workers import Workers
from apppot.syscalls.answer import Later


class Affinity:
    def release(self):
        pass


@pytest.fixture
def workers():
    return Workers(Affinity())


def started(workers, task, work):
    """The number of the process that does `work` for `task`."""
    assert workers.start(task, 2, Later(work, None)) is None
    return next(pid for pid in workers._work if workers._work[pid][0] is task)


def test_a_worker_ends_with_its_task(workers):
    others, task = object(), object()
    pid, other = started(workers, task, signal.pause), started(workers, others, lambda: 3)
    workers.forget(task)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 3
    assert workers.ended(pid)[0] is task and workers.ended(other)[0] is others
    assert pid not in workers and other not in workers


def test_a_worker_may_have_ended_before_its_turn_comes(workers):
    """The loop collects several statuses before it serves the first: the task's death may come before its worker's."""
    task = object()
    os.waitpid(started(workers, task, lambda: 0), 0)
    workers.forget(task)
    workers.end_all()


def test_without_a_process_the_call_fails_and_nothing_stays_open(workers, monkeypatch):
    def refuse():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    dropped = []
    monkeypatch.setattr(os, "fork", refuse)
    later = Later(lambda: 0, None, lambda: dropped.append(True))
    assert workers.start(object(), 2, later) == -ENOMEM
    assert dropped == [True] and not workers._work
