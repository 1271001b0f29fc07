"""The COW directory: made, found again, refused, repaired, removed."""

import errno
import json
import os

import pytest

from apppot.errors import AppPotError
from apppot.image import directory
from apppot.image.cow import Cow, remove_tree


def test_a_cow_is_made_and_found_again(tmp_path):
    path = tmp_path / "new" / "cow"
    with Cow.open(path) as cow:
        open(cow.upper + b"/kept", "w").close()
        open(cow.work + b"/half-copied", "w").close()
        cow.add_mountpoints([b"/mnt", b"/mnt/\xff"])
        cow.add_mountpoints([b"/mnt"])
    with Cow.open(path, create=False) as cow:
        assert os.listdir(cow.upper) == [b"kept"]
        assert os.listdir(cow.work) == []
        assert cow.mountpoints == [b"/mnt", b"/mnt/\xff"]


def test_two_machines_do_not_share_one(tmp_path):
    with Cow.open(tmp_path / "cow"):
        with pytest.raises(AppPotError, match=f"cow is in use by another machine .process {os.getpid()}"):
            Cow.open(tmp_path / "cow")
    Cow.open(tmp_path / "cow").close()


def test_on_a_full_disk_one_that_is_there_can_be_used(tmp_path, monkeypatch):
    """btrfs needs room to shorten a file, the lock for one: the number of an earlier machine stays in it, and isn't shown."""
    def full(*_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    Cow.open(tmp_path / "cow").close()
    (tmp_path / "cow/lock").write_text("4194305\n")              # more than PID_MAX_LIMIT (linux/threads.h)
    monkeypatch.setattr(os, "ftruncate", full)
    with Cow.open(tmp_path / "cow"):
        with pytest.raises(AppPotError, match="cow is in use by another machine; wait"):
            Cow.open(tmp_path / "cow")
    assert (tmp_path / "cow/lock").read_text() == "4194305\n"


def test_other_directories_are_refused(tmp_path):
    (tmp_path / "precious").write_text("")
    with pytest.raises(AppPotError, match="not empty"):
        Cow.open(tmp_path)
    assert os.listdir(tmp_path) == ["precious"]
    with pytest.raises(AppPotError, match="no such directory"):
        Cow.open(tmp_path / "none", create=False)
    with pytest.raises(AppPotError, match="precious"):
        Cow.open(tmp_path / "precious" / "below")


@pytest.mark.parametrize("text, message", [("{", "damaged"), ('{"format": "x"}', "damaged"),
                                           (json.dumps({"format": "apppot-cow", "version": 99}), "version 99")])
def test_damaged_ones_are_named(tmp_path, text, message):
    Cow.open(tmp_path / "cow").close()
    (tmp_path / "cow" / "cow.json").write_text(text)
    with pytest.raises(AppPotError, match=message):
        Cow.open(tmp_path / "cow")


def test_a_run_killed_while_making_one(tmp_path):
    path = tmp_path / "cow"
    (path / "upper").mkdir(parents=True)
    (path / "lock").write_text("")
    Cow.open(path).close()
    assert (path / "cow.json").exists()


def test_trees_are_removed_whatever_is_in_them(tmp_path):
    cow = Cow.open(tmp_path / "cow")
    os.makedirs(cow.upper + b"/a/b/c")
    os.symlink("/etc", cow.upper + b"/a/link")
    open(cow.upper + b"/a/b/c/f", "w").close()
    os.chmod(cow.upper + b"/a/b/c", 0)
    os.chmod(cow.upper + b"/a/b", 0)
    cow.close()
    remove_tree(cow.path)
    assert os.listdir(tmp_path) == []


def test_one_of_one_run_has_no_description_unless_somebody_is_to_read_it(tmp_path):
    cow = Cow.open(tmp_path, lock=os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT))
    cow.note_image(b"/images/a")
    cow.add_mountpoints([b"/mnt"])
    assert sorted(os.listdir(tmp_path)) == ["lock", "upper", "work"]
    cow.keep()
    cow.reload()
    assert (cow.data["image"], cow.mountpoints) == ("/images/a", [b"/mnt"])
    cow.close()


def test_very_deep_trees_are_removed(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    for level in range(200):
        os.mkdir("deep" * 10, dir_fd=fd)
        below = os.open("deep" * 10, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove_tree(os.fsencode(tmp_path) + b"/" + b"deep" * 10)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_place(tmp_path):
    os.chmod(tmp_path, 0o555)
    with pytest.raises(AppPotError, match="Permission denied"):
        Cow.open(tmp_path / "cow")


def test_directory_images(tmp_path):
    assert directory.recognise(tmp_path)
    assert directory.validate(tmp_path) == os.fsencode(os.path.realpath(tmp_path))
    (tmp_path / "file").write_text("")
    assert not directory.recognise(tmp_path / "file")
    with pytest.raises(AppPotError, match="file is not a directory"):
        directory.validate(tmp_path / "file")
    with pytest.raises(AppPotError, match="none: No such file"):
        directory.validate(tmp_path / "none")
