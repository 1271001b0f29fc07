"""Writing images: every format gives back the same tree, other programs accept what is written."""

import os
import resource
import shutil
import stat
import subprocess
import tarfile
import time

import pytest

from apppot.errors import AppPotError
from apppot.image import acl
from apppot.image.cow import Cow
from apppot.image.progress import Progress
from apppot.making import formats, output
from apppot.making.source import Source
from tests.image import oci, tars
from tests.image.images import tool
from tests.image.opened import SEEN, TREE, links_are_777, seen
from tests.image.tars import member, tar

pytestmark = pytest.mark.usefixtures("cache")

EPOCH = 1_500_000_000
NAMES = {"tar": "a.tar", "tar.gz": "a.tar.gz", "tar.xz": "a.tar.xz", "oci": "a.oci.tar", "squashfs": "a.squashfs",
         "ext4": "a.img"}
TOOLS = {"squashfs": "mksquashfs", "ext4": "mke2fs"}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.tar"
    path.write_bytes(tar(*TREE, member("long/" + "n" * 200, data=b"long"), ("big", bytes(70_000) + b"end"),
                         member("a link", "symlink", target="/abs/" + "t" * 150)))
    return path


@pytest.fixture
def write(image, monkeypatch):
    """write(format, path) writes the image."""
    def run(format, path, source=image, **more):
        if format in TOOLS:
            tool(TOOLS[format])
        with Source.open(os.fsencode(source)) as opened:
            return formats.write(opened, path, format, **more)
    return run


@pytest.mark.parametrize("format", NAMES)
def test_every_format_keeps_everything(format, image, write, tmp_path):
    assert formats.by_name(os.fsencode(NAMES[format])) == format
    write(format, tmp_path / NAMES[format])
    wanted = links_are_777(seen(image))
    if format == "ext4":
        wanted.pop("run/pipe"), wanted.pop("run")       # told below
    found = links_are_777(seen(tmp_path / NAMES[format]))
    if format == "ext4":
        found.pop("run/pipe"), found.pop("run")
    assert found == wanted


