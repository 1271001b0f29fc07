"""`python -m benchmarks` as a user calls it, with the smallest workload."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as Tree
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def benchmarks(*arguments, cwd, module="benchmarks"):
    path = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))
    return subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": path}, stdin=subprocess.DEVNULL, timeout=300)


def test_one_workload_with_all_outputs(tmp_path):
    found, drawn, written = (tmp_path / name for name in ("found.json", "drawn.svg", "written.md"))
    done = benchmarks("--quick", "--json", found, "--plot", drawn, "--markdown", written, "start", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads(found.read_text())
    assert list(data["workloads"]) == ["start"] and data["workloads"]["start"]["unit"] == "ms"
    ways = data["workloads"]["start"]["ways"]
    assert {"AppPot", "AppPot, fast path off"} <= set(ways) == set(data["versions"])
    for way, figures in ways.items():
        assert figures["median"] > 0 and len(figures["samples"]) >= 1, way
        if "native" in ways:
            assert figures["ratio"] == pytest.approx(figures["median"] / ways["native"]["median"])
    assert Tree.parse(drawn).getroot().tag == f"{SVG}svg"
    row = next(line for line in written.read_text().splitlines() if line.startswith("| start"))
    assert "≤ 80 ms" in row and row.count("|") == len(data["versions"]) + 7
    assert "≤ 80 ms" in next(line for line in done.stdout.splitlines() if line.startswith("start "))
    for line in data["missing"]:
        assert line in done.stderr and line in done.stdout


@pytest.mark.parametrize("arguments, said", [
    (["no-such-workload"], "no such workload: no-such-workload"),
    (["--json", "nowhere/x.json", "start"], "nowhere/x.json: No such file or directory"),
    (["--tree", "/proc", "start"], "--tree /proc: not a root tree"),
])
def test_wrong_usage_is_one_line_and_2(tmp_path, arguments, said):
    done = benchmarks(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


@pytest.mark.parametrize("module, wrong, said", [
    ("benchmarks.images", ["gone.img"], "gone.img: no such image"),
    ("benchmarks.images", ["--quick"], "unrecognized arguments: --quick"),
    ("benchmarks.snapshots", ["x"], "unrecognized arguments: x"),
    ("benchmarks.wall", ["gone"], "no such work: gone"),
    ("benchmarks.wall", ["--rounds", "0"], "--rounds: at least 1"),
    ("tests.faults.load", ["turnover", "60"], "60 is too few; say 501 or more"),
    ("tests.faults.load", ["machines", "0"], "0 is too few; say 1 or more"),
])
def test_the_other_programs_that_measure(tmp_path, module, wrong, said):
    shown = benchmarks("--help", cwd=tmp_path, module=module)
    assert shown.returncode == 0 and "usage: " in shown.stdout
    done = benchmarks(*wrong, cwd=tmp_path, module=module)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["benchmarks.jobs", "benchmarks.rte"])
def test_those_that_measure_on_a_site(tmp_path, monkeypatch, module):
    shown = benchmarks("--help", cwd=tmp_path, module=module)
    assert shown.returncode == 0 and "usage: " in shown.stdout
    for site, said in ("", "APPPOT_TEST_SITE names no site"), (str(tmp_path), "gone.img: no such file"):
        monkeypatch.setenv("APPPOT_TEST_SITE", site)
        done = benchmarks("gone.img", cwd=tmp_path, module=module)
        assert done.returncode == 2
        assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    option = "--jobs" if module == "benchmarks.jobs" else "--rounds"
    (tmp_path / "image").touch()
    for words, status, said in ([option, "0"], 2, f"{option}: at least 1"), ([], 1, f"{tmp_path}: "):
        done = benchmarks("image", *words, cwd=tmp_path, module=module)
        assert done.returncode == status
        assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
