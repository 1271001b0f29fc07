"""OCI layouts, docker archives and root tars: read once into the cache, shared, atomic, with their true owners."""

import bz2
import gzip
import io
import json
import lzma
import os
import signal
import stat
import subprocess
import sys
import tarfile

import pytest

from apppot.errors import AppPotError
from apppot.image import compression, importing, store, tarstream, verifying, workplace
from apppot.image.opening import open_image
from apppot.making.source import Source
from tests.image import oci
from tests.image.tars import END, member, raw, tar

NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    path = tmp_path / "cache"
    monkeypatch.setenv("APPPOT_CACHE", str(path))
    return path


@pytest.fixture
def image(tmp_path):
    """image(archive bytes) -> path of a file."""
    def write(data, name="image.tar"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name
    return write


def seen(path):
    """{name: (type and mode, uid, gid, what is in it)} of a whole image, as virtual root sees it."""
    found = {}
    with Source.open(os.fsencode(path)) as source:
        for entry in source.entries():
            st = entry.st
            content = None
            if stat.S_ISREG(entry.kind):
                with source.content(entry) as file:
                    content = file.read()
            elif stat.S_ISLNK(entry.kind):
                content = source.target(entry)
            elif entry.kind in (stat.S_IFCHR, stat.S_IFBLK):
                content = (os.major(st.st_rdev), os.minor(st.st_rdev))
            found[os.fsdecode(entry.path)] = (oct(entry.kind | stat.S_IMODE(st.st_mode)), st.st_uid, st.st_gid, content)
    return found


def refused(path, *parts):
    with pytest.raises(AppPotError) as error:
        open_image(os.fsencode(path))
    for part in (str(path), *parts):
        assert part in error.value.message
    assert "\n" not in error.value.message


def nothing_is_left(cache):
    """No layer, no image, nothing half-made."""
    assert not list(cache.glob("layers/*")) and not list(cache.glob("images/*"))
    assert list(cache.glob("staging/*")) == []


TREE = (member("./", "dir", mode=0o755), member("./etc/", "dir", mode=0o750, gid=4), ("etc/hostname", b"image\n"),
        member("etc/shadow", data=b"x", mode=0o000, gid=42), member("bin/su", data=b"su", mode=0o4755),
        member("bin/same", "link", target="bin/su"), member("lib", "symlink", target="usr/lib"),
        member("dev/null", "char", mode=0o666, dev=(1, 3)), member("dev/sda", "block", mode=0o660, gid=6, dev=(8, 0)),
        member("run/pipe", "fifo"), member("srv/" + NOT_UTF8, data=b"1"), member("srv/new\nline", data=b"2"),
        member("tmp", "dir", mode=0o1777), member("home/me", data=b"mine", uid=1234, gid=5678))
SEEN = {"": ("0o40755", 0, 0, None), "etc": ("0o40750", 0, 4, None), "etc/hostname": ("0o100644", 0, 0, b"image\n"),
        "etc/shadow": ("0o100000", 0, 42, b"x"), "bin": ("0o40755", 0, 0, None), "bin/su": ("0o104755", 0, 0, b"su"),
        "bin/same": ("0o104755", 0, 0, b"su"), "lib": ("0o120777", 0, 0, b"usr/lib"), "dev": ("0o40755", 0, 0, None),
        "dev/null": ("0o20666", 0, 0, (1, 3)), "dev/sda": ("0o60660", 0, 6, (8, 0)), "run": ("0o40755", 0, 0, None),
        "run/pipe": ("0o10644", 0, 0, None), "srv": ("0o40755", 0, 0, None), "srv/" + NOT_UTF8: ("0o100644", 0, 0, b"1"),
        "srv/new\nline": ("0o100644", 0, 0, b"2"), "tmp": ("0o41777", 0, 0, None), "home": ("0o40755", 0, 0, None),
        "home/me": ("0o100644", 1234, 5678, b"mine")}


# What is read

def links_are_777(found):
    return {name: ("0o120777", *facts[1:]) if facts[0].startswith("0o12") else facts for name, facts in found.items()}


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_a_root_tar(image, compress):
    path = image(compress(tar(*TREE)))
    assert links_are_777(seen(path)) == SEEN
    with open_image(os.fsencode(path)) as again:
        assert again.format == "tar" and again.config is None


def test_a_root_tar_with_zstd(image):
    zstandard = pytest.importorskip("zstandard")
    assert links_are_777(seen(image(zstandard.compress(tar(*TREE))))) == SEEN


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_streams_of_several_parts(compress):
    data = compress(b"one ") + compress(b"two") + bytes(512)
    assert compression.reader(io.BytesIO(data), "it").read() == b"one two"
    with pytest.raises(compression.errors()):
        compression.reader(io.BytesIO(compress(b"one" * 1000)[:-9]), "it").read()


def test_sparse_files_and_hard_links_stay(image, tmp_path):
    (tmp_path / "sparse").write_bytes(b"")
    os.truncate(tmp_path / "sparse", 50 << 20)
    with open(tmp_path / "sparse", "r+b") as file:
        file.seek(20 << 20)
        file.write(b"in the middle")
    for format in ("gnu", "posix"):
        subprocess.run(["tar", "-c", "--sparse", f"--format={format}", "-f", f"{format}.tar", "sparse"], cwd=tmp_path, check=True)
        with open_image(os.fsencode(tmp_path / f"{format}.tar")) as opened:
            st = os.stat(opened.layers[0].host + b"/sparse")
            assert st.st_size == 50 << 20 and st.st_blocks * 512 < 1 << 20
            assert (tmp_path / "sparse").read_bytes() == open(opened.layers[0].host + b"/sparse", "rb").read()


def test_times_and_attributes(image):
    path = image(tar(member("a", data=b"a", pax={"mtime": "1234567890.123456789"}),
                     member("d", "dir", mtime=1000), ("d/below", b""), member("pipe", "fifo", mtime=2000),
                     member("ping", data=b"", xattrs={"security.capability": b"\1\0\0\2\0\x20\0\0" + bytes(12),
                                                      "user.note": b"\xff\0"})))
    with Source.open(os.fsencode(path)) as source:
        entries = {entry.path: entry for entry in source.entries()}
        assert entries[b"a"].st.st_mtime_ns == 1234567890_123456789
        assert entries[b"d"].st.st_mtime_ns == 1000 * 10**9
        assert entries[b"pipe"].st.st_mtime_ns == 2000 * 10**9
        found = source.xattrs(entries[b"ping"])
    if found:       # the cache's file system may have none
        assert found == {"security.capability": b"\1\0\0\2\0\x20\0\0" + bytes(12), "user.note": b"\xff\0"}


LOW = tar(*TREE, ("etc/gone", b"1"), ("opt/a/x", b"1"), ("opt/b", b"1"))
HIGH = tar(("etc/.wh.gone", b""), ("opt/a/.wh..wh..opq", b""), ("opt/a/y", b"2"), member("opt/.wh.b", data=b""),
           member("etc/hostname", data=b"high\n", uid=7), member("tmp", "dir", mode=0o700, uid=9))
UNION = {name: facts for name, facts in SEEN.items()} | {
    "opt": ("0o40755", 0, 0, None), "opt/a": ("0o40755", 0, 0, None), "opt/a/y": ("0o100644", 0, 0, b"2"),
    "etc": ("0o40755", 0, 0, None), "etc/hostname": ("0o100644", 7, 0, b"high\n"), "tmp": ("0o40700", 9, 0, None)}


def test_an_oci_layout_and_its_archive(tmp_path, image, cache):
    layout = oci.Layout(tmp_path / "layout", LOW, HIGH)
    assert links_are_777(seen(layout.path)) == UNION
    subprocess.run(["tar", "-cf", "../archive.tar", "."], cwd=layout.path, check=True)
    subprocess.run(["tar", "-czf", "../archive.tgz", "."], cwd=layout.path, check=True)
    for name in ("archive.tar", "archive.tgz"):
        assert links_are_777(seen(tmp_path / name)) == UNION
    assert len(list(cache.glob("layers/*"))) == 2        # shared by all three


def test_a_docker_archive(image, cache):
    path = image(oci.docker(LOW, HIGH, config={"Env": ["A=b=c", "PATH=/x"], "WorkingDir": "srv/../opt", "User": "7:8",
                                               "Entrypoint": ["/bin/su", "-"], "Cmd": ["x"]}))
    assert links_are_777(seen(path)) == UNION
    with open_image(os.fsencode(path)) as opened:
        config = opened.config
        assert opened.format == "docker"
    assert config.env == {b"A": b"b=c", b"PATH": b"/x"} and config.workdir == b"/opt" and config.user == "7:8"
    assert (config.entrypoint, config.command) == ([b"/bin/su", b"-"], [b"x"])


def test_layers_are_unpacked_once(tmp_path, monkeypatch):
    calls = []
    unpack = importing.unpack.unpack
    monkeypatch.setattr(importing.unpack, "unpack", lambda *words: calls.append(words) or unpack(*words))
    one = oci.Layout(tmp_path / "one", LOW)
    two = oci.Layout(tmp_path / "two", LOW, HIGH, compress=None)
    for path in (one.path, two.path, one.path, two.path):
        open_image(os.fsencode(path)).close()
    assert len(calls) == 2


def test_a_file_that_is_written_anew_is_read_anew(image):
    assert seen(image(tar(("a", b"1"))))["a"][3] == b"1"
    assert seen(image(tar(("a", b"2"))))["a"][3] == b"2"


def test_a_copied_cache_still_knows_the_owners(image, cache, tmp_path, monkeypatch):
    path = image(tar(*TREE))
    seen(path)
    subprocess.run(["cp", "-a", cache, tmp_path / "copy"], check=True)
    monkeypatch.setenv("APPPOT_CACHE", str(tmp_path / "copy"))
    assert links_are_777(seen(path)) == SEEN


def test_platforms(tmp_path):
    layout = oci.Layout(tmp_path / "one", LOW, platform=("linux", "arm64"))
    refused(layout.path, "linux/amd64", "linux/arm64")
    layout.add(tar(("right", b"")))
    assert "right" in seen(layout.path)
    layout.add(tar(("other", b"")), tag="other")
    refused(layout.path, "several images", "latest", "other")


def test_an_index_in_an_index(tmp_path):
    layout = oci.Layout(tmp_path / "one", LOW, platform=("linux", "s390x"))
    layout.add(tar(("right", b"")))
    described = layout.blob(json.dumps({"schemaVersion": 2, "manifests": layout.manifests}).encode(), "index.v1+json")
    layout.manifests = [described]
    layout.write_index()
    assert "right" in seen(layout.path)


# What is wrong with it

def test_a_wrong_digest(tmp_path, cache):
    layout = oci.Layout(tmp_path / "layout", LOW)
    layout.layer_file(LOW).write_bytes(oci.pack(HIGH))
    refused(layout.path, "damaged", "bytes instead of")
    layout.layer_file(LOW).write_bytes(oci.pack(LOW)[:-1] + b"!")
    refused(layout.path, "damaged")
    nothing_is_left(cache)


@pytest.mark.parametrize("size", [0, 5, 5 << 40, -1, "5", True, 5.0, None])
@pytest.mark.parametrize("what", ["manifest", "config", "layer", "index"])
def test_a_wrong_size_in_a_descriptor(tmp_path, cache, what, size):
    """Of everything that a descriptor names; one that says no size is found by its digest alone."""
    layout = oci.Layout(tmp_path / "layout", LOW)
    described = layout.manifests[0]
    inner = json.loads((layout.path / "blobs/sha256" / described["digest"][7:]).read_text())
    if what == "manifest":
        described["size"] = size
    elif what == "index":
        layout.manifests = [{**layout.blob(json.dumps({"manifests": layout.manifests}).encode(), "index.v1+json"), "size": size}]
    else:
        (inner["config"] if what == "config" else inner["layers"][0])["size"] = size
        layout.manifests = [{**described, **layout.blob(json.dumps(inner).encode(), "manifest.v1+json")}]
    layout.write_index()
    if size is None:
        assert "etc/hostname" in seen(layout.path)
        return
    refused(layout.path, "damaged", f"bytes instead of {size}" if type(size) is int and size >= 0 else f"{size!r} is no size")
    nothing_is_left(cache)


@pytest.mark.parametrize("config", [{"User": 5}, {"User": ["a"]}, {"User": "a\0b"}, {"WorkingDir": "/a\0b"}, {"WorkingDir": 5},
                                    {"Env": [5]}, {"Cmd": 5}, {"Cmd": ["a\0b"]}, {"Entrypoint": ["\ud800"]}])
def test_configurations_that_make_no_sense(tmp_path, image, cache, config):
    refused(oci.Layout(tmp_path / "layout", LOW, config=config).path, "damaged: its image description can't be understood")
    refused(image(oci.docker(LOW, config=config)), "damaged: its image description can't be understood")
    nothing_is_left(cache)


def test_a_wrong_layer_of_the_right_size(tmp_path, cache):
    layout = oci.Layout(tmp_path / "layout", LOW, compress=None)
    data = bytearray(LOW)
    at = LOW.index(b"image\n")
    data[at] ^= 1
    (tmp_path / "layout" / "blobs" / "sha256" / oci.digest(LOW)[7:]).write_bytes(data)
    refused(layout.path, "digest", "instead of")
    nothing_is_left(cache)


def test_missing_parts(tmp_path):
    layout = oci.Layout(tmp_path / "layout", LOW)
    layout.layer_file(LOW).unlink()
    refused(layout.path, "incomplete", "blobs/sha256/")
    (layout.path / "index.json").write_text("{")
    refused(layout.path, "damaged")
    (layout.path / "index.json").write_text("[1]")
    refused(layout.path, "damaged")


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_cut_short_anywhere(image, cache, compress):
    data = compress(tar(*TREE, ("big", os.urandom(100_000))))
    for size in (600, 1000, len(data) // 2, len(data) * 9 // 10):
        if compress is bytes and size % 512 == 0:
            size += 100
        refused(image(data[:size]), "damaged or incomplete")
    nothing_is_left(cache)


def test_a_damaged_header_is_no_end(image, cache):
    data = bytearray(tar(("a", b"1"), ("b", b"2")))
    data[1024 + 5] ^= 0xff
    refused(image(bytes(data)), "damaged")
    nothing_is_left(cache)


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


def test_later_members_replace_earlier_ones(image):
    found = seen(image(tar(("a", b"1"), member("kept", "link", target="a"), ("a", b"2"), ("d/e/f", b"1"), ("d", b"3"),
                           ("f", b"4"), member("f", "dir"), ("f/g", b"5"), member("s", "symlink", target="f"),
                           ("s", b"6"), member("x", "dir", mode=0o700), ("x/y", b"7"), member("x", "dir", mode=0o711),
                           member("l", "symlink", target="x"), member("l", "dir"), ("l/m", b"8"))))
    assert {name: facts[3] for name, facts in found.items()} == {
        "": None, "a": b"2", "kept": b"1", "d": b"3", "f": None, "f/g": b"5", "s": b"6", "x": None, "x/y": b"7",
        "l": None, "l/m": b"8"}
    assert found["x"][0] == "0o40711"


def test_odd_whiteouts(image, tmp_path):
    layout = oci.Layout(tmp_path / "layout", tar(("a", b"1"), ("b", b"2")),
                        tar((".wh.", b""), (".wh..", b""), (".wh...", b""), (".wh..wh.plnk/x", b""), (".wh..wh.aufs", b""),
                            member(".wh.a", "dir"), ("c", b"3")))
    assert set(seen(layout.path)) >= {"", "b", "c"}
    layout = oci.Layout(tmp_path / "all", tar(("a", b"1"), ("b", b"2")), tar((".wh..wh..opq", b""), ("c", b"3")))
    assert set(seen(layout.path)) == {"", "c"}


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
    import random
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


# At any moment

def test_killed_while_unpacking(image, cache):
    path = image(tar(*((f"d{n % 50}/f{n}", os.urandom(2000)) for n in range(5000))))
    code = ("import os,sys\nfrom apppot.image.opening import open_image\nfrom apppot.image import unpack\n"
            "real = unpack.Unpacker.add\ncount = 0\n"
            "def add(self, *words):\n    global count\n    count += 1\n    real(self, *words)\n"
            "    if count == 2500: print('half', flush=True); sys.stdin.read()\n"
            "unpack.Unpacker.add = add\nopen_image(os.fsencode(sys.argv[1]))\n")
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert not list(cache.glob("layers/*")) and len(list(cache.glob("staging/*/layer/tree/d0"))) == 1
    with open_image(os.fsencode(path)) as opened:
        assert opened.layers[0].about["files"] == 5000
    assert list(cache.glob("staging/*")) == []


def test_a_claim_passes_to_the_next(tmp_path):
    """Its file goes with it: who waited for the old one takes a new one, and only one has it at a time."""
    (tmp_path / "staging").mkdir()
    code = ("import os,sys,time\nfrom apppot.image.store import Claim\n"
            "path = os.fsencode(sys.argv[1])\n"
            "for _ in range(20):\n    claim = Claim(path + b'/x.lock')\n    assert claim.take(lambda: False)\n"
            "    os.close(os.open(path + b'/mine', os.O_CREAT | os.O_EXCL))\n    os.unlink(path + b'/mine')\n    claim.close()\n")
    started = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "staging"]) for _ in range(4)]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    assert os.listdir(tmp_path / "staging") == []
    claim = store.Claim(os.fsencode(tmp_path / "staging/x.lock"))
    assert not claim.take(lambda: True) and os.listdir(tmp_path / "staging") == []


