"""Measuring with ways that only run the command."""

import dataclasses

import pytest

from benchmarks.measuring import QUICK, measure, measure_all
from benchmarks.material import Missing
from benchmarks.ways import FAST, NATIVE, Place, Way
from benchmarks.workloads import ALL, START, Figure, Workload, part


def way(name, *before):
    return Way(name, lambda words, place, as_root: [*before, *words])


@pytest.fixture
def place(tmp_path):
    place = Place(*(tmp_path / name for name in ("tree", "copy", "job", "scratch", "temporary")))
    for directory in dataclasses.astuple(place):
        directory.mkdir()
    return place


def test_every_way_takes_part_in_every_round(place):
    result = measure(Workload("w", "", ("echo", "x")), [way(NATIVE), way(FAST)], place, None, QUICK)
    assert {name: len(samples) for name, samples in result.samples.items()} == {NATIVE: 3, FAST: 3}
    assert result.failures == {}


def test_a_way_that_has_used_its_share_takes_part_once(place):
    plan = dataclasses.replace(QUICK, share=0)
    result = measure(Workload("w", "", ("echo", "x")), [way(NATIVE), way(FAST)], place, None, plan)
    assert {name: len(samples) for name, samples in result.samples.items()} == {NATIVE: 1, FAST: 1}


def test_a_way_that_fails_is_reported_and_the_rest_goes_on(place):
    said = []
    results = measure_all([Workload("one", "", ("true",)), Workload("two", "", ("true",))],
                          [way(NATIVE), way(FAST, "sh", "-c", "echo went wrong >&2; exit 3")], place, None, QUICK, said.append)
    for name in ("one", "two"):
        assert results[name].failures == {FAST: "status 3 went wrong"}
        assert FAST not in results[name].samples and len(results[name].samples[NATIVE]) == 3
        assert f"{name}: {FAST}: status 3 went wrong" in said


def test_a_way_that_did_something_else_has_failed(place):
    result = measure(Workload("w", "", ("echo", "x")), [way(NATIVE), way(FAST, "echo", "lost:")], place, None, QUICK)
    assert "not native's" in result.failures[FAST] and FAST not in result.samples


def test_a_missing_program_is_a_failure(place):
    result = measure(Workload("w", "", ("true",)), [way(NATIVE), way(FAST, "/no/such/program")], place, None, QUICK)
    assert "No such file" in result.failures[FAST] and NATIVE in result.samples


def test_a_supervisor_that_ends_early_has_no_memory(place):
    result = measure(Workload("w", "", ("true",), Figure.MEMORY), [way(FAST, "sh", "-c", "exit 7")], place, None, QUICK)
    assert result.failures == {FAST: "status 7 before its work was done"} and result.samples == {}


def test_what_cannot_be_had_leaves_the_workload_out(place):
    def prepare(material):
        raise Missing("no numpy")

    result = measure(Workload("w", "", ("true",), prepare=prepare), [way(NATIVE)], place, None, QUICK)
    assert (result.left_out, result.samples) == ("no numpy", {})


def test_only_the_part_is_measured_and_the_start_added(place):
    """The start of /bin/true, here 3 ms, is added when it was measured in the same run."""
    clocked = dataclasses.replace(way(NATIVE, "sh", "-c", "echo part 1250 >&2; echo elapsed 3000 >&2"), clocked=True)
    work = Workload("w", "", part("true"), Figure.PART)
    assert measure(work, [clocked], place, None, QUICK).median(NATIVE) == 1.25
    results = measure_all([ALL[START], work], [clocked], place, None, QUICK, lambda line: None)
    assert len(results[START].samples[NATIVE]) > len(results["w"].samples[NATIVE]) == QUICK.rounds
    assert (results[START].median(NATIVE), results["w"].median(NATIVE)) == (3, 4.25)


def test_a_part_runs_between_what_comes_before_and_after(place):
    done = way(NATIVE).run(part("echo work", before="echo before", after="echo after"), place)
    assert done.stdout.split() == ["before", "work", "after"] and done.stderr.startswith("part ")


def test_a_script_that_fails_in_the_middle_is_a_failure(place):
    result = measure(Workload("w", "", part("false"), Figure.PART), [way(NATIVE)], place, None, QUICK)
    assert result.failures == {NATIVE: "status 1"}
