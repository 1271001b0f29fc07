"""apppot image: its examples, what it prints, what it refuses; and what apppot-start does with archives."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module

import pytest

from apppot.cli import image
from apppot.errors import AppPotError
from apppot.image.store import Store
from tests.conftest import ROOT
from tests.image import oci
from tests.image.tars import member, tar

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed")


@pytest.fixture(scope="session")
def root():
    """A root tar that can run something."""
    with open(BUSYBOX, "rb") as file:
        busybox = file.read()
    names = ("sh", "true", "touch", "cat", "id", "pwd", "env", "ls", "stat", "echo", "mkdir")
    return tar(member("bin/busybox", data=busybox, mode=0o755), *(member(f"bin/{name}", "symlink", target="busybox")
                                                                for name in names),
               ("etc/os-release", b'NAME=x\nPRETTY_NAME="Test 1.0"\n'),
               ("etc/passwd", b"root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n"),
               ("etc/group", b"www:x:35:\n"), member("etc/shadow", data=b"secret", mode=0o640, gid=42),
               member("home/user/notes", data=b"", uid=1000, gid=1000), member("srv", "dir", uid=33, gid=34, mode=0o700),
               member("opt/tool", data=b"#!/bin/sh\necho tool $* in $(pwd)\n", mode=0o755), member("tmp", "dir", mode=0o1777))


@pytest.fixture
def place(tmp_path, root):
    (tmp_path / "root.tar.gz").write_bytes(oci.pack(root))
    (tmp_path / "recipe.yaml").write_text("from: {tar: root.tar.gz}\nrun: [touch /etc/mine]\n")
    return tmp_path


@pytest.fixture
def run(command, place):
    """run("image", ...) or run("start", ...) with a cache of the test's own."""
    def call(name, *words, **settings):
        settings["env"] = {"APPPOT_CACHE": str(place / "cache")} | settings.get("env", {})
        if name == "image":
            return command("main", "image", *words, **settings)
        return command(name, *words, **settings)
    return call


def done(process):
    assert process.returncode == 0, process.stderr
    return process.stdout


def refused(process, status, *parts):
    assert process.returncode == status, process.stderr
    assert process.stderr.count("\n") == 1 and "Traceback" not in process.stderr
    for part in parts:
        assert part in process.stderr


