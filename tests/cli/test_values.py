"""Values of options."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apppot.cli import values

MIB = 1 << 20


@pytest.mark.parametrize("text, expected", [
    ("512", 512 * MIB), ("512M", 512 * MIB), ("512m", 512 * MIB), ("2G", 2048 * MIB), ("1.5G", 1536 * MIB),
    ("4096K", 4 * MIB), ("512MiB", 512 * MIB), ("512MB", 512 * MIB), ("1T", MIB * MIB), (" 1G ", 1024 * MIB),
])
def test_sizes(text, expected):
    assert values.size(text) == expected


@pytest.mark.parametrize("text", ["", "M", "-1M", "1X", "1MM", "x", "1e3", "1 000", "1.2.3G", "0", "1K", "٣M", "nan",
                                  "99999999999G", "B", "iB", "²"])
def test_wrong_sizes(text):
    with pytest.raises(ValueError, match="like 512M|than any host"):
        values.size(text)


@pytest.mark.parametrize("text, expected", [
    ("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("2d12h", 216000),
    ("00:01:30", 90), ("72:00:00", 259200), ("1-00:00:10", 86410),
])
def test_durations(text, expected):
    assert values.duration(text) == expected


@pytest.mark.parametrize("text", ["", "m", "1m1h", "1h30", "10:00", "1:60:00", "1:00:60", "-5", "1-10", "x", "1.5h",
                                  "0", "0m", "00:00:00", "1::1", "9" * 30, "9" * 14, "²", "-00:00:01"])
def test_wrong_durations(text):
    with pytest.raises(ValueError):
        values.duration(text)


def test_counts():
    assert values.count("2") == 2
    for text in ("0", "-1", "1.5", "", "two", "²"):
        with pytest.raises(ValueError, match="from 1 up"):
            values.count(text)


def test_names():
    assert values.name("node-1.example_x") == "node-1.example_x"
    for text in ("", "-x", ".x", "a b", "a/b", "ä", "x" * 65, "a\n"):
        with pytest.raises(ValueError, match="is not a name"):
            values.name(text)


@pytest.mark.parametrize("text, expected", [
    ("/data", (b"/data", b"/data", False)),
    ("/data:/mnt", (b"/data", b"/mnt", False)),
    ("/data:/mnt:ro", (b"/data", b"/mnt", True)),
    ("/data:/mnt:rw", (b"/data", b"/mnt", False)),
    ("/data::ro", (b"/data", b"/data", True)),
    ("/a/../data/:/x//y/./z/..", (b"/data", b"/x/y", False)),
    ("/data://mnt", (b"/data", b"/mnt", False)),
])
def test_binds(text, expected):
    assert values.bind(text) == expected


def test_a_relative_host_side_is_taken_from_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert values.bind("data:/mnt")[0] == bytes(tmp_path / "data")


@pytest.mark.parametrize("text", ["", ":", ":/mnt", "/data:mnt", "/data:ro", "/data:/mnt:wo", "/data:/mnt:ro:x",
                                  "/data:/mnt:"])
def test_wrong_binds(text):
    with pytest.raises(ValueError):
        values.bind(text)


@pytest.mark.parametrize("text, expected", [
    ("A=1", (b"A", b"1")), ("A=", (b"A", b"")), ("A=b=c", (b"A", b"b=c")), ("A", (b"A", None)),
    ("Ä=\udcff", (b"\xc3\x84", b"\xff")),
])
def test_assignments(text, expected):
    assert values.assignment(text) == expected


def test_an_assignment_needs_a_name():
    with pytest.raises(ValueError, match="NAME=VALUE"):
        values.assignment("=1")


@given(st.text())
def test_any_text_is_converted_or_refused(text):
    for convert in (values.size, values.duration, values.count, values.name, values.bind, values.absolute,
                    values.assignment, values.path):
        try:
            convert(text)
        except ValueError:
            pass
