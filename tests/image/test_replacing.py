"""Files that are there as a whole or not at all."""

import os
import resource

import pytest

from apppot.image.replacing import replace


def test_who_has_the_former_file_open_reads_that(tmp_path):
    path = os.fsencode(tmp_path / "file")
    replace(path, b"one")
    with open(path, "rb") as former:
        replace(path, bytes(3_000_000))
        assert former.read() == b"one"
    assert (tmp_path / "file").read_bytes() == bytes(3_000_000)
    assert os.listdir(tmp_path) == ["file"]


def test_what_can_not_be_written_whole_leaves_nothing(tmp_path):
    path = os.fsencode(tmp_path / "file")
    replace(path, b"one")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            replace(path, bytes(30_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "file").read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["file"]


def test_a_directory_that_can_not_be_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        replace(os.fsencode(tmp_path / "gone/file"), b"")
