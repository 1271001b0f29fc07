"""Where the host has room: the probes of its file systems."""

import os

from apppot.kernel import rundir
from apppot.platform import storage
from apppot.platform.finding import DEGRADED, MISSING, OK
from apppot.platform.probes import can_run


def test_the_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("APPPOT_CACHE", str(tmp_path / "new" / "cache"))
    assert storage.cache_directory().state == OK
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    monkeypatch.setenv("APPPOT_CACHE", str(tmp_path / "file" / "cache"))
    finding = storage.cache_directory()
    assert finding.state == DEGRADED and "not a directory" in finding.detail


def test_the_run_directory_that_is_told_is_the_one_that_machines_take(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    taken = os.fsdecode(rundir.places()[0])
    assert storage.run_directory().detail.startswith(f"{taken} (")


def test_file_system_types():
    assert storage.file_system("/proc/self/status") == "proc"
    assert storage.file_system("/proc/no/such/file") == "proc"


def test_no_place_to_write_means_no_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file" / "x"))
    (tmp_path / "file").touch()
    finding = storage.temporary_directory()
    assert finding.state == MISSING and "TMPDIR" in finding.remedy
    assert not can_run([finding])
