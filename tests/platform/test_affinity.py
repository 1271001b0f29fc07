"""Who is pinned beside the supervisor: one task, or a line of tasks each of which waits for its child."""

import os
import subprocess
import sys

import pytest

from apppot.platform.affinity import Affinity

OWN = os.sched_getaffinity(0)

pytestmark = pytest.mark.skipif(len(OWN) < 2, reason="there is one processor")


@pytest.fixture
def processes():
    """Three processes that do nothing, by their numbers."""
    started = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(3)]
    yield [process.pid for process in started]
    for process in started:
        process.communicate()


@pytest.fixture
def affinity():
    made = Affinity()
    yield made
    made.release()
    assert os.sched_getaffinity(0) == OWN


def stop(affinity, tid, times=8):
    for _ in range(times):
        affinity.stop(tid)


def pinned(*tids):
    return [len(os.sched_getaffinity(tid)) == 1 for tid in (os.getpid(), *tids)]


def test_a_task_that_stops_again_and_again_is_pinned_until_another_stops(affinity, processes):
    one, two, _ = processes
    stop(affinity, one, 3)
    assert pinned(one) == [False, False]
    stop(affinity, one)
    assert pinned(one, two) == [True, True, False]
    stop(affinity, two, 1)
    assert pinned(one, two) == [False, False, False]


def test_a_line_of_tasks_is_pinned_together(affinity, processes):
    shell, one, two = processes
    stop(affinity, shell, 1)
    affinity.forked(shell, one, False)
    stop(affinity, one)
    assert pinned(shell, one) == [True, True, True]
    affinity.ended(one)
    os.sched_setaffinity(two, os.sched_getaffinity(shell))     # as fork does
    affinity.forked(shell, two, False)
    stop(affinity, two)
    assert pinned(shell, two) == [True, True, True]
    affinity.leave_alone()
    assert pinned(shell, two) == [False, False, False]
    stop(affinity, two)
    assert pinned(shell, two) == [False, False, False]         # held


@pytest.mark.parametrize("thread", [False, True])
def test_tasks_that_run_beside_each_other_are_let_go(affinity, processes, thread):
    make, one, two = processes
    stop(affinity, make)
    if not thread:
        affinity.forked(make, one, False)
        stop(affinity, one)
        assert pinned(make) == [True, True]
    affinity.forked(make, two, thread)
    assert pinned(make, one, two) == [False] * 4


def test_a_task_that_does_not_wait_for_its_child_is_let_go(affinity, processes):
    shell, one, _ = processes
    stop(affinity, shell)
    affinity.forked(shell, one, False)
    stop(affinity, shell, 2)
    assert pinned(shell) == [True, True]
    stop(affinity, shell, 1)
    assert pinned(shell) == [False, False]


def test_ticks_let_go_who_stops_no_more(affinity, processes):
    one = processes[0]
    stop(affinity, one)
    affinity.tick()
    assert pinned(one) == [False, False] or not affinity.tick()
    assert pinned(one) == [False, False]


def test_a_child_of_a_task_that_was_let_go_meanwhile_gets_its_makers_mask(affinity, processes):
    one, child, _ = processes
    stop(affinity, one)
    os.sched_setaffinity(child, os.sched_getaffinity(one))
    affinity.release()
    affinity.forked(one, child, False)
    assert pinned(one, child) == [False, False, False]
