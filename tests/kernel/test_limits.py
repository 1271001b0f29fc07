"""The count of tasks, and control groups: in a directory that looks as the kernel's does, where the host lends none."""

import os
import subprocess
import sys

import pytest

from apppot.kernel.limits import TaskCount
from apppot.platform import cgroup


class Running:
    def __init__(self):
        self.tasks = {1: None}


def test_a_claim_takes_a_place_until_it_is_settled():
    running = Running()
    count = TaskCount(running, 3)
    count.claim(1)
    count.claim(1)                     # a call that a signal interrupted is made again
    count.claim(2)
    with pytest.raises(BlockingIOError):
        count.claim(3)
    running.tasks[4] = None
    count.made(1)
    with pytest.raises(BlockingIOError):
        count.claim(3)
    count.ended(2)
    count.claim(3)


def test_who_is_not_waited_for_takes_a_place():
    running = Running()
    count = TaskCount(running, 2)
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    count.ended(child.pid, child.pid)
    with pytest.raises(BlockingIOError):
        count.claim(1)
    child.wait()
    count.claim(1)


@pytest.fixture
def place(tmp_path):
    """What a directory of cgroup v2 with the controller of memory has."""
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.procs").write_text("")
    return tmp_path


def test_a_group_has_the_limit_and_the_process(place, monkeypatch):
    monkeypatch.setenv("APPPOT_CGROUP", str(place))
    left = place / "apppot-1"
    left.mkdir()
    group = cgroup.make(300 << 20)
    assert not left.exists(), "what a killed supervisor left is removed"
    directory = place / f"apppot-{os.getpid()}"
    assert (directory / "memory.max").read_text() == f"{300 << 20}\n"
    assert (directory / "memory.oom.group").read_text() == "1\n"
    group.enter()
    assert (directory / "cgroup.procs").read_text() == "0\n"
    assert not group.exceeded()
    (directory / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 0\n")
    assert not group.exceeded()
    (directory / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 1\n")
    assert group.exceeded() == "the machine used more than the 300 MiB of memory that --mem allows"
    (directory / "memory.events").write_text("low 0\nhigh 0\nmax 0\noom 0\noom_kill 3\noom_group_kill 1\n")
    assert "above the machine's" in group.exceeded()


def test_a_group_is_removed_but_by_no_other_start(place, monkeypatch):
    monkeypatch.setattr(cgroup.ControlGroup, "_write", lambda *_: None)     # files of the kernel's are no hindrance to rmdir(2)
    monkeypatch.setenv("APPPOT_CGROUP", str(place))
    group = cgroup.make(1 << 20)
    start = f"from apppot.platform import cgroup; cgroup._remove_dead({str(place)!r})"
    subprocess.run([sys.executable, "-c", start], check=True)
    assert os.path.isdir(group.path), "it is empty until the first task is there"
    group.close()
    group.close()
    assert not os.path.exists(group.path)


def test_a_place_without_the_controller_or_rights_is_none(place, tmp_path, monkeypatch):
    assert cgroup.can_limit(place)
    (place / "cgroup.subtree_control").write_text("cpu\n")
    assert not cgroup.can_limit(place)
    assert not cgroup.can_limit(tmp_path / "nowhere")
    monkeypatch.setenv("APPPOT_CGROUP", str(place))
    assert cgroup.make(1 << 20) is None


def test_ones_own_group(tmp_path):
    own, mounts = tmp_path / "cgroup", tmp_path / "mountinfo"
    own.write_text("1:cpu:/\n0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope\n")
    mounts.write_text("41 31 0:38 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
                      "42 31 0:39 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n")
    assert cgroup.own_group(own, mounts) == "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope"
    own.write_text("0::/\n")
    assert cgroup.own_group(own, mounts) is None
    own.write_text("1:cpu:/\n")
    assert cgroup.own_group(own, mounts) is None


def test_the_limits_of_ones_own_group_go_along(place, monkeypatch):
    own = place / "run-7.scope"
    own.mkdir()
    for name, text in {"cgroup.procs": "", "memory.max": f"{100 << 20}\n", "pids.max": "40\n", "memory.high": "max\n", "cpuset.cpus": "\n"}.items():
        (own / name).write_text(text)
    monkeypatch.setattr(cgroup, "own_group", lambda: str(own))
    assert cgroup.find_place() == str(place)
    group = cgroup.make(300 << 20)
    assert (place / f"apppot-{os.getpid()}/memory.max").read_text() == f"{100 << 20}\n"
    assert (place / f"apppot-{os.getpid()}/pids.max").read_text() == "40\n"
    assert not (place / f"apppot-{os.getpid()}/cpu.max").exists()
    (place / f"apppot-{os.getpid()}/memory.events").write_text("max 12\noom 1\noom_kill 3\noom_group_kill 1\n")
    assert "more than the 100 MiB of memory that the control group of its caller" in group.exceeded()
    group.close()


def test_a_place_that_ones_own_processes_can_not_be_moved_to_is_none(place, monkeypatch):
    """The common ancestor of both groups must be the user's (cgroup-v2.rst, "Delegation containment")."""
    own = place.parent / "other.slice/session-1.scope"
    monkeypatch.setattr(cgroup, "own_group", lambda: str(own))
    assert not cgroup.can_limit(place)
    (place.parent / "cgroup.procs").write_text("")
    assert cgroup.can_limit(place)
