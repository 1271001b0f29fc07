"""Ratios, targets and tables from figures that are known."""

import json
import xml.etree.ElementTree as Tree

import pytest

from benchmarks import plot, report
from benchmarks.measuring import QUICK, Result
from benchmarks.targets import TARGETS
from benchmarks.ways import FAST, NATIVE, PROOT, SANDLOCK, SLOW, Way
from benchmarks.workloads import ALL

WAYS = [Way(name, None, "1.0") for name in (NATIVE, FAST, SLOW, PROOT, SANDLOCK)]


def made(**figures):
    """A Report of workloads: name -> (native, AppPot, off, PRoot, Sandlock)."""
    results = {name.replace("_", "-"): Result(ALL[name.replace("_", "-")],
                                              {way.name: [float(figure)] for way, figure in zip(WAYS, given, strict=True)})
               for name, given in figures.items()}
    return report.Report(results, WAYS, ["bwrap is not here"], QUICK, {"date": "2026-01-01", "kernel": "Linux"})


START = (2, 60, 62, 4, 5)


def test_every_target_is_of_a_workload():
    assert set(TARGETS) <= set(ALL)


def test_a_command_is_judged_without_its_start():
    found = made(start=START, find=(102, 250, 2000, 2000, 2000))
    assert found.results["find"].ratio(FAST) == pytest.approx(250 / 102)
    assert found.less_start(found.results["find"], FAST) == pytest.approx(1.9)
    assert found.met(found.results["find"]) is True
    slower = made(start=START, find=(102, 262, 2000, 2000, 2000))
    assert slower.met(slower.results["find"]) is False


@pytest.mark.parametrize("figures, met", [
    ({"stat": (1, 1.5, 30, 40, 30)}, True), ({"stat": (1, 1.6, 30, 40, 30)}, False), ({"stat": (1, 1.5, 31, 40, 30)}, False),
    ({"start": (2, 80, 90, 4, 5)}, True), ({"start": (2, 81, 90, 4, 5)}, False), ({"thread": (1, 9, 9, 9, 9)}, None),
])
def test_targets(figures, met):
    found = made(**figures)
    assert found.met(next(iter(found.results.values()))) is met


def test_throughput_of_two_is_beside_that_of_one():
    found = made(stat_x1=(1, 1, 30, 40, 30), stat_x2=(0.5, 0.5, 30, 40, 30), stat_x4=(0.5, 0.8, 30, 40, 30))
    assert found.speedup("stat", 2, FAST) == 2 and found.speedup("stat", 4, FAST) == 1.25
    assert found.met(found.results["stat-x2"]) is True
    slower = made(stat_x1=(1, 1, 30, 40, 30), stat_x2=(0.5, 0.6, 30, 40, 30))
    assert slower.met(slower.results["stat-x2"]) is False


def test_who_is_faster():
    found = made(start=START, find=(10, 100, 100, 60, 20), getpid=(1, 2, 2, 9, 1))
    assert found.slower_than(PROOT) == []                      # 40 ms without the start, PRoot 56
    assert found.slower_than(SANDLOCK) == ["find"]             # getpid names no file


def test_nothing_is_claimed_of_what_failed():
    found = made(start=START, find=(10, 100, 100, 60, 20))
    result = found.results["find"]
    del result.samples[FAST]
    result.failures[FAST] = "status 1"
    assert result.ratio(FAST) is None and found.met(result) is None
    assert "failed" in next(line for line in report.terminal(found).splitlines() if line.startswith("find"))
    assert json.loads(report.as_json(found))["workloads"]["find"]["ways"][FAST] == {"failure": "status 1"}
    assert "find, AppPot: status 1" in report.markdown(found)


def test_the_spread_is_that_of_the_rounds():
    result = Result(ALL["stat"], {NATIVE: [1.0, 2.0, 1.0], FAST: [1.5, 2.0, 2.0]})
    assert result.spread(FAST) == (1.0, 2.0)


def test_the_plot_has_a_bar_for_each_ratio():
    found = made(start=START, find=(102, 250, 2000, 2000, 2000), stat=(1, 1.2, 25, 40, 30))
    root = Tree.fromstring(plot.svg(found))
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 3 * 4 and "stat, AppPot: 1.20 × native" in titles and "find, AppPot: 1.90 × native" in titles
    for rectangle in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(rectangle.get("width")) > 0