def test_verifying_is_not_taken_for_a_dead_process(image, cache, monkeypatch):
    """Others clear the cache of what killed processes left, however long it takes."""
    path = image(tar(*TREE))
    open_image(os.fsencode(path)).close()
    real = verifying._differences

    def differences(true, cached):
        for left in (cache / "staging").iterdir():
            os.utime(left, (1000, 1000))
        workplace.remove_dead(os.fsencode(cache / "staging"))
        return real(true, cached)
    monkeypatch.setattr(verifying, "_differences", differences)
    assert verifying.verify(os.fsencode(path)) == []
    assert list(cache.glob("staging/*")) == []


def test_a_full_disk(image, cache, monkeypatch):
    path = image(tar(("a", bytes(10)), ("b", os.urandom(3 << 20))))
    code = ("import os,resource,signal,sys\nfrom apppot.image.opening import open_image\nfrom apppot.errors import AppPotError\n"
            "from apppot.image import unpack\nimport errno\n"
            "real = os.write\ndef write(fd, data):\n    if len(data) > 1000: raise OSError(errno.ENOSPC, 'No space left')\n"
            "    return real(fd, data)\nunpack.os.write = write\n"
            "try:\n    open_image(os.fsencode(sys.argv[1]))\nexcept AppPotError as error: print(error.message)\n")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert "no space left" in done.stdout and str(path) in done.stdout and "APPPOT_CACHE" in done.stdout
    nothing_is_left(cache)
    open_image(os.fsencode(path)).close()