@pytest.mark.parametrize("format", NAMES)
def test_the_same_tree_gives_the_same_bytes(format, write, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    write(format, tmp_path / "one")
    (tmp_path / "cache").rename(tmp_path / "old cache")
    time.sleep(1.1)                                     # st_ctime of what is made again, in seconds, is another then
    write(format, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_no_time_is_newer_than_the_epoch(write, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    write("tar", tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert {info.mtime for info in archive} == {EPOCH}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(AppPotError, match="SOURCE_DATE_EPOCH"):
        write("tar", tmp_path / "b.tar")


ACL = acl.pack([(acl.USER_OBJ, 6, 0), (acl.USER, 4, 1234), (acl.GROUP_OBJ, 4, 0), (acl.GROUP, 6, 42), (acl.MASK, 4, 0),
                (acl.OTHER, 4, 0)])
ATTRIBUTES = {"etc": {acl.DEFAULT: ACL, "user.empty": b""},
              "bin/su": {acl.ACCESS: ACL, "trusted.a": b"\0\xff\n", "security.capability": b"\1\0\0\2\0\x20\0\0" + bytes(12)}}


def attributes(path):
    with Source.open(os.fsencode(path)) as source:
        found = {os.fsdecode(entry.path): source.xattrs(entry) for entry in source.entries()}
    return {name: values for name, values in found.items() if values}


@pytest.mark.parametrize("format", NAMES)
def test_attributes_go_through_every_format(format, write, tmp_path, cache, extended_attributes):
    image = tmp_path / "attributes.tar"
    image.write_bytes(tar(member("etc", "dir", xattrs=ATTRIBUTES["etc"]),
                          member("bin/su", data=b"su", mode=0o644, xattrs=ATTRIBUTES["bin/su"])))
    assert attributes(image) == ATTRIBUTES
    lines = write(format, tmp_path / NAMES[format], image)
    wanted = ATTRIBUTES
    if format == "squashfs":
        assert lines == ["2 access control lists were left out: squashfs has none"]
        wanted = {name: {key: value for key, value in values.items() if key not in acl.NAMES}
                  for name, values in ATTRIBUTES.items()}
    else:
        assert lines == []
    assert attributes(tmp_path / NAMES[format]) == wanted


class Counted(Progress):
    def __init__(self):
        self.done, self.totals = 0, []

    def expect(self, total):
        self.totals.append(total)

    def advance(self, amount):
        assert amount > 0
        self.done += amount


@pytest.mark.parametrize("format", TOOLS)
def test_what_tools_write_is_counted(format, write, tmp_path):
    progress = Counted()
    image = tmp_path / "large.tar"
    image.write_bytes(tar(*((f"file{number}", os.urandom(1 << 20)) for number in range(30))))
    write(format, tmp_path / NAMES[format], image, progress=progress)
    assert progress.totals and 0 <= progress.done <= progress.totals[-1]
    if format == "squashfs":
        assert progress.done == progress.totals[-1]


def test_a_directory(write, tmp_path):
    lines = write("directory", tmp_path / "tree")
    top = tmp_path / "tree"
    assert (top / "etc/hostname").read_text() == "image\n" and os.readlink(top / "lib") == "usr/lib"
    assert os.path.samefile(top / "bin/su", top / "bin/same") and (top / "big").stat().st_size == 70_003
    assert stat.S_IMODE((top / "etc").stat().st_mode) == 0o750 and (top / "etc/hostname").stat().st_mtime == 1_600_000_000
    if os.getuid():
        assert not (top / "dev/null").exists() and stat.S_IMODE((top / "bin/su").stat().st_mode) == 0o755
        assert [line for line in lines if "2 device nodes" in line] and [line for line in lines if "set-user-id" in line]
    with pytest.raises(AppPotError, match="exists"):
        write("directory", top)


def test_what_is_there_stays_until_the_new_is_whole(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError), output.whole(target) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        assert target.read_text() == "old"
        raise RuntimeError
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["file"]
    with output.whole(target) as temporary, open(temporary, "w") as file:
        file.write("new")
    assert target.read_text() == "new"
    with pytest.raises(AppPotError, match="no such directory"), output.whole(tmp_path / "no" / "file"):
        pass


def test_a_file_that_grows_too_large(write, image, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "to").mkdir()
    write("tar", tmp_path / "once.tar")               # so that nothing is to be unpacked
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(AppPotError, match=r"to/a.tar: larger than a file may be here; see ulimit -f"):
            write("tar", tmp_path / "to" / "a.tar")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path / "to") == []


@pytest.mark.parametrize("format, package", [("squashfs", "squashfs-tools"), ("ext4", "e2fsprogs")])
def test_a_missing_tool_is_named_with_its_package(image, tmp_path, monkeypatch, format, package):
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with Source.open(os.fsencode(image)) as source, pytest.raises(AppPotError, match=f"apt-get install {package}"):
        formats.write(source, tmp_path / "new", format)
    assert not (tmp_path / "new").exists()


def test_the_size_of_an_ext4_image(write, tmp_path):
    write("ext4", tmp_path / "a.img", size=100 << 20)
    assert (tmp_path / "a.img").stat().st_size == 100 << 20
    with pytest.raises(AppPotError, match="--size"):
        write("ext4", tmp_path / "a.img", size=1 << 20)


def test_e2fsck_finds_nothing(write, tmp_path):
    write("ext4", tmp_path / "a.img")
    done = subprocess.run([tool("e2fsck"), "-fn", tmp_path / "a.img"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# A COW over it

def test_a_cow_over_an_image(image, tmp_path):
    with Cow.open(tmp_path / "cow") as cow:
        upper = os.fsdecode(cow.upper)
        os.makedirs(upper + "/etc")
        os.makedirs(upper + "/opt")
        for name in ("etc/.wh.hostname", "etc/new", "opt/mine"):
            with open(f"{upper}/{name}", "w") as file:
                file.write(name)
        with open(cow.ownership_log, "w") as file:
            file.write("set 0 0 750 -1 etc\nset 12 34 4711 -1 etc/new\n")
    with Source.open(os.fsencode(image), tmp_path / "cow") as source:
        formats.write(source, tmp_path / "new.tar", "tar")
    found = seen(tmp_path / "new.tar")
    assert "etc/hostname" not in found and found["etc/shadow"] == SEEN["etc/shadow"]
    assert found["etc/new"] == ("0o104711", 12, 34, b"etc/new") and found["etc"][:3] == ("0o40750", 0, 0)
    assert found["opt/mine"][1:] == (0, 0, b"opt/mine")


# Other programs

@pytest.fixture
def archive(image, tmp_path):
    """An OCI archive of an image with a configuration."""
    oci.Layout(tmp_path / "first", image.read_bytes(), config={"Env": ["A=b"], "Cmd": ["/bin/true"], "User": "5"})
    with Source.open(os.fsencode(tmp_path / "first")) as source:
        formats.write(source, tmp_path / "new.oci.tar", "oci")
    return tmp_path / "new.oci.tar"


def call(*words, cwd):
    done = subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_skopeo_takes_our_archive(archive, tmp_path):
    import json
    skopeo = tool("skopeo")
    told = json.loads(call(skopeo, "inspect", "--config", "oci-archive:new.oci.tar", cwd=tmp_path))
    assert told["config"] == {"Env": ["A=b"], "Cmd": ["/bin/true"], "User": "5"} and told["os"] == "linux"
    call(skopeo, "--insecure-policy", "copy", "oci-archive:new.oci.tar", "docker-archive:docker.tar:a:b", cwd=tmp_path)
    assert links_are_777(seen(tmp_path / "docker.tar")) == links_are_777(seen(archive))


def test_umoci_unpacks_our_archive(archive, tmp_path):
    umoci = tool("umoci")
    (tmp_path / "layout").mkdir()
    call("tar", "-xf", archive, cwd=tmp_path / "layout")
    call(umoci, "unpack", "--rootless", "--image", "layout:latest", "bundle", cwd=tmp_path)
    top = tmp_path / "bundle" / "rootfs"
    assert (top / "etc/hostname").read_text() == "image\n" and os.path.samefile(top / "bin/su", top / "bin/same")
    assert os.readlink(top / "lib") == "usr/lib"


def test_umoci_writes_what_we_read(tmp_path):
    umoci = tool("umoci")
    image = ["--image", "layout:latest"]
    call(umoci, "init", "--layout", "layout", cwd=tmp_path)
    call(umoci, "new", *image, cwd=tmp_path)
    call(umoci, "unpack", "--rootless", *image, "one", cwd=tmp_path)
    (tmp_path / "one/rootfs/etc").mkdir()
    (tmp_path / "one/rootfs/etc/gone").write_text("1")
    (tmp_path / "one/rootfs/etc/kept").write_text("2")
    call(umoci, "repack", *image, "one", cwd=tmp_path)
    call(umoci, "unpack", "--rootless", *image, "two", cwd=tmp_path)
    (tmp_path / "two/rootfs/etc/gone").unlink()
    call(umoci, "repack", *image, "two", cwd=tmp_path)
    call(umoci, "config", *image, "--config.user", "7", "--config.env", "X=y", cwd=tmp_path)
    assert {name for name in seen(tmp_path / "layout")} == {"", "etc", "etc/kept"}


# A kernel of its own

AUTORUN = b"#!/bin/sh\necho \"$(id -un) in $(pwd)\"\necho done >result\nexit 7\n"


def test_user_mode_linux_boots_to_the_autorun(write, tmp_path):
    kernel, busybox = tool("linux.uml"), shutil.which("busybox")
    assert busybox, "busybox-static is missing"
    names = "sh mount mkdir cat sed mv grep chown find su setpriv sync poweroff sleep id".split()
    (tmp_path / "small.tar").write_bytes(tars.tar(
        ("bin/busybox", b""), *(member(f"bin/{name}", "symlink", target="busybox") for name in names),
        member("home/user/apppot-autorun", data=AUTORUN, mode=0o755), member("proc", "dir"),
        member("bin/busybox", data=open(busybox, "rb").read(), mode=0o755)))
    job = tmp_path / "job"
    job.mkdir()
    write("ext4", tmp_path / "boot.img", tmp_path / "small.tar", boot=True)
    assert b"sbin/init" in b" ".join(os.fsencode(name) for name in seen(tmp_path / "boot.img"))
    done = subprocess.run(
        [kernel, f"ubd0={tmp_path}/boot.img", "root=/dev/ubda", "rw", "mem=128M", "con=null", "con0=null,fd:1", "panic=-1",
         f"apppot.jobdir={job}", f"apppot.uid={os.getuid()}", f"apppot.gid={os.getgid()}", f"uml_dir={tmp_path}/uml"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, cwd=tmp_path)
    who = "user" if os.getuid() else "root"
    assert f"{who} in /home/user/job" in done.stdout and "apppot: exit status 7" in done.stdout, done.stdout
    assert (job / "result").read_text() == "done\n" and (job / "result").stat().st_uid == os.getuid()


def test_an_image_without_a_shell_is_not_bootable(write, image, tmp_path):
    with pytest.raises(AppPotError, match="no /bin/sh"):
        write("ext4", tmp_path / "a.img", boot=True)
    assert not (tmp_path / "a.img").exists()
