"""Archives that mean harm: names and links that lead out of the tree, bombs, headers without end, bits changed at random."""

import os
import random

import pytest

from apppot.errors import AppPotError
from tests.image.opened import TREE, nothing_is_left, refused, seen
from tests.image.tars import END, member, raw, tar

pytestmark = pytest.mark.usefixtures("cache")

HOSTILE = {
    "dots": [member("../outside", data=b"x")],
    "dots within": [member("a/../../outside", data=b"x")],
    "hard link out": [member("a", "link", target="../../outside")],
    "hard link absolute": [member("a", "link", target="/etc/passwd")],
    "hard link to itself missing": [member("a", "link", target="b")],
    "hard link to a directory": [member("d", "dir"), member("a", "link", target="d")],
    "below a file": [("a", b"x"), ("a/b", b"y")],
    "NUL": [member("a", data=b"x", pax={"path": "a\0b"})],
    "name of 300 bytes": [member("x" * 300, data=b"x")],
    "path of 5000 bytes": [member("x/" * 2500 + "y", data=b"x")],
    "link loop": [member("a", "symlink", target="b"), member("b", "symlink", target="a"), ("a/c", b"x")],
    "link bomb": [member(f"l{n}", "symlink", target="/".join([f"l{n + 1}"] * 50)) for n in range(30)] + [("l0/c", b"x")],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_are_refused(image, cache, tmp_path, members):
    (tmp_path / "outside").write_text("mine")
    refused(image(tar(*members)), "refused")
    assert (tmp_path / "outside").read_text() == "mine"
    nothing_is_left(cache)


def test_names_that_are_taken_within_the_tree(image, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    found = seen(image(tar(("/absolute", b"1"), ("./././dot", b"2"), member("up", "symlink", target="../../../../../.."),
                           (f"up{out}/a", b"3"), member("abs", "symlink", target=str(out)), ("abs/b", b"4"),
                           member("usr/bin", "dir"), member("bin", "symlink", target="usr/bin"), ("bin/sh", b"5"))))
    assert os.listdir(out) == []
    assert found["absolute"][3] == b"1" and found["dot"][3] == b"2" and found["usr/bin/sh"][3] == b"5"
    assert found[f"{out}/a".lstrip("/")][3] == b"3" and found[f"{out}/b".lstrip("/")][3] == b"4"


def test_a_bomb_of_devices_and_huge_headers(image, cache):
    path = image(tar(*(member(f"dev/{n}", "block", dev=(8, n)) for n in range(2000))))
    assert len(seen(path)) == 2002
    cache_before = sorted(cache.glob("layers/*"))
    for data in (raw("pax", 1 << 33), raw("long", 1 << 33, b"L"), raw("long", 100 << 20, b"K"),
                 raw("pax", 1000, data=b"9" * 1000), raw("pax", 100_000, data=b"2 " * 50_000),
                 raw("pax", 30, data=b"30 GNU.sparse.map=0,1,5,99999\n"), raw("file", 1 << 50, b"0"), raw("x", 0, b"Q")):
        refused(image(data + END))
    assert sorted(cache.glob("layers/*")) == cache_before


def test_many_nested_headers_end(image):
    refused(image(raw("././@LongLink", 4, b"L", b"abc\0") * 5000 + END), "damaged")


def test_random_damage_never_hangs_or_escapes(image, tmp_path):
    rng = random.Random(4)
    whole = tar(*TREE, member("n" * 150, data=b"x", xattrs={"user.a": b"1"}))
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data) - 1024)] = rng.randrange(256)
        try:
            seen(image(bytes(data)))
        except AppPotError:
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "image.tar"]