@pytest.mark.parametrize("name", image.COMMANDS)
def test_examples(run, name):
    tools = {"convert": "mksquashfs"}
    if name in tools and shutil.which(tools[name], path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
        pytest.skip(f"{tools[name]} is not installed")
    text = done(run("image", name, "--help"))
    for line in import_module(image.COMMANDS[name][0]).main.examples:
        assert f"  {line}\n" in text
        program, *words = line.split()
        done(run("start", *words) if program == "apppot-start" else run("main", *words))


def test_import_under_a_name(run, place):
    assert done(run("image", "import", "root.tar.gz", "-o", "mine")) == "mine\n"
    (place / "root.tar.gz").unlink()
    assert done(run("start", "--image", "mine", "cat", "/etc/os-release")).startswith("NAME=x")
    assert "mine" in done(run("image", "list"))
    (place / "mine").mkdir()
    refused(run("start", "--image", "mine", "true"), 127, "true")       # a file of that name comes first
    (place / "mine").rmdir()
    done(run("image", "remove", "mine"))
    refused(run("start", "--image", "mine", "true"), 125, "mine")


def test_import_into_a_directory(run, place):
    assert done(run("image", "import", "root.tar.gz", "-o", "./tree")) == "./tree\n"
    assert (place / "tree/etc/os-release").exists()
    refused(run("image", "import", "-q", "root.tar.gz", "-o", "./tree"), 125, "tree exists")
    refused(run("image", "import", "root.tar.gz", "-o", "so so"), 2, "'so so'", "./so so")
    refused(run("image", "import", "tree"), 125, "a directory", "no import")


def test_progress(run, place):
    said = run("image", "import", "root.tar.gz").stderr
    assert "unpacking" in said and "root.tar.gz" in said and said.count("\n") == 1
    shutil.rmtree(place / "cache")
    assert run("image", "import", "-q", "root.tar.gz").stderr == ""
    shutil.rmtree(place / "cache")
    assert "unpacking" in run("start", "--image", "root.tar.gz", "true").stderr
    assert run("start", "--image", "root.tar.gz", "true").stderr == ""
    shutil.rmtree(place / "cache")
    assert run("start", "-q", "--image", "root.tar.gz", "true").stderr == ""


def test_a_bar_on_a_terminal(place):
    ours, theirs = pty.openpty()
    environment = os.environ | {"APPPOT_CACHE": str(place / "cache"), "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, "-m", "apppot.cli.main", "image", "import", place / "root.tar.gz"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, env=environment):
        os.close(theirs)
        said = b""
        try:
            while data := os.read(ours, 10000):
                said += data
        except OSError:
            pass
        os.close(ours)
    assert "━".encode() in said and b"unpacking" in said


def test_inspect(run, place):
    text = done(run("image", "inspect", "-q", "root.tar.gz"))
    assert "format:     tar\n" in text and "os:         Test 1.0\n" in text and "layer 1:    sha256:" in text
    facts = json.loads(done(run("image", "inspect", "root.tar.gz", "--json")))
    assert facts["os"] == "Test 1.0" and facts["config"] is None and len(facts["layers"]) == 1
    assert facts["size"] == (place / "root.tar.gz").stat().st_size


def test_inspect_shows_what_a_terminal_would_obey(run, place):
    (place / "a.tar").write_bytes(tar(("etc/os-release", b'PRETTY_NAME="a\x1b[2Jb"\n')))
    assert r"a\x1b[2Jb" in done(run("image", "inspect", "-q", "a.tar"))
    assert json.loads(done(run("image", "inspect", "a.tar", "--json")))["os"] == "a\x1b[2Jb"


def test_list_remove_and_sharing(run, place, root):
    oci.Layout(place / "one", root)
    oci.Layout(place / "two", root, tar(("more", b"x" * 5000)))
    for name in ("one", "two"):
        done(run("start", "--image", name, "true"))
    found = {entry["source"]: entry for entry in json.loads(done(run("image", "list", "--json")))}
    one, two = found[str(place / "one")], found[str(place / "two")]
    assert one["shared"] == two["shared"] > 1 << 20 and one["size"] == 0 and two["size"] > 0
    done(run("image", "remove", "one"))
    done(run("start", "--image", "two", "cat", "/more"))
    done(run("image", "remove", two["digest"]))
    assert json.loads(done(run("image", "list", "--json"))) == [] and os.listdir(place / "cache/layers") == []
    refused(run("image", "remove", "two"), 125, "two", "image list")
    refused(run("image", "remove"), 2, "--all")
    done(run("start", "--image", "one", "true"))
    assert "freed" in run("image", "remove", "--unused", "1h").stderr and len(os.listdir(place / "cache/layers")) == 1
    done(run("image", "remove", "--all"))
    assert os.listdir(place / "cache/layers") == []



def test_list_and_remove_archives_of_changes(run, place):
    done(run("start", "--image", "root.tar.gz", "--discard", "--root", "sh", "-c",
             "mkdir /opt/new; apppot-snap changes c.tar.gz >&2"))
    done(run("start", "--image", "root.tar.gz", "--changes", "c.tar.gz", "--discard", "ls", "/opt/new"))
    found, = [entry for entry in json.loads(done(run("image", "list", "--json"))) if entry["format"] == "changes"]
    assert found["source"] == str(place / "c.tar.gz") and found["size"] > 0 and time.time() - found["used"] < 600
    done(run("image", "remove", "c.tar.gz"))
    assert "\tchanges\t" not in done(run("image", "list")) and os.listdir(place / "cache/changes") == []
    done(run("start", "--image", "root.tar.gz", "--changes", "c.tar.gz", "--discard", "ls", "/opt/new"))


def test_verify_and_repair(run, place):
    done(run("image", "verify", "root.tar.gz"))
    tree, = place.glob("cache/layers/*/tree")
    (tree / "etc/os-release").write_text("NAME=y\n")
    (tree / "etc/group").unlink()
    (tree / "etc/extra").touch()
    process = run("image", "verify", "-q", "root.tar.gz")
    assert process.returncode == 125
    assert sorted(line.split(": ")[1] for line in process.stdout.splitlines()) == [
        "/etc", "/etc/extra", "/etc/group", "/etc/os-release"]
    assert run("image", "verify", "--repair", "root.tar.gz").returncode == 0
    assert done(run("image", "verify", "root.tar.gz")) == ""
    assert done(run("start", "--image", "root.tar.gz", "cat", "/etc/os-release")).startswith("NAME=x")


def test_commit(run, place):
    done(run("start", "--image", "root.tar.gz", "--cow", "cow", "--root", "sh", "-c",
             "busybox rm /etc/os-release; echo 1 > /etc/new; busybox chown 33:34 /etc/new; busybox chmod 4750 /etc/new"))
    done(run("start", "--image", "root.tar.gz", "--cow", "cow", "sh", "-c", "echo mine > /home/user/mine"))
    done(run("image", "commit", "cow", "root.tar.gz", "-o", "new.tar"))
    text = done(run("start", "-q", "--image", "new.tar", "stat", "-c", "%n %u %g %a", "/etc/new", "/etc/shadow"))
    assert text == "/etc/new 33 34 4750\n/etc/shadow 0 42 640\n"
    assert run("start", "--image", "new.tar", "cat", "/etc/os-release").returncode == 1
    assert done(run("start", "--image", "new.tar", "sh", "-c", "echo more >> /home/user/mine; cat /home/user/mine")) == \
        "mine\nmore\n"
    refused(run("image", "commit", "nowhere", "root.tar.gz", "-o", "x.tar"), 125, "nowhere")


def test_bad_usage(run):
    refused(run("image"), 2, "import, export")
    refused(run("image", "exprot"), 2, "did you mean export?")
    refused(run("image", "export"), 2, "too few words")
    refused(run("image", "export", "root.tar.gz"), 2, "-o FILE")
    refused(run("image", "export", "root.tar.gz", "-o", "x.y"), 2, "--format")
    refused(run("image", "export", "root.tar.gz", "-o", "x", "--format", "zip"), 2, "'zip'")
    refused(run("image", "export", "-q", "root.tar.gz", "-o", "x.tar", "--size", "1G"), 2, "--size")
    refused(run("image", "export", "-q", "root.tar.gz", "-o", "no/x.tar"), 125, "no: no such directory")
    refused(run("image", "inspect", "nowhere"), 125, "nowhere")
    refused(run("image", "unpack", "root.tar.gz"), 2, "too few")
    refused(run("image", "inspect", "a", "b"), 2, "too many")
    refused(run("image", "list", "a"), 2, "too many words; the usage is: apppot image list [--json]")
    refused(run("image", "unpack", "root.tar.gz", ""), 2, "the directory's name is empty")
    refused(run("image", "remove", ""), 2, "an image's name is empty")


@pytest.mark.parametrize("words", [("convert", "tree", "-o", "tree/a.tar"), ("unpack", "tree", "tree/etc/copy"),
                                   ("export", "tree", "-o", "link/a.oci.tar"), ("import", "tree", "-o", "tree/copy/")])
def test_output_within_the_image(run, place, words):
    """It would be read again for ever."""
    (place / "tree/etc").mkdir(parents=True)
    (place / "link").symlink_to("tree/etc")
    refused(run("image", *words), 125, "lies within the image, " + str(place / "tree"), "name a place outside of it")
    assert sorted(map(str, (place / "tree").rglob("*"))) == [str(place / "tree/etc")]


def test_start_by_digest(run, place):
    digest = done(run("image", "import", "-q", "root.tar.gz")).strip()
    (place / "root.tar.gz").unlink()
    for name in digest, digest[:13]:
        assert done(run("start", "--image", name, "cat", "/etc/os-release")).startswith("NAME=x\n")
        assert f"digest:     {digest}\n" in done(run("image", "inspect", name))
    done(run("start", "--image", f"cow:{digest}", "--root", "touch", "/etc/mine"))
    done(run("start", "--image", digest, "--cow", "cow", "cat", "/etc/mine"))
    refused(run("start", "--image", "sha256:" + 64 * "0", "true"), 125, "sha256:0000", "has no image with this digest",
            "apppot image list")
    refused(run("image", "inspect", "sha256:000000"), 125, "sha256:000000: the cache has no image with this digest")
    (place / digest[7:]).mkdir()
    assert run("start", "--image", digest, "true").returncode == 127      # COW sha256, image HEX
    (place / digest).mkdir()
    assert run("start", "--image", digest, "true").returncode == 127


def test_a_digest_that_is_not_said_far_enough(tmp_path):
    kept = Store(os.fsencode(tmp_path))
    for name, digest in ("a", "sha256:aabbccdd"), ("b", "sha256:aabbccee"), ("c", "sha256:aabbccee"):
        kept.remember(name, {"digest": digest})
    assert kept.by_digest("sha256:aabbccd") == "a" and kept.by_digest("sha256:aabbcce") in "bc"
    assert kept.by_digest("sha256:aabbccf") is None
    with pytest.raises(AppPotError, match="sha256:aabbcc: several images .* sha256:aabbccdd, sha256:aabbccee; say more"):
        kept.by_digest("sha256:aabbcc")


@pytest.mark.parametrize("number, words, status", [
    (signal.SIGINT, ("start", "--image", "many.tar", "true"), 130),
    (signal.SIGTERM, ("main", "image", "import", "many.tar"), 143),
    (signal.SIGTERM, ("main", "image", "unpack", "many.tar", "tree"), 143),
])
def test_ended_in_the_middle(place, number, words, status):
    (place / "many.tar").write_bytes(tar(*((f"d/{n}", b"x" * 500) for n in range(20000))))
    environment = os.environ | {"APPPOT_CACHE": str(place / "cache"), "PYTHONPATH": ROOT}
    with subprocess.Popen([sys.executable, "-m", f"apppot.cli.{words[0]}", *words[1:]], cwd=place, env=environment,
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        limit = time.monotonic() + 30
        while not list(place.glob("cache/staging/*/layer/tree/d/9*")) and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == status and b"Traceback" not in said
    assert not list(place.glob("cache/layers/*")) and not list(place.glob("cache/staging/*/layer"))
    assert not (place / "tree").exists() and not list(place.glob(".*.part"))


# apppot-start and the configuration of an image

@pytest.fixture
def configured(place, root):
    """configured(**config) -> path of a layout."""
    def make(**config):
        shutil.rmtree(place / "image", ignore_errors=True)
        return oci.Layout(place / "image", root, config=config).path
    return make


def test_env(run, configured):
    path = configured(Env=["A=image", "B=image", "HOME=/nowhere", "PATH=/opt:/bin"])
    text = done(run("start", "-q", "--image", path, "--env", "B=mine", "sh", "-c", "echo $A $B $HOME; tool",
                    env={"A": "caller"}))
    home = "/home/user" if os.getuid() else "/root"
    assert text == f"image mine {home}\ntool in /home/user/job\n"


def test_command_and_entrypoint(run, configured):
    path = configured(Cmd=["echo", "default"])
    assert done(run("start", "-q", "--image", path)) == "default\n"
    assert done(run("start", "--image", path, "echo", "given")) == "given\n"
    path = configured(Entrypoint=["/opt/tool", "-x"], Cmd=["default"], WorkingDir="/etc")
    assert done(run("start", "-q", "--image", path)) == "tool -x default in /etc\n"
    assert done(run("start", "--image", path, "given")) == "tool -x given in /home/user/job\n"
    assert done(run("start", "--image", path, "--entrypoint", "", "pwd")) == "/home/user/job\n"
    assert done(run("start", "--image", path, "--entrypoint", "echo", "a")) == "a\n"
    assert done(run("start", "--image", path, "--workdir", "/srv/..")) == "tool -x default in /\n"
    path = configured(Entrypoint=["./tool"], WorkingDir="/opt")
    assert done(run("start", "-q", "--image", path, "b")) == "tool b in /home/user/job\n"
    path = configured(Cmd=["pwd"], WorkingDir="/new/directory")
    assert done(run("start", "-q", "--image", path)) == "/new/directory\n"


def test_a_job_script_comes_before_the_image(run, configured, place):
    path = configured(Cmd=["echo", "default"])
    (place / "apppot-run").write_text("#!/bin/sh\necho job\n")
    (place / "apppot-run").chmod(0o755)
    assert done(run("start", "-q", "--image", path)) == "job\n"


@pytest.mark.skipif(os.getuid() == 0, reason="root is root everywhere")
def test_user(run, configured):
    ids = ("sh", "-c", "id -u; id -g")
    for user, wanted in (("web", "33\n34\n"), ("33:www", "33\n35\n"), ("77:88", "77\n88\n"), ("0", "0\n0\n")):
        assert done(run("start", "-q", "--image", configured(User=user), *ids)) == wanted
    assert done(run("start", "-q", "--image", configured(User="web"), "--root", *ids)) == "0\n0\n"
    assert done(run("start", "-q", "--image", configured(), *ids)) == f"{os.getuid()}\n{os.getgid()}\n"
    refused(run("start", "-q", "--image", configured(User="nobody-there"), "true"), 125, "nobody-there", "--user")


@pytest.mark.skipif(os.getuid() == 0, reason="root may everything")
def test_owners_count(run, configured):
    path = configured()
    text = run("start", "-q", "--image", path, "sh", "-c", "cat /etc/shadow; ls /srv; echo x > /etc/x").stderr
    assert text.count("ermission denied") == 3
    assert done(run("start", "--image", path, "--root", "cat", "/etc/shadow")) == "secret"
    assert done(run("start", "--image", path, "stat", "-c", "%u %g %a", "/etc/shadow")) == "0 42 640\n"


@pytest.mark.skipif(os.getuid() == 0, reason="root may everything")
def test_the_images_user_is_the_caller(run, configured):
    path = configured()
    text = done(run("start", "-q", "--image", path, "sh", "-c", "echo x >> ~/notes && echo y > ~/new && stat -c '%u %g' ~/notes ~"))
    assert text.splitlines()[0] == f"{os.getuid()} {os.getgid()}"
