"""The ways: what they share, and what is said about those that are not there."""

import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from benchmarks import ways


@pytest.fixture
def place(tmp_path):
    place = ways.Place(*(tmp_path / name for name in ("tree", "copy", "job", "scratch", "temporary")))
    for directory in (place.job, place.scratch, place.temporary, place.tree / "usr", place.tree / "etc"):
        directory.mkdir(parents=True)
    (place.tree / "usr/program").write_text("1")
    (place.tree / "etc/settings").write_text("2")
    ways.copy_tree(place.tree, place.copy)
    return place


def test_the_copy_shares_what_is_only_replaced(place):
    assert (place.copy / "usr/program").samefile(place.tree / "usr/program")
    assert (place.copy / "etc/settings").read_text() == "2"
    assert not (place.copy / "etc/settings").samefile(place.tree / "etc/settings")
    assert (place.copy / "home/user/job").is_dir() and not (place.tree / "home").exists()


def test_ways_that_do_not_work_are_said(place, tmp_path, monkeypatch):
    """Nothing can run in a tree without programs; then native is the host, whose programs are there."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "sandlock", None)
    found, missing = ways.working(place)
    assert [(way.name, way.version) for way in found] == [(ways.NATIVE, "the host's own programs")]
    assert missing[:3] == ["proot is not installed: apt-get install proot", "bubblewrap is not installed: apt-get install bubblewrap",
                           "Sandlock is not installed: pip install 'apppot[benchmarks]'"]
    assert all("does not work here" in line and "\n" not in line for line in missing[3:])
    assert found[0].run(["cat", "{root}/usr/program"], place).stdout == "1"
    assert found[0].run(["true"], place, as_root=True).returncode == 1


@pytest.mark.parametrize("has, said", [
    (5, "Sandlock needs Landlock of version 6 (Linux 6.12) or newer; this kernel has 5"),
    (-1, "Sandlock needs Landlock of version 6 (Linux 6.12) or newer; this kernel has none"), (6, None)])
def test_what_sandlock_needs(monkeypatch, has, said):
    module = types.SimpleNamespace(landlock_abi_version=lambda: has, min_landlock_abi=lambda: 6)
    monkeypatch.setitem(sys.modules, "sandlock", module)
    assert ways.sandlock_lacks() == said


def test_what_takes_too_long_is_ended_with_its_children(place):
    way = ways.Way("host", lambda words, place, as_root: words)
    with pytest.raises(subprocess.TimeoutExpired):
        way.run(["sh", "-c", "sleep 600 & echo $! >child; wait"], place, timeout=2)
    status = Path(f"/proc/{(place.job / 'child').read_text().strip()}/status")
    deadline = time.monotonic() + 20
    while status.exists() and "State:\tZ" not in status.read_text():      # killed, and perhaps not dead yet
        assert time.monotonic() < deadline
        time.sleep(0.01)
