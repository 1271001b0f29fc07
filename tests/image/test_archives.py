"""OCI layouts, docker archives and root tars: read once into the cache, shared, atomic, with their true owners."""

import bz2
import gzip
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tarfile

import pytest
import zstandard

from apppot.errors import AppPotError
from apppot.image import compression, importing, store, tarstream, verifying, workplace
from apppot.image.opening import open_image
from apppot.making.source import Source
from tests.image import oci
from tests.image.opened import SEEN, TREE, links_are_777, nothing_is_left, refused, seen
from tests.image.tars import member, tar

pytestmark = pytest.mark.usefixtures("cache")


# What is read

@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_a_root_tar(image, compress):
    path = image(compress(tar(*TREE)))
    assert links_are_777(seen(path)) == SEEN
    with open_image(os.fsencode(path)) as again:
        assert again.format == "tar" and again.config is None


def test_a_root_tar_with_zstd(image):
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
