"""Tar headers that say what can't be: sizes, maps of sparse files, names. Nothing hangs, and memory stays small."""

import gzip
import os
import resource
import subprocess

import pytest

from apppot.image import detect, tarstream
from apppot.image.opening import open_image
from tests.image.opened import nothing_is_left, refused
from tests.image.tars import END, member, raw, tar

pytestmark = pytest.mark.usefixtures("cache")

SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f"}


@pytest.mark.parametrize("size", [-1536, -1, tarstream.MOST_FILE + 1, 1 << 62, 1 << 80])
def test_sizes_that_no_file_has(image, cache, command, size):
    """A negative one leads back to a header that was read already."""
    for name in ("etc/a", "blobs/a"):
        path = image(tar((name, b"")) [:512] + tar(member(name + "b", pax={"size": str(size)})))
        done = command("main", "image", "import", path)
        assert done.returncode == 125 and f"{path} is a damaged tar archive" in done.stderr, done
        refused(path, f"a member of {size} bytes")
    nothing_is_left(cache)


@pytest.mark.parametrize("size", ["-5", str(1 << 62)])
def test_sparse_files_of_sizes_that_no_file_has(image, cache, size):
    refused(image(tar(member("f", data=b"0\n" + bytes(510), pax={**SPARSE, "GNU.sparse.realsize": size}))), "damaged")
    nothing_is_left(cache)


def test_larger_than_a_file_may_be(image, cache):
    path = image(tar(member("f", data=b"0\n" + bytes(510), pax={**SPARSE, "GNU.sparse.realsize": str(1 << 30)})))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        refused(path, "member f is larger than a file may be")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    nothing_is_left(cache)


@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_sparse_files_of_many_pieces(image, cache, tmp_path, monkeypatch, format):
    with open(tmp_path / "sparse", "wb") as file:
        for place in range(0, 16 << 20, 1 << 14):
            file.seek(place)
            file.write(b"x" * 4096)
    archive = subprocess.run(["tar", "-c", "--sparse", f"--format={format}", "sparse"], cwd=tmp_path, check=True,
                             stdout=subprocess.PIPE).stdout
    monkeypatch.setattr(tarstream, "MOST_MAP", 4096)
    refused(image(archive), "a sparse file of too many pieces")
    nothing_is_left(cache)
    monkeypatch.undo()
    monkeypatch.setenv("APPPOT_CACHE", str(cache))
    with open_image(os.fsencode(image(archive))) as opened:
        with open(opened.layers[0].host + b"/sparse", "rb") as file:
            assert file.read() == (tmp_path / "sparse").read_bytes()


@pytest.mark.parametrize("data", [raw("././@LongLink", 1 << 33, b"L"), raw("pax", 1 << 33),
                                  raw("././@LongLink", 4, b"L", b"abc\0") * 5000], ids=["long name", "pax", "nested"])
@pytest.mark.parametrize("compress, what", [(bytes, "a damaged tar archive"), (gzip.compress, "a gzip file that holds no tar")])
def test_telling_what_it_is_takes_no_memory(tmp_path, data, compress, what):
    """Sizes are refused, not read; what is nested is damage."""
    (tmp_path / "image").write_bytes(compress(data + END))
    found = detect.detect(tmp_path / "image")
    assert found.format is None and found.what.startswith((what, "a damaged gzip file"))
    (tmp_path / "image").write_bytes(compress(tar(("bin/sh", b"")) [:512] + data + END))
    assert detect.detect(tmp_path / "image").what == f"a damaged {'gzip file' if compress != bytes else 'tar archive'}"
