"""File systems that can't hold a system's files. Real ones are tried by tests/virtual."""

import errno
import os

import pytest

from apppot.errors import AppPotError
from apppot.image import detect, lazy, suitable
from apppot.image.cow import Cow
from apppot.image.store import Store
from tests.image import images


@pytest.fixture
def without_symlinks(monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    monkeypatch.setattr(os, "symlink", refuse)


def test_nothing_is_lacking_and_nothing_left(tmp_path):
    assert suitable.lacks(os.fsencode(tmp_path)) is None
    assert os.listdir(tmp_path) == []


def test_names_that_differ_in_case_alone(tmp_path, monkeypatch):
    real = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: real(path) or real(path.replace(b"PROBE", b"probe")))
    assert "differ in case" in suitable.lacks(os.fsencode(tmp_path))
    assert os.listdir(tmp_path) == []


def test_no_room_is_another_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(OSError, match="quota exceeded: .*/.probe-"):
        suitable.lacks(os.fsencode(tmp_path))


def test_a_cow(tmp_path, without_symlinks):
    with pytest.raises(AppPotError, match=f"^COW {tmp_path}/cow: its file system has no symbolic links; use a directory on another one"):
        Cow.open(tmp_path / "cow")


def test_a_cow_that_is_there_needs_no_room_to_be_opened(tmp_path, monkeypatch):
    Cow.open(tmp_path / "cow").close()

    def refuse(*_, **__):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    monkeypatch.setattr(os, "symlink", refuse)
    Cow.open(tmp_path / "cow").close()


def test_the_cache_of_a_single_file_image(tmp_path, without_symlinks):
    tree = tmp_path / "tree"
    tree.mkdir()
    image = tmp_path / "image.squashfs"
    images.call(images.tool("mksquashfs"), tree, image, "-noappend", "-no-progress")
    for _ in range(2):
        with pytest.raises(AppPotError, match="image .*image.squashfs: the cache .*no symbolic links; set APPPOT_CACHE"):
            lazy.LazyTree(detect.detect(image), cache=os.fsencode(tmp_path / "cache"))


def test_the_cache_of_unpacked_images(tmp_path, without_symlinks):
    with pytest.raises(AppPotError, match="^image.tar: the cache .*no symbolic links; set APPPOT_CACHE"):
        with Store(os.fsencode(tmp_path)).new("image.tar"):
            pass


def test_what_an_open_directory_shows(tmp_path):
    """As it is where the tests run; python -m tests.virtual asks a btrfs."""
    (tmp_path / "directory").mkdir()
    fd = os.open(tmp_path / "directory", os.O_RDONLY)
    try:
        for name in "first", "second":
            (tmp_path / "directory" / name).touch()
        expected = len(os.listdir(fd)) == 2
    finally:
        os.close(fd)
    before = sorted(os.listdir(tmp_path))
    assert suitable.shows_new_names(os.fsencode(tmp_path)) is expected
    assert sorted(os.listdir(tmp_path)) == before


def test_no_room_to_find_out_what_an_open_directory_shows(tmp_path, monkeypatch):
    real = os.mkdir

    def refuse(path, *mode):
        if path.endswith(b"/second"):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        real(path, *mode)
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(OSError, match="quota exceeded"):
        suitable.shows_new_names(os.fsencode(tmp_path))
    assert os.listdir(tmp_path) == []
