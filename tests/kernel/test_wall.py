"""Which wall a machine gets on which kernel."""

import os

import pytest

from apppot.errors import AppPotError
from apppot.kernel import rundir, wall
from apppot.machine import Bind, Machine
from apppot.platform import landlock
from apppot.syscalls.table import by_name

OPENAT, STAT, TRUNCATE, OPENAT2 = (by_name[name] for name in ("openat", "stat", "truncate", "openat2"))


@pytest.fixture
def kernel(monkeypatch):
    """kernel(version): the host has this version of Landlock's ABI."""
    return lambda version: monkeypatch.setattr(landlock, "abi", lambda: version)


@pytest.mark.parametrize("isolation, version, used, mediated, fast, trusted", [
    ("standard", 7, 7, False, True, (OPENAT, STAT, TRUNCATE)),
    ("standard", 3, 3, False, True, (OPENAT, STAT, TRUNCATE)),
    ("standard", 2, 2, False, True, (OPENAT, STAT)),
    ("standard", 1, 1, False, True, (OPENAT, STAT)),
    ("standard", 0, 0, True, False, ()),
    ("strict", 7, 7, True, False, ()),
    ("strict", 0, 0, True, False, ()),
    ("none", 7, 0, False, True, (OPENAT, STAT, TRUNCATE)),
    ("none", 0, 0, False, True, (OPENAT, STAT, TRUNCATE)),
])
def test_levels(kernel, isolation, version, used, mediated, fast, trusted):
    kernel(version)
    made = wall.Wall(isolation)
    assert (made.version, made.mediated, made.fast) == (used, mediated, fast)
    assert tuple(row for row in (OPENAT, STAT, TRUNCATE) if made.trusts_stub(row)) == trusted
    assert (made.lacks() is None) == (isolation == "none" or version > 0)


def test_what_cuts_files_off_unseen_is_not_called_from_the_stub(kernel):
    for version, passes in (2, False), (3, True):
        kernel(version)
        made = wall.Wall("standard")
        assert made.by_flags != passes and made.trusts_stub(OPENAT2)
        assert (OPENAT2.number in made.of_stub, TRUNCATE.number in made.of_stub) == (passes, passes)
        for flags in os.O_RDONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC | os.O_CREAT, 3 | os.O_TRUNC:
            assert made.passes(flags) == passes
        for flags in os.O_RDONLY, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TRUNC, 3:
            assert made.passes(flags)


def test_less_than_required_is_refused(kernel):
    kernel(0)
    with pytest.raises(AppPotError) as refused:
        wall.build(Machine(isolation="strict", require_isolation=True))
    assert refused.value.status == 125 and "no Landlock" in refused.value.message
    kernel(1)
    assert wall.build(Machine(require_isolation=True)).version == 1


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_every_version_of_the_abi_has_its_rights(tmp_path):
    for version in range(1, landlock.abi() + 1):
        for network in (True, False):
            os.close(landlock.rule_set([(os.fsencode(tmp_path), landlock.READ | landlock.WRITE), (b"/dev/null", landlock.DEVICE),
                                        (b"/missing", landlock.READ)], version, network))


def test_the_run_directory_is_where_no_guest_may_write(monkeypatch, tmp_path):
    inside, outside = os.fsencode(tmp_path / "job" / "tmp"), os.fsencode(tmp_path / "tmp")
    for path in (inside, outside):
        os.makedirs(path)
    for given in (Machine(job_dir=os.fsencode(tmp_path / "job")),
                  Machine(job_dir=b"/", binds=[Bind(os.fsencode(tmp_path / "job"), b"/x")])):
        monkeypatch.setenv("TMPDIR", os.fsdecode(inside))
        assert inside not in rundir.places(given) and rundir.places(given)
        monkeypatch.setenv("TMPDIR", os.fsdecode(outside))
        assert outside in rundir.places(given)
    assert b"/dev/shm" not in rundir.places(Machine(job_dir=b"/dev/shm"))
    with pytest.raises(AppPotError) as refused:
        rundir.RunDirectory([])
    assert "the guest may write" in refused.value.message


def test_a_descriptor_is_opened_again_only_as_it_is_open(tmp_path):
    read, write = os.open(tmp_path / "a", os.O_RDONLY | os.O_CREAT), os.open(tmp_path / "a", os.O_WRONLY)
    try:
        rights = dict(wall._inherited((read, write)))
        assert rights[b"/proc/self/fd/%d" % read] == landlock.READ_FILE
        assert not rights[b"/proc/self/fd/%d" % write] & landlock.READ_FILE
    finally:
        os.close(read)
        os.close(write)
