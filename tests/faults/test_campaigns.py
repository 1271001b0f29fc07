"""Short runs of the campaigns; docs/robustness.md has the commands of long ones."""

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
