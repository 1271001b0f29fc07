"""What a file is, told from its content; partitions, SIF, User-Mode Linux COWs."""

import errno
import gzip
import io
import lzma
import os
import random
import re
import struct
import tarfile

import pytest
import zstandard

from apppot.errors import AppPotError
from apppot.image import detect
from apppot.image.tree import DamagedImage
from tests.image import images
from tests.image.test_readers import compare, tree


def archive(*members):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in members:
            tar.addfile(tarfile.TarInfo(name))
    return made.getvalue()


ROOT = archive("./", "./bin", "./etc/passwd", "./usr")
OCI = archive("blobs/", "blobs/sha256/", "blobs/sha256/" + 64 * "a", "index.json", "oci-layout")
DOCKER = archive(64 * "a" + "/layer.tar", 64 * "b" + ".json", "manifest.json", "repositories")


NOISE = random.Random(1).randbytes(3000)


@pytest.mark.parametrize("content, format, what", [
    pytest.param(ROOT, "tar", "a tar archive", id="tar"),
    pytest.param(gzip.compress(ROOT), "tar", "a gzip tar archive", id="tar.gz"),
    pytest.param(lzma.compress(ROOT), "tar", "an? xz tar archive", id="tar.xz"),
    pytest.param(OCI, "oci-archive", "an OCI archive", id="OCI"),
    pytest.param(gzip.compress(OCI), "oci-archive", "an OCI archive", id="OCI.gz"),
    pytest.param(DOCKER, "docker-archive", "a docker save archive", id="docker-save"),
    pytest.param(gzip.compress(b"hello"), None, "a gzip file that holds no tar archive", id="gzip"),
    pytest.param(gzip.compress(NOISE)[:1000], None, "a damaged gzip file|a gzip file that holds no", id="damaged-gzip"),
    pytest.param(b"QFI\xfb" + bytes(600), None, "a qcow2 disk image", id="qcow2"),
    pytest.param(b"sqsh" + bytes(600), None, "a big-endian squashfs", id="big-endian-squashfs"),
    pytest.param(b"#!/bin/sh\n", None, "a script", id="script"),
    pytest.param(b"", None, "an empty file", id="empty"),
    pytest.param(bytes(100000), None, "a file of no image format", id="zeros"),
    pytest.param(NOISE[:100], None, "a file of no image format", id="noise"),
])
def test_files(tmp_path, content, format, what):
    (tmp_path / "image.misleading.sqfs").write_bytes(content)
    found = detect.detect(tmp_path / "image.misleading.sqfs")
    assert found.format == format
    assert re.match(what, found.what)


def test_zstd(tmp_path):
    (tmp_path / "image").write_bytes(zstandard.compress(OCI))
    assert detect.detect(tmp_path / "image").format == "oci-archive"


def test_directories(tmp_path):
    assert detect.detect(tmp_path).format == "directory"
    (tmp_path / "oci-layout").touch()
    assert detect.detect(tmp_path).format == "oci-layout"
    os.mkfifo(tmp_path / "pipe")
    assert detect.detect(tmp_path / "pipe").what == "neither a file nor a directory"


def test_missing(tmp_path):
    with pytest.raises(AppPotError, match="No such file"):
        detect.detect(tmp_path / "nothing")


@pytest.mark.parametrize("label, linux, other", [("dos", "83", "7"), ("gpt", "L", "U")])
def test_partitions(source, ext4, tmp_path, label, linux, other):
    image = images.partitioned([(other, None), (linux, ext4)], tmp_path / "disk", label)
    found = detect.detect(image)
    assert (found.format, found.detail) == ("ext", f"partition 2 of {'an MBR' if label == 'dos' else 'a GPT'} disk image")
    compare(image, source)


def test_the_active_partition_comes_first(source, ext4, squash, tmp_path):
    image = images.partitioned([("83", squash), ("83", ext4)], tmp_path / "disk", active=2)
    assert detect.detect(image).format == "ext"
    image = images.partitioned([("83", squash), ("83", ext4)], tmp_path / "disk")
    assert detect.detect(image).format == "squashfs"
    compare(image, source)


def test_a_logical_partition(source, ext4, tmp_path):
    size = os.stat(ext4).st_size
    with open(tmp_path / "disk", "wb") as disk:
        disk.truncate(size + (8 << 20))
    script = f"label: dos\nstart=2048, size=2048, type=7\nstart=4096, type=5\nstart=6144, size={size // 512}, type=83\n"
    images.subprocess.run([images.tool("sfdisk"), "-q", tmp_path / "disk"], input=script, text=True, check=True,
                          capture_output=True)
    with open(tmp_path / "disk", "r+b") as disk, open(ext4, "rb") as data:
        disk.seek(6144 * 512)
        disk.write(data.read())
    assert detect.detect(tmp_path / "disk").detail == "partition 5 of an MBR disk image"
    compare(tmp_path / "disk", source)


