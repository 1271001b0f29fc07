"""An archive of changes is a layer of an OCI image: other programs put it over the image as AppPot does."""

import gzip
import os
import stat
import subprocess

from tests.image import oci
from tests.image.images import tool
from tests.snap.test_round_trip import modify


def unpacked(top):
    """{guest path: (type and mode, content of a file or symlink)}"""
    found = {}
    for directory, names, files in os.walk(os.fsencode(top)):
        for name in names + files:
            path = directory + b"/" + name
            st = os.lstat(path)
            content = None
            if stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(st.st_mode):
                os.chmod(path, stat.S_IMODE(st.st_mode) | 0o400)
                with open(path, "rb") as file:
                    content = file.read()
                os.chmod(path, stat.S_IMODE(st.st_mode))
            found[path[len(os.fsencode(top)):]] = kind_and_mode(st.st_mode), content
    return found


def kind_and_mode(mode):
    return oct(mode if not stat.S_ISLNK(mode) else stat.S_IFMT(mode))


def expected(machine):
    """The same of a Machine."""
    found = {}
    for path, shown in machine.tree().items():
        mode = int(shown[0], 8)
        content = shown[-2] if stat.S_ISREG(mode) else shown[-1] if stat.S_ISLNK(mode) else None
        found[path] = kind_and_mode(mode), content
    return found


def test_umoci_unpacks_it_over_its_image(machine, image, tmp_path):
    umoci = tool("umoci")
    one = machine()
    modify(one)
    with gzip.open(one.changes()) as file:
        changes = file.read()
    base = subprocess.run(["tar", "-C", image, "-c", "."], check=True, capture_output=True).stdout
    oci.Layout(tmp_path / "layout", base, changes)
    done = subprocess.run([umoci, "unpack", "--rootless", "--image", "layout:latest", "bundle"], cwd=tmp_path,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    found, wanted = unpacked(tmp_path / "bundle" / "rootfs"), expected(one)
    for name in (b"/var", b"/var/lib", b"/var/lib/apppot", b"/var/lib/apppot/changes.json"):
        found.pop(name)
    wanted.pop(b"/")
    for facts in found, wanted:
        facts.pop(b"/etc/dir/null")                  # a device, which an ordinary user can't make
    assert {name for name in found} == {name for name in wanted}
    assert found == wanted
    assert os.path.samefile(tmp_path / "bundle/rootfs/etc/dir/one", tmp_path / "bundle/rootfs/empty/three")
