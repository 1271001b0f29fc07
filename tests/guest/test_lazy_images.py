"""Machines started from single-file images, as users start them."""

import os
import shutil
import subprocess

import pytest

from tests.image import images

LIBRARIES = ("usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
             "usr/lib/x86_64-linux-gnu/libc.so.6")


@pytest.fixture(scope="module")
def tree(debian_tree, tmp_path_factory):
    """busybox, dash with its library, a set-uid program, and a few files."""
    top = tmp_path_factory.mktemp("tree") / "tree"
    for name in ("usr/bin", "usr/lib/x86_64-linux-gnu", "usr/lib64", "etc", "data/deep"):
        (top / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        os.symlink("usr/" + name, top / name)
    shutil.copy(debian_tree / "usr/bin/dash", top / "usr/bin/sh")
    for name in LIBRARIES:
        if os.path.lexists(debian_tree / name):
            shutil.copy(debian_tree / name, top / name, follow_symlinks=False)
    shutil.copy(debian_tree / "usr/bin/busybox", top / "usr/bin/busybox")
    for name in ("cat", "ls", "stat", "id", "find", "sha256sum", "cp", "rm", "mv", "chmod", "wc", "touch", "su"):
        os.link(top / "usr/bin/busybox", top / "usr/bin" / name)
    (top / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\n")
    (top / "etc/group").write_text("root:x:0:\n")
    (top / "etc/secret").write_text("hidden\n")
    for number in range(50):
        (top / "data/deep" / str(number)).write_text(f"{number}\n" * number)
    (top / "data/big").write_bytes(os.urandom(3_000_000))
    (top / "data/script").write_text("#!/bin/sh\necho script $1\n")
    (top / "data/script").chmod(0o755)
    return top


def squashfs(tree, image):
    images.call(images.tool("mksquashfs"), tree, image, "-noappend", "-no-progress", "-all-root", "-p",
                "etc/secret m 600 0 0")
    return image


def ext4(tree, image):
    images.call(images.tool("mke2fs"), "-q", "-t", "ext4", "-d", tree, image, "32M")
    lines = [f"sif {name} {field} 0" for name in ("etc/secret", "data", "data/big") for field in ("uid", "gid")]
    images.debugfs(image, *lines, "sif etc/secret mode 0100600")
    return image


@pytest.fixture(scope="module", params=["squashfs", "ext4", "disk", "sif", "uml-cow"])
def image(request, tree, tmp_path_factory):
    """(words for --image)"""
    place = tmp_path_factory.mktemp(request.param)
    if request.param in ("squashfs", "sif"):
        made = squashfs(tree, place / "image")
        return images.sif(made, place / "image.sif") if request.param == "sif" else made
    made = ext4(tree, place / "image")
    if request.param == "disk":
        return images.partitioned([("7", None), ("83", made)], place / "disk")
    if request.param == "uml-cow":
        return f"{images.uml_cow(made, place / 'cow', {})}:{made}"
    return made


@pytest.fixture
def cached(tmp_path):
    return {"APPPOT_CACHE": str(tmp_path / "cache")}


def test_programs_and_files(run_guest, image, tree, cached):
    script = "/data/script x; cat /data/deep/7; find /data | wc -l; sha256sum /data/big; stat -c '%u %a %s' /data/big"
    for _ in range(2):
        done = run_guest("sh", "-c", script, image=image, env=cached, check=True)
        digest = subprocess.run(["sha256sum", tree / "data/big"], capture_output=True, text=True, check=True).stdout[:64]
        assert done.stdout.split("\n")[:-1] == ["script x", *["7"] * 7, "54", f"{digest}  /data/big", "0 644 3000000"]
        assert done.stderr == ""


def test_looking_first_and_reading_later(run_guest, image, cached):
    """What the stub remembers of a file that was looked at must not be a hole's."""
    script = """
        i=0; while [ $i -lt 20 ]; do [ -e /data/deep/12 ] && [ -r /data/../data/deep/12 ] || echo missing; i=$((i+1)); done
        read a </data/deep/12; echo $a; stat -c %s /data/deep/13 /data/deep/13; cat /data/deep/13 | wc -l
        for n in 20 21 22 23 24; do [ -s /data/deep/$n ] && [ -f /data/deep/$n ] && cat /data/deep/$n; done | wc -l"""
    done = run_guest("sh", "-c", script, image=image, env=cached, check=True)
    assert done.stdout == "12\n39\n39\n13\n110\n"


def test_owners_hold(run_guest, image, cached):
    script = "cat /etc/secret || echo refused; touch /data/new 2>/dev/null || echo refused; id -u"
    user = str(os.getuid())
    expected = "hidden\n0\n" if user == "0" else f"refused\nrefused\n{user}\n"
    assert run_guest("sh", "-c", script, image=image, env=cached).stdout == expected
    done = run_guest("sh", "-c", "cat /etc/secret; touch /data/new; stat -c %u /data/new /etc/secret", image=image,
                     env=cached, options=["--root"], check=True)
    assert done.stdout == "hidden\n0\n0\n"


def test_changes_are_kept_beside_it(run_guest, image, cached, tmp_path):
    if ":" in str(image):
        options = ["--cow", tmp_path / "changes"]
    else:
        image, options = f"{tmp_path / 'changes'}:{image}", []
    done = run_guest("sh", "-c", "mv /data/deep /data/moved; echo more >>/data/moved/3; chmod 700 /data/big; rm /data/script; "
                     "cat /data/moved/3", image=image, options=["--root", *options], env=cached, check=True)
    assert done.stdout == "3\n3\n3\nmore\n"
    done = run_guest("sh", "-c", "cat /data/moved/3; stat -c '%u %a' /data/big; ls /data", image=image,
                     options=["--root", *options], env=cached, check=True)
    assert done.stdout == "3\n3\n3\nmore\n0 700\nbig\nmoved\n"


def test_many_machines_on_a_cold_cache(start_guest, image, cached):
    machines = [start_guest("sh", "-c", "cat /data/deep/49 | wc -l; sha256sum </data/big | wc -c", image=image, env=cached)
                for _ in range(12)]
    for machine in machines:
        out, err = machine.communicate(timeout=120)
        assert (machine.returncode, out, err) == (0, "49\n68\n", "")


def test_a_cache_without_space_for_it(run_guest, tmp_path, image):
    (tmp_path / "file").write_text("")
    done = run_guest("sh", "-c", "true", image=image, env={"APPPOT_CACHE": str(tmp_path / "file" / "cache")})
    assert done.returncode == 125
    assert "APPPOT_CACHE" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_truncated_image(run_guest, tmp_path, tree, cached):
    for make in (squashfs, ext4):
        made = make(tree, tmp_path / "image")
        os.truncate(made, os.path.getsize(made) * 2 // 3)
        done = run_guest("sh", "-c", "true", image=made, env=cached)
        assert done.returncode == 125
        assert "is damaged: it is cut short" in done.stderr and len(done.stderr.splitlines()) == 1