def test_no_linux_partition(tmp_path):
    image = images.partitioned([("7", None)], tmp_path / "disk")
    assert detect.detect(image).what.startswith("an MBR disk image without a Linux partition")


@pytest.mark.parametrize("first, start", [(2, 1 << 63), (2, (1 << 64) - 10), (1 << 62, 0)])
def test_partitions_that_lie_where_no_file_reaches(tmp_path, first, start):
    disk = bytearray(1 << 17)
    disk[450], disk[510:512] = 0xEE, b"\x55\xaa"
    disk[512:520] = b"EFI PART"
    struct.pack_into("<QIII", disk, 512 + 72, first, 128, 128, 0)
    struct.pack_into("<16s16xQQ", disk, 1024, bytes.fromhex("af3dc60f838472478e793d69d8477de4"), start, start + 9)
    (tmp_path / "disk").write_bytes(disk)
    assert detect.detect(tmp_path / "disk").what.startswith("a GPT disk image without a Linux partition")


def test_what_can_not_be_read(squash, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(DamagedImage, match=f"image {squash} is damaged: it can't be read: Input/output error"):
        detect.detect(squash)


def test_sif(source, squash, tmp_path):
    image = images.sif(squash, tmp_path / "image.sif")
    assert detect.detect(image).format == "sif"
    compare(image, source)


def test_sif_without_a_root(squash, tmp_path):
    assert "encrypted" in detect.detect(images.sif(squash, tmp_path / "a", kind=5)).what
    assert "without a squashfs" in detect.detect(images.sif(squash, tmp_path / "b", kind=2)).what


# User-Mode Linux COWs

@pytest.fixture
def cow(source, ext4, tmp_path):
    """A COW in which two blocks of the file "random" differ, and what it then holds."""
    blocks = [int(images.call(images.tool("debugfs"), "-R", f"bmap random {block}", ext4).split()[-1]) for block in (1, 7)]
    size = 1024 if "1024" in images.call(images.tool("dumpe2fs"), "-h", ext4).decode().split("Block size:")[1][:20] else 4096
    contents = bytearray(open(source + b"/random", "rb").read())
    changed = {}
    for index, block in zip((1, 7), blocks):
        new = os.urandom(512)
        changed[block * size // 512 + 1] = new
        contents[index * size + 512:index * size + 1024] = new
    return images.uml_cow(ext4, tmp_path / "cow", changed), bytes(contents)


def test_uml_cow(cow):
    path, contents = cow
    found = detect.detect(path)
    assert found.format == "uml-cow"
    with detect.open_reader(found) as reader:
        assert tree(reader)[b"random"][1] == contents


def test_uml_cow_over_a_partitioned_image(ext4, source, tmp_path):
    disk = images.partitioned([("83", ext4)], tmp_path / "disk")
    path = images.uml_cow(disk, tmp_path / "cow", {})
    compare(path, source)


def test_uml_cow_whose_image_was_moved(cow, ext4, tmp_path):
    path, contents = cow
    moved = images.uml_cow(ext4, tmp_path / "cow2", {}, named="/somewhere/else/" + os.path.basename(ext4))
    with pytest.raises(AppPotError, match="/somewhere/else.*No such file.*COW:IMAGE"):
        detect.open_reader(detect.detect(moved))
    detect.open_reader(detect.detect(moved), os.fsencode(ext4)).close()


@pytest.mark.parametrize("settings, message", [
    ({"mtime": 5}, "was changed since the COW was made"),
    ({"version": 2}, "version 2"),
    ({"sector": 0}, "impossible sizes"),
    ({"align": 1 << 20}, "ends too early|changed"),
])
def test_uml_cows_that_do_not_fit(ext4, tmp_path, settings, message):
    try:
        path = images.uml_cow(ext4, tmp_path / "cow", {}, **settings)
    except ZeroDivisionError:
        path = images.uml_cow(ext4, tmp_path / "cow", {})
        with open(path, "r+b") as file:
            file.seek(20)
            file.write(bytes(4))
    if settings.get("align"):
        os.truncate(path, 1 << 19)
    with pytest.raises(AppPotError, match=message):
        detect.open_reader(detect.detect(path))


def test_uml_cow_over_an_image_of_another_size(ext4, tmp_path):
    path = images.uml_cow(ext4, tmp_path / "cow", {})
    os.truncate(tmp_path / "cow", os.path.getsize(path))
    with open(path, "r+b") as file:
        file.seek(12)
        file.write((4096).to_bytes(8, "big"))
    with pytest.raises(AppPotError, match="over an image of 4096 bytes"):
        detect.open_reader(detect.detect(path))
