"""Patched copies in the cache: kept whole or not at all, found again, freed when nobody uses them."""

import errno
import gc
import os
import shutil
import subprocess
import time

import pytest
from elftools.elf.elffile import ELFFile

from apppot.errors import AppPotError
from apppot.image import contents, copies
from apppot.image.store import Store
from apppot.kernel import patching
from apppot.kernel.patching import Patched, patch
from apppot.platform import trampolines


@pytest.fixture(scope="module")
def library():
    """The host's own C library, host path."""
    with open("/proc/self/maps", "rb") as maps:
        return next(line.split()[-1] for line in maps if b"/libc.so" in line or b"/libc-" in line)


@pytest.fixture
def original(library, tmp_path):
    shutil.copy(library, tmp_path / "libc.so.6")
    return os.fsencode(tmp_path / "libc.so.6")


@pytest.fixture
def cache(tmp_path):
    return os.fsencode(tmp_path / "cache")


def open_descriptors():
    gc.collect()                           # what earlier tests left open
    return len(os.listdir("/proc/self/fd"))


def test_the_trampolines_are_a_segment_of_the_library(library, tmp_path):
    with open(library, "rb") as file:
        image, address, found, _ = patch(bytearray(file.read()))
    (tmp_path / "copy").write_bytes(image)
    with open(tmp_path / "copy", "rb") as file:
        loads = [segment for segment in ELFFile(file).iter_segments() if segment["p_type"] == "PT_LOAD"]
        assert [load["p_vaddr"] for load in loads] == sorted(load["p_vaddr"] for load in loads)
        assert loads[-1]["p_vaddr"] == address and loads[-1]["p_filesz"] == found * trampolines.TRAMPOLINE_SIZE
        assert loads[-1]["p_flags"] == 5 and found >= 10
    shown = subprocess.run(["objdump", "-d", tmp_path / "copy"], capture_output=True, text=True, check=True).stdout
    assert sum(f"jmp    {address + number * trampolines.TRAMPOLINE_SIZE:x} " in shown for number in range(found)) == found


def test_made_once_and_found_again(cache, original):
    first = Patched(cache + b"/patched")
    path = first.library(original)
    made = os.stat(path)
    assert Patched(cache + b"/patched").library(original) == path and os.stat(path).st_ino == made.st_ino
    assert first.counts() == [(original, copies.Copy(path, os.open(path, os.O_RDONLY)).sites, 0)]


def test_who_loads_it_is_told_apart(cache, original):
    patched = Patched(cache + b"/patched")
    path, segment = patched.program(original)
    assert path != patched.library(original) and segment.file_size % trampolines.TRAMPOLINE_SIZE == 0


def test_nothing_to_patch_is_remembered(cache, tmp_path, library):
    (tmp_path / "text").write_text("no program")
    text = os.fsencode(tmp_path / "text")
    assert Patched(cache + b"/patched").library(text) is None
    empty = subprocess.run(["gcc", "-shared", "-nostdlib", "-o", tmp_path / "empty.so", "-x", "c", "/dev/null"], check=False)
    assert empty.returncode == 0
    patched = Patched(cache + b"/patched")
    assert patched.library(os.fsencode(tmp_path / "empty.so")) is None
    assert [copy.sites for copy in copies._copies(cache)] == [0]


def test_a_copy_that_vanished_means_the_original(cache, original):
    patched = Patched(cache + b"/patched")
    before = open_descriptors()
    path = patched.library(original)
    os.unlink(path)
    assert patched.library(original) is None and open_descriptors() == before
    assert patched.library(original) == path       # and is made again


def test_another_directory_in_its_place_is_not_used(cache, original):
    """The machine's Landlock domain has the one that was there when it began."""
    patched = Patched(cache + b"/patched")
    path = patched.library(original)
    os.rename(cache + b"/patched", cache + b"/gone")
    os.mkdir(cache + b"/patched")
    assert patched.library(original) is None and patched.library(original) is None
    later = Patched(cache + b"/patched")
    assert later.library(original) == path and patched.library(original) is None


def test_a_changed_file_is_another_one(cache, original):
    patched = Patched(cache + b"/patched")
    path = patched.library(original)
    os.utime(original, ns=(1, 1))
    assert patched.library(original) != path


def test_without_space_the_original_is_used(cache, original, monkeypatch):
    """And nothing of what was half written stays."""
    before = open_descriptors()

    def full(new, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(copies, "_publish", full)
    patched = Patched(cache + b"/patched")
    assert patched.library(original) is None and patched.library(original) is None
    assert os.listdir(cache + b"/patched") == [] and open_descriptors() == before


def test_what_a_killed_maker_left_is_no_copy(cache, original):
    """Neither half a file under the final name, as a full disk may leave it, nor one with its own."""
    patched = Patched(cache + b"/patched")
    path = patched.library(original)
    patched.close()
    left = path + b".1"
    shutil.copy(path, left)
    os.truncate(left, 5000)
    with open(path, "r+b") as file:
        file.truncate(5000)
    assert patched.library(original) == path and os.path.getsize(path) > 5000
    patched.close()
    copies.remove(cache)
    assert os.listdir(cache + b"/patched") == [os.path.basename(path)]


def test_room_is_bounded(tmp_path, library):
    """Of what users make: only what is started twice, and no more than there is room for. Of what was there before: at once."""
    brought = os.fsencode(shutil.copy(library, tmp_path / "brought"))
    time.sleep(0.02)                       # the kernel's time stamps go by its ticks
    size = os.path.getsize(library)
    patched = Patched(os.fsencode(tmp_path / "run"), room=4 * size)
    for name in ("a", "b", "c"):
        shutil.copy(library, tmp_path / name)
    a, b, c = (os.fsencode(tmp_path / name) for name in "abc")
    assert patched.program(brought) is not None
    assert patched.program(a) is None
    path, _ = patched.program(a)
    assert patched.program(b) is None and patched.program(b) is not None
    assert patched.program(c) is None and patched.program(c) is None
    os.utime(a, ns=(1, 1))
    assert patched.program(a) is None and patched.program(a)[0] != path and not os.path.exists(path)


def test_list_and_remove(cache, original):
    """What a machine uses stays; what has lost its original goes with the next removal."""
    store = Store(cache)
    assert contents.images(store) == []
    machine = Patched(cache + b"/patched")
    path = machine.library(original)
    kept, = contents.images(store)
    assert kept.name == "patched" and kept.size > 1_000_000 and "1 libraries" in kept.source
    freed, lines = contents.remove(["patched"], store=store)
    assert "in use" in lines[0] and not freed and os.path.exists(path)
    machine.close()
    os.utime(path, (1, 1))
    assert contents.remove([], unused=3600, store=store)[0] > 1_000_000 and not os.path.exists(path)
    later = Patched(cache + b"/patched")
    path = later.library(original)
    later.close()
    copies.remove(cache)
    assert os.path.exists(path)
    os.unlink(original)
    copies.remove(cache)
    assert not os.path.exists(path)


def test_remove_all(cache, original):
    machine = Patched(cache + b"/patched")
    machine.library(original)
    with pytest.raises(AppPotError, match="in use"):
        copies.remove_all(copies.Copies(cache))
    machine.close()
    copies.remove_all(copies.Copies(cache))
    assert not copies.Copies(cache).size


def test_old_formats_are_not_used(cache, original, monkeypatch):
    path = Patched(cache + b"/patched").library(original)
    monkeypatch.setattr(patching, "VERSION", patching.VERSION + 2)
    assert Patched(cache + b"/patched").library(original) != path
