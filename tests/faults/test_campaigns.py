"""Short runs of the campaigns; docs/robustness.md has the commands of long ones."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.faults import killed, load, signalled


def test_supervisors_killed(debian_tree, tmp_path):
    problems, files = killed.campaign(tmp_path, debian_tree, 5)
    assert not problems and files


def test_signals_at_any_moment(debian_tree, tmp_path):
    assert not signalled.campaign(tmp_path, debian_tree, len(signalled.SIGNALS), 0.6)


def test_many_processes(debian_tree, tmp_path):
    good, _, memory, said = load.many(tmp_path, debian_tree, load.PROCESSES, 1000)
    assert good, said
    assert memory < 50


def test_many_threads(debian_tree, tmp_path):
    good, _, memory, said = load.many(tmp_path, debian_tree, load.THREADS, 2000)
    assert good, said
    assert memory < 60


def test_many_machines_at_once(debian_tree, tmp_path):
    good, complaints, _, _ = load.at_once(tmp_path, debian_tree, 12)
    assert good == 12, complaints


def test_ended_processes_leave_nothing_in_the_supervisor(debian_tree, tmp_path):
    early, late, _ = load.turnover(tmp_path, debian_tree, 3000)
    assert late - early < 0.5, "MiB of 2500 processes"


@pytest.mark.parametrize("words, said", [
    (["killed", "--rounds", "0"], "--rounds: at least 1"),
    (["killed", "--rounds", "-3"], "--rounds: at least 1"),
    (["killed", "--longest", "-1"], "--longest: from 0 to 3600 seconds"),
    (["signalled", "--rounds", "0"], "--rounds: at least 1"),
    (["signalled", "--longest", "nan"], "--longest: from 0 to 3600 seconds"),
    (["signalled", "--longest", "1e300"], "--longest: from 0 to 3600 seconds"),
])
def test_nothing_to_try_is_wrong_usage(words, said):
    module = f"tests.faults.{words[0]}"
    done = subprocess.run([sys.executable, "-m", module, *words[1:]], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.splitlines()[-1] == f"python -m {module}: error: {said}"