def test_a_cache_that_cannot_be_written(image, tmp_path, monkeypatch):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "closed").mkdir(mode=0o500)
    monkeypatch.setenv("APPPOT_CACHE", str(tmp_path / "closed"))
    refused_path = image(tar(("a", b"")))
    with pytest.raises(AppPotError, match="APPPOT_CACHE"):
        open_image(os.fsencode(refused_path))


def test_many_starts_at_once_unpack_once(image, cache):
    path = image(tar(*((f"d{n % 50}/f{n}", b"x" * 2000) for n in range(3000))))
    code = ("import os,sys\nfrom apppot.image.opening import open_image\nfrom apppot.image import unpack\n"
            "real = unpack.unpack\ndef told(*words):\n    print('unpacks')\n    return real(*words)\nunpack.unpack = told\n"
            "with open_image(os.fsencode(sys.argv[1])) as image: print(image.layers[0].about['files'])\n")
    started = [subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) for _ in range(12)]
    said = [process.communicate()[0] for process in started]
    assert all("3000\n" in text for text in said) and sum("unpacks" in text for text in said) == 1


def test_a_layer_in_use_stays(image, cache):
    kept = store.Store()
    with open_image(os.fsencode(image(tar(("a", b""))))) as opened:
        with pytest.raises(BlockingIOError):
            kept.remove_layer(opened.layers[0].about["digest"])
    kept.remove_layer(opened.layers[0].about["digest"])
    nothing = list(cache.glob("layers/*"))
    assert nothing == []


def test_limits_of_times():
    info = tarfile.TarInfo("a")
    for text, wanted in (("-1", -10**9), ("1e400", 0), ("nan", 0), ("9" * 30, 0), ("12.5", 12_500_000_000)):
        info.pax_headers["mtime"] = text
        assert tarstream.mtime_ns(info) == wanted
