"""Images that were cut short or changed: one line that names the image, never a traceback, never without end."""

import os
import random
import re
import signal
import sys
from contextlib import contextmanager
from stat import S_ISDIR, S_ISLNK, S_ISREG

import pytest

from apppot.errors import AppPotError
from apppot.image import detect
from tests.image import images

ROUNDS = int(os.environ.get("APPPOT_TEST_ROUNDS", "60"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """{format: contents of a small image with everything in it}."""
    top = tmp_path_factory.mktemp("small")
    tree = top / "tree"
    (tree / "d" / "e").mkdir(parents=True)
    for number in range(40):
        (tree / "d" / str(number)).write_bytes(os.urandom(number * 300))
    os.link(tree / "d" / "7", tree / "d" / "e" / "hard")
    os.symlink("../../d/3", tree / "d" / "e" / "soft")
    os.mkfifo(tree / "d" / "pipe")
    with open(tree / "d" / "sparse", "wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    found = {}
    for word in ("gzip", "zstd", "xz"):
        images.call(images.tool("mksquashfs"), tree, top / word, "-noappend", "-no-progress", "-b", "4096", "-comp", word)
        found[word] = (top / word).read_bytes()
    for word, *options in (("ext2",), ("ext3",), ("ext4",), ("ext4", "-O", "inline_data", "-I", "256")):
        name = word + "".join(options[-1:])
        images.call(images.tool("mke2fs"), "-q", "-t", word, *options, "-b", "1024", "-N", "200", "-d", tree, top / name, "4M")
        found[name] = (top / name).read_bytes()
    return found


def read_all(path):
    with detect.open_reader(detect.detect(path)) as reader:
        todo = [(0, reader.root)]
        count = 0
        with open("/dev/null", "wb") as sink:
            while todo:
                depth, directory = todo.pop()
                for _, inode in reader.entries(directory):
                    count += 1
                    reader.xattrs(inode)
                    if S_ISDIR(inode.mode) and depth < 10 and count < 3000:
                        todo.append((depth + 1, inode))
                    elif S_ISLNK(inode.mode):
                        reader.readlink(inode)
                    elif S_ISREG(inode.mode) and count < 3000:
                        for _, data in _chunks(reader, inode):
                            sink.write(data)


def _chunks(reader, inode):
    with reader.guard():
        yield from reader.chunks(inode)


@contextmanager
def at_most(seconds):
    def too_long(*_):
        raise TimeoutError
    old = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


@pytest.mark.parametrize("name", ["gzip", "zstd", "xz", "ext2", "ext3", "ext4", "ext4256"])
def test_random_changes(small, tmp_path, name):
    whole = small[name]
    chance = random.Random(name)
    path = tmp_path / "image"
    refused = 0
    for _ in range(ROUNDS):
        data = bytearray(whole)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)):]
        else:
            metadata = (len(data) - 8000, len(data)) if name in ("gzip", "zstd", "xz") else (1024, 40000)
            low, high = chance.choice((metadata, metadata, (0, len(data))))
            for _ in range(chance.choice((1, 4, 30))):
                data[chance.randrange(low, high)] = chance.randrange(256)
        path.write_bytes(data)
        try:
            with at_most(20):
                read_all(path)
        except AppPotError as error:
            refused += 1
            assert "\n" not in error.message and str(path) in error.message
    assert refused


@pytest.mark.parametrize("name", ["gzip", "ext2", "ext4"])
def test_cut_short(small, tmp_path, name):
    path = tmp_path / "image"
    for part in (0.2, 0.5, 0.99):
        path.write_bytes(small[name][:int(len(small[name]) * part)])
        with pytest.raises(AppPotError, match="is damaged: it is cut short: .* bytes are needed"):
            read_all(path)


def test_an_extent_tree_with_a_loop(tmp_path):
    """An index block that names itself."""
    (tmp_path / "tree").mkdir()
    with open(tmp_path / "tree" / "file", "wb") as file:
        for number in range(12):
            file.seek(number * 100_000)
            file.write(b"x")
    image = tmp_path / "image"
    images.call(images.tool("mke2fs"), "-q", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum", "-d", tmp_path / "tree",
                image, "4M")
    where = re.search(rb"located at block (\d+), offset (0x\w+)", images.call(images.tool("debugfs"), "-R", "imap file", image))
    block, offset = int(where[1]), int(where[2], 16)
    data = bytearray(image.read_bytes())
    place = block * 1024 + offset + 0x28 + 12
    leaf = int.from_bytes(data[place + 4:place + 8], "little") * 1024
    data[leaf:leaf + 24] = data[place - 12:place + 12]
    image.write_bytes(data)
    with at_most(20), pytest.raises(AppPotError, match="extent tree is broken"):
        read_all(image)


@pytest.mark.parametrize("name", [b"..", b"a/b", b"a\0b"])
def test_names_that_lead_elsewhere(small, tmp_path, name):
    data = bytearray(small["ext2"])
    wanted = b"soft" if len(name) > 2 else b"39"
    at = data.index(wanted, 1024)
    data[at:at + len(wanted)] = name.ljust(len(wanted), b"x") if len(name) > 2 else name
    (tmp_path / "image").write_bytes(data)
    if name == b"..":
        read_all(tmp_path / "image")      # left out, as the directory's own ".." is
        return
    with pytest.raises(AppPotError, match="a directory entry is called"):
        read_all(tmp_path / "image")


@pytest.mark.parametrize("compressor, module, package", [("lzo", "lzo", "python-lzo"), ("zstd", "zstandard", "zstandard")])
def test_a_missing_module_is_named_with_its_package(tmp_path, monkeypatch, compressor, module, package):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"file" * 1000)
    image = images.squashfs(tmp_path / "tree", tmp_path / "image", "-comp", compressor)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(AppPotError, match=f"compressed with {compressor}: .* pip install {package}, or make"):
        detect.open_reader(detect.detect(image)).close()
