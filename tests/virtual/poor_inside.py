"""FAT and exFAT, as of memory sticks: no symbolic links, hard links, fifos, owners and modes, and names that differ in case are one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.test_storage import ALL, READ, squashfs  # noqa: F401: a fixture
from tests.guest.conftest import environment

LACKING = "its file system has no symbolic links"


@pytest.fixture(params=("vfat", "exfat"))
def disk(request):
    place = Path("/srv") / request.param / "test"
    place.mkdir()
    yield place
    shutil.rmtree(place)


def one_line(done, *words):
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1, done
    for word in (LACKING, *words):
        assert str(word) in done.stderr, done


@pytest.mark.parametrize("options", [[], ["--root"], ["--isolation", "strict"]], ids=["standard", "root", "strict"])
def test_no_cow_is_made_there(start, disk, options):
    for _ in range(2):
        one_line(start("true", options=["--cow", disk / "cow", *options]), f"COW {disk}/cow: ", "use a directory on another one")
        one_line(start("true", TMPDIR=str(disk), options=options), disk, "TMPDIR")
    assert os.listdir(disk) == ["cow"] and os.listdir(disk / "cow/upper") == os.listdir(disk / "cow/work") == []


def test_no_cache_is_made_there(start, disk, squashfs, tmp_path):  # noqa: F811: the fixture
    cache = {"APPPOT_CACHE": str(disk / "cache")}
    for _ in range(2):
        one_line(start("sh", "-c", READ, image=squashfs, **cache), disk, "set APPPOT_CACHE")
    archive = tmp_path / "image.tar"
    subprocess.run(["tar", "-c", "-f", archive, "-C", tmp_path / "tree", "."], check=True)
    one_line(start("sh", "-c", READ, image=archive, **cache), disk, "set APPPOT_CACHE")


def test_a_directory_image_needs_no_cache(start, disk):
    done = start("sh", "-c", "for i in 1 2 3; do cat /etc/hostname; done", APPPOT_CACHE=str(disk / "cache"))
    assert (done.stdout, done.stderr) == ("image\n" * 3, "")


JOB = r"""
echo a >Makefile; cat makefile; echo b >makefile; ls
ln -s Makefile l; ln Makefile h; mkfifo p; echo >'a:b'
mkdir d; mv d e; mv Makefile e/x; cp e/x e/y; printf '#!/bin/sh\necho ran\n' >s; chmod +x s; ./s
touch -d '2001-02-03 04:05:06 UTC' t; TZ=UTC stat -c %y t; head -c 300000 /dev/urandom >r; cp r e/r; cmp r e/r && truncate -s 5 r && stat -c %s r
rm -r e s t; ls
"""


@pytest.mark.parametrize("options", [[], ["--isolation", "strict"]], ids=["standard", "strict"])
def test_a_job_directory_there_is_as_natively(start, disk, options):
    (disk / "native").mkdir()
    (disk / "guest").mkdir()
    native = subprocess.run(["bash", "-c", JOB], cwd=disk / "native", env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    done = start("bash", "-c", JOB, cwd=disk / "guest", options=options)
    assert (done.returncode, done.stdout, done.stderr) == (native.returncode, native.stdout, native.stderr)
    assert "ran\n" in done.stdout and "Operation not permitted" in done.stderr


def test_changes_are_written_there_and_read(start, disk, tmp_path):
    done = start("sh", "-c", "echo x >/etc/new; ln -s new /etc/link; apppot-snap changes c.tar.gz", cwd=disk, options=["--root"])
    assert done.returncode == 0, done
    done = start("sh", "-c", "cat /etc/new; readlink /etc/link", cwd=disk, options=["--merge", disk / "c.tar.gz"])
    assert done.stdout == "x\nnew\n", done


def test_an_image_there(start, disk, squashfs, tmp_path):  # noqa: F811: the fixture
    image = shutil.copy(squashfs, disk / "image.squashfs")
    done = start("sh", "-c", READ, image=image, APPPOT_CACHE=str(tmp_path / "cache"))
    assert (done.stdout, done.stderr) == (ALL, "")


def test_the_doctor_says_so(disk, job):
    done = subprocess.run([sys.executable, "-m", "apppot.cli.main", "doctor"], cwd=job, capture_output=True, text=True, timeout=120,
                          env=environment(TMPDIR=str(disk), APPPOT_CACHE=str(disk / "cache")))
    assert done.returncode == 125 and done.stdout.count(LACKING) == 2, done
