"""Recipes: what is wrong in them is said with its place; steps are kept by their content; what is built is what was said."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from apppot.errors import AppPotError
from apppot.making.build import apt, bootstrap, recipe
from apppot.making.source import Source
from tests.image.images import tool

BUSYBOX = shutil.which("busybox")
IMAGES = Path(__file__).parents[2] / "images"
EPOCH = 1_500_000_000
pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed")


@pytest.fixture
def place(tmp_path):
    """A directory with a small root tree in `base`."""
    base = tmp_path / "base"
    (base / "bin").mkdir(parents=True)
    (base / "etc").mkdir()
    shutil.copy(BUSYBOX, base / "bin/busybox")
    for name in "sh cat chown echo false id ls mkdir mkfifo sleep stat touch env".split():
        (base / "bin" / name).symlink_to("busybox")
    (base / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:1000:33::/srv:/bin/sh\n")
    (base / "etc/group").write_text("web:x:33:\n")
    return tmp_path


@pytest.fixture
def build(command, place):
    """build(recipe text, words...) → CompletedProcess; the image is a.tar if no other -o is said."""
    def run(text, *words, env=(), **settings):
        (place / "recipe.yaml").write_text(textwrap.dedent(text))
        where = words if "-o" in words else ("-o", "a.tar", *words)
        return command("main", "image", "build", "recipe.yaml", *where,
                       env={"APPPOT_CACHE": str(place / "cache"), **dict(env)}, **settings)
    return run


def done(process):
    assert process.returncode == 0, process.stderr
    return process.stderr


def seen(path):
    """{name: (type and mode, uid, gid, contents)} of an image's files."""
    with Source.open(os.fsencode(path)) as source:
        found = {}
        for entry in source.entries():
            data = b""
            if entry.kind == 0o100000:
                with source.content(entry) as file:
                    data = file.read()
            found[entry.path.decode()] = oct(entry.st.st_mode), entry.st.st_uid, entry.st.st_gid, data
        return found


# Recipes

WRONG = {
    "frm: x": "r.yaml:1: frm: unknown key; did you mean from[?] There are: from, packages",
    "run: [a]": "r.yaml:1: from: the key is missing",
    "from: {directory: nowhere}": "r.yaml:1: from.directory: .*nowhere: no such file",
    "from: {directory: ., tar: r.yaml}": "r.yaml:1: from: one of debian",
    "from: {directory: ., mirror: http://x/}": "r.yaml:1: from.mirror: it goes with debian",
    "from:\n  directory: .\n  varinat: x": "r.yaml:3: from.varinat: unknown key; did you mean variant",
    "from: {debian: bookworm, variant: minbas}": "r.yaml:1: from.variant: 'minbas' is none; did you mean minbase",
    "from: {debian: --help}": "r.yaml:1: from.debian: .*no name of a suite",
    "from: empty\nrun: echo\nrun: true": "r.yaml:3: run: the key is there twice",
    "from: empty\nrun:\n  - echo: x": "r.yaml:3: run: text is expected",
    "from: empty\nrun:\n  - true\n  -": "r.yaml:4: run: text is expected",
    "from: empty\ncopy:\n  - {from: r.yaml}": "r.yaml:3: copy.to: the key is missing",
    "from: empty\ncopy: [{from: r.yaml, to: opt}]": "r.yaml:2: copy.to: 'opt' must be an absolute path",
    "from: empty\ncopy: [{from: r.yaml, to: /a, owner: me}]": "r.yaml:2: copy.owner: 'me' is not UID",
    "from: empty\ncopy: [{from: r.yaml, to: /a, mode: 999}]": "r.yaml:2: copy.mode: '999' is no octal",
    "from: empty\npackages: [-o, x]": "r.yaml:2: packages: '-o' is no name of a package",
    "from: empty\nenv: {A=B: x}": "r.yaml:2: env.A=B: that is no name",
    "from: empty\nformat: zip": "r.yaml:2: format: 'zip' is none",
    "from: empty\nsize: big": "r.yaml:2: size: 'big' is not a size",
    "from: empty\nformat: tar\nsize: 1G": "r.yaml:3: size: it is for ext4 images",
    "from: empty\nautorun: {fiel: x}": "r.yaml:2: autorun.fiel: unknown key; did you mean file",
    "from: [": "r.yaml:1: no YAML",
    "": "r.yaml: keys with values are expected",
    "just text": "r.yaml:1: keys with values",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_with_its_place(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(AppPotError, match="^" + WRONG[text]) as caught:
        recipe.read("r.yaml")
    assert caught.value.status == 2 and "\n" not in caught.value.message


@pytest.mark.parametrize("name", sorted(path.name for path in IMAGES.glob("*.yaml")))
def test_our_recipes_are_right(name):
    found = recipe.read(IMAGES / name)
    assert found.base.kind == "debian" and (found.packages or name == "minimal.yaml")


def test_a_missing_recipe(command, place):
    process = command("main", "image", "build", "nowhere.yaml", "-o", "a.tar")
    assert process.returncode == 125 and "nowhere.yaml: No such file" in process.stderr


# What is built

EVERYTHING = """
    from: {directory: base}
    copy:
      - {from: one, to: /opt/}
      - {from: more, to: /opt/more, owner: "5:6", mode: 0640}
    run:
      - id -u >/opt/uid; touch /opt/mine; chown 12:34 /opt/mine; echo $NAME >/opt/env
      - [/bin/mkdir, /opt/a directory]
      - touch /opt/web; chown web:web /opt/web; touch /opt/user; chown user:user /opt/user; mkfifo /opt/pipe
    env: {NAME: a value, COUNT: 3}
    autorun: |
      echo running $NAME
    exclude: [/bin/*stat, /etc/nothing]
"""


@pytest.fixture
def everything(place):
    (place / "one").write_text("one\n")
    (place / "more/below").mkdir(parents=True)
    (place / "more/below/two").write_text("two\n")
    (place / "more/link").symlink_to("below/two")
    return EVERYTHING


def check_everything(found):
    assert found["opt/one"][1:] == (0, 0, b"one\n")
    assert found["opt/more/below/two"] == ("0o100640", 5, 6, b"two\n") and found["opt/more/link"][0][:4] == "0o12"
    assert found["opt/uid"][1:] == (0, 0, b"0\n") and found["opt/mine"][1:3] == (12, 34)
    assert found["opt/env"][3] == b"a value\n" and found["opt/a directory"][0] == "0o40755"
    assert found["opt/web"][1:3] == (1000, 33) and found["opt/user"][1:3] == (1001, 1000)
    assert found["home/user/apppot-autorun"] == ("0o100755", 1001, 1000, b"#!/bin/sh\necho running $NAME\n")
    assert found["etc/apppot/environment"][3] == b"NAME=a value\nCOUNT=3\n"
    assert "bin/stat" not in found and "bin/ls" in found and "home/user/job" not in found
    lines = found["etc/passwd"][3].decode().splitlines()
    assert lines[:2] == ["root:x:0:0::/root:/bin/sh", "web:x:1000:33::/srv:/bin/sh"]
    assert lines[2:] == ["user:x:1001:1000:AppPot user:/home/user:/bin/sh"]


@pytest.mark.parametrize("name", ["a.tar", "a.oci.tar", "a.squashfs", "a.img", "tree/"])
def test_every_format(build, place, command, everything, name):
    for suffix, program in ((".squashfs", "mksquashfs"), (".img", "mke2fs")):
        if name.endswith(suffix):
            tool(program)
    done(build(everything, "-o", name))
    if name != "tree/":                 # there all is the builder's
        check_everything(seen(place / name))
    started = command("start", "--image", name, env={"APPPOT_CACHE": str(place / "cache")})
    assert started.stdout == "running a value\n", started.stderr


def test_the_configuration_of_an_archive(build, place, command, everything):
    done(build(everything, "-o", "a.oci.tar"))
    told = command("main", "image", "inspect", "--json", "a.oci.tar", env={"APPPOT_CACHE": str(place / "cache")}).stdout
    assert '"NAME=a value"' in told and '"/home/user/apppot-autorun"' in told
    done(build("from: {oci: a.oci.tar}\nenv: {MORE: x}\n", "-o", "b.oci.tar"))
    told = command("main", "image", "inspect", "--json", "b.oci.tar", env={"APPPOT_CACHE": str(place / "cache")}).stdout
    assert '"NAME=a value"' in told and '"MORE=x"' in told


def test_from_nothing_and_from_what_was_built(build, place):
    (place / "hello").write_text("hello")
    done(build("from: empty\ncopy: [{from: hello, to: /a/b/c}]\nformat: tar.gz\n", "-o", "one"))
    assert {"a/b/c", "a/b", "a", ""} == set(seen(place / "one"))
    done(build("from: {image: one}\nexclude: [/a/b]\n", "-o", "two.tar"))
    assert {"a", ""} == set(seen(place / "two.tar"))
    refused = build("from:\n  oci: one\n", "-o", "three.tar")
    assert refused.returncode == 125 and "recipe.yaml:2: from.oci:" in refused.stderr


def test_the_same_bytes_twice(build, place, everything):
    env = {"SOURCE_DATE_EPOCH": str(EPOCH)}
    done(build(everything, "-o", "one.tar", env=env))
    shutil.rmtree(place / "cache")
    time.sleep(1.1)
    done(build(everything, "-o", "two.tar", env=env))
    done(build(everything, "-o", "three.tar", "--fresh", env=env))
    assert len({hashlib.sha256((place / f"{name}.tar").read_bytes()).digest() for name in ("one", "two", "three")}) == 1


# Steps that are kept

STEPS = """
    from: {directory: base}
    copy: [{from: file, to: /opt/}]
    run:
      - echo one >>/opt/log
      - echo two >>/opt/log; cat /opt/file >>/opt/log
"""


def made(process):
    """The numbers of the steps that were made."""
    return [int(line.split("step ")[1].split()[0]) for line in done(process).splitlines()
            if "step " in line and not line.endswith("kept from before")]


def test_only_what_changed_is_made_again(build, place):
    (place / "file").write_text("1\n")
    assert made(build(STEPS)) == [1, 2, 3]
    assert made(build(STEPS)) == []
    assert made(build(STEPS.replace("two", "three"))) == [3]
    assert seen(place / "a.tar")["opt/log"][3] == b"one\nthree\n1\n"
    assert made(build(STEPS)) == []
    assert made(build(STEPS.replace("one", "ONE"))) == [2, 3]
    os.utime(place / "file", (1, 1))
    assert made(build(STEPS)) == []
    (place / "file").write_text("2\n")
    assert made(build(STEPS)) == [1, 2, 3]
    assert seen(place / "a.tar")["opt/log"][3] == b"one\ntwo\n2\n"
    (place / "base/etc/new").write_text("")
    assert made(build(STEPS)) == [1, 2, 3]
    assert made(build(STEPS, "--fresh")) == [1, 2, 3]
    assert os.listdir(place / "cache/staging") == []


def test_kept_steps_can_be_removed(build, place, command):
    done(build("from: {directory: base}\nrun: ['true']\n".replace("'true'", "touch /x")))
    done(command("main", "image", "remove", "--all", env={"APPPOT_CACHE": str(place / "cache")}))
    assert os.listdir(place / "cache/steps") == []


def test_two_builds_at_once(place):
    (place / "r.yaml").write_text("from: {directory: base}\nrun: [echo one >/one; sleep 0.5, echo two >/two]\n")
    environment = {**os.environ, "APPPOT_CACHE": str(place / "cache"), "PYTHONPATH": str(IMAGES.parent)}
    both = [subprocess.Popen([sys.executable, "-m", "apppot.cli.main", "image", "build", "r.yaml", "-o", f"{name}.tar"],
                             cwd=place, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for name in ("a", "b")]
    for process in both:
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
    assert seen(place / "a.tar")["two"][3] == seen(place / "b.tar")["two"][3] == b"two\n"
    assert os.listdir(place / "cache/staging") == [] and len(os.listdir(place / "cache/steps")) == 2


# What fails

def test_a_failing_step(build, place):
    (place / "a.tar").write_text("old")
    process = build("from: {directory: base}\nrun:\n  - touch /x\n  - echo told; false; echo not\n")
    assert process.returncode == 125
    assert "recipe.yaml:4: run: step 2 of 2, echo told; false; echo not, ended with status 1; its last lines:\n  told\n" \
        in process.stderr and "Traceback" not in process.stderr
    assert (place / "a.tar").read_text() == "old" and os.listdir(place / "cache/staging") == []
    assert made(build("from: {directory: base}\nrun:\n  - touch /x\n  - echo told\n")) == [2]


def test_a_step_that_is_missing_its_program(build):
    process = build("from: {directory: base}\nrun: [[/bin/nothing]]\n")
    assert "command not found in the machine" in process.stderr and "ended with status" in process.stderr


def test_packages_need_apt(build):
    process = build("from: {directory: base}\npackages: [gcc]\n")
    assert process.returncode == 125 and "recipe.yaml:2: packages: the base has no apt-get" in process.stderr


def test_output_of_steps(build):
    text = "from: {directory: base}\nrun: [echo shown]\n"
    assert "\nshown\n" in done(build(text, "-v", "--fresh"))
    assert done(build(text, "-q", "--fresh")) == ""
    assert "\nshown\n" not in done(build(text, "--fresh"))


def running(words):
    """Whether a process has these words as its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == words:
                return True
        except OSError:
            pass
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build(place, build, number):
    (place / "r.yaml").write_text("from: {directory: base}\nrun: [echo started; sleep 61.5; touch /x]\n")
    (place / "a.tar").write_text("old")
    environment = {**os.environ, "APPPOT_CACHE": str(place / "cache"), "PYTHONPATH": str(IMAGES.parent)}
    process = subprocess.Popen([sys.executable, "-m", "apppot.cli.main", "image", "build", "r.yaml", "-o", "a.tar", "-v"],
                               cwd=place, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while (line := process.stderr.readline()) != b"started\n":
            assert line
        process.send_signal(number)
        assert process.wait(20) == (128 + number if number != signal.SIGKILL else -number)
        while running(b"sleep\0" + b"61.5\0"):
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
    assert (place / "a.tar").read_text() == "old" and not (place / "cache/steps").exists()
    assert number == signal.SIGKILL or os.listdir(place / "cache/staging") == []
    assert sorted(os.listdir(place)) == ["a.tar", "base", "cache", "r.yaml"]
    done(build("from: {directory: base}\nrun: [touch /x]\n"))
    assert os.listdir(place / "cache/staging") == [] and "x" in seen(place / "a.tar")


# apt

HOST = """\
Types: deb deb-src
URIs: http://mirror/debian
Suites: bookworm bookworm-updates other
Components: main contrib
Signed-By:
 -----BEGIN
 .
 x

# a comment
Types: deb
URIs: http://mirror/off
Suites: bookworm
Enabled: no
"""


def test_the_hosts_sources():
    own = apt._of_sources(HOST) + apt._of_list("deb [arch=amd64 signed-by=/k.gpg] http://sec/ bookworm-security main # x\n")
    one, two = apt.sources("bookworm", own=own)
    assert one == {"Types": "deb", "URIs": "http://mirror/debian", "Suites": "bookworm bookworm-updates",
                   "Components": "main contrib", "Signed-By": "\n -----BEGIN\n .\n x"}
    assert two["URIs"] == "http://sec/" and two["Signed-By"] == "/k.gpg" and two["Architectures"] == "amd64"
    with pytest.raises(AppPotError, match="no archive of Debian; name one in the recipe, mirror:"):
        apt.sources("trixie", own=[])
    assert apt.sources("x", ["http://m/"], ["main", "more"], own)[0]["Components"] == "main more"
    assert apt.sources("x", ["deb http://m/ y z"], (), own) == [{"Types": "deb", "URIs": "http://m/", "Suites": "y",
                                                               "Components": "z"}]


@pytest.fixture
def network():
    """Skips where mmdebstrap is missing or apt reaches nothing."""
    tool("mmdebstrap")
    stanza = apt.sources("bookworm")[0]
    import urllib.request
    try:
        urllib.request.urlopen(stanza["URIs"].split()[0].rstrip("/") + "/dists/bookworm/Release", timeout=20).close()
    except OSError as error:
        pytest.skip(f"no Debian mirror can be reached: {error}")


def test_busybox_for_real(network, command, place):
    settings = {"env": {"APPPOT_CACHE": str(place / "cache")}}
    done(command("main", "image", "build", IMAGES / "busybox.yaml", "-o", "bb.tar", timeout=900, **settings))
    started = command("start", "--image", "bb.tar", "ls", "/bin/busybox", "/lib/ld-musl-x86_64.so.1", **settings)
    assert started.returncode == 0, started.stderr
    assert (place / "bb.tar").stat().st_size < 10 << 20


def test_debian_for_real(network, place):
    environment = {**os.environ, "APPPOT_CACHE": str(place / "cache"), "PYTHONPATH": str(IMAGES.parent)}
    (place / "r.yaml").write_text("from: {debian: bookworm}\npackages: [hello]\nrun: [hello]\n")
    (place / "bad.yaml").write_text("from: {debian: bookworm}\npackages:\n  - hello nothing-of-that-name\n")

    def run(*words):
        return subprocess.run([sys.executable, "-m", "apppot.cli.main", "image", "build", *words], cwd=place,
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)

    done(run(IMAGES / "minimal.yaml", "-o", "minimal.tar"))
    found = seen(place / "minimal.tar")
    assert found["usr/bin/passwd"][0] == "0o104755" and found["etc/shadow"][2] == 42 and found["usr/bin/apt-get"]
    assert "debian.org" not in found["etc/hostname"][3].decode() and not [name for name in found if "mmdebstrap" in name]
    text = done(run("r.yaml", "-o", "hello.tar"))
    assert "from: debian bookworm (minbase): kept from before" in text
    assert "usr/bin/hello" in seen(place / "hello.tar")
    assert made(run("r.yaml", "-o", "hello.tar")) == []
    refused = run("bad.yaml", "-o", "bad.tar")
    assert refused.returncode == 125 and not (place / "bad.tar").exists()
    assert refused.stderr.splitlines()[-1].endswith("bad.yaml:3: packages: there is no package nothing-of-that-name")


@pytest.fixture
def without_mmdebstrap(place, monkeypatch):
    """The PATH of a host that has debootstrap only."""
    tool("debootstrap")
    (place / "bin").mkdir()
    for name in os.listdir("/usr/bin"):
        if name != "mmdebstrap":
            (place / "bin" / name).symlink_to("/usr/bin/" + name)
    return str(place / "bin")


def test_debootstrap_for_real(network, place, without_mmdebstrap):
    environment = {**os.environ, "APPPOT_CACHE": str(place / "cache"), "PYTHONPATH": str(IMAGES.parent),
                   "PATH": without_mmdebstrap}
    (place / "extract.yaml").write_text("from: {debian: bookworm, variant: extract}\npackages: [hello]\n")

    def run(recipe, output):
        return subprocess.run([sys.executable, "-m", "apppot.cli.main", "image", "build", recipe, "-o", output], cwd=place,
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)

    refused = run("extract.yaml", "x.tar")
    assert refused.returncode == 125 and "extract.yaml:1: from.debian: " in refused.stderr
    assert "can't make the variant extract; please run: apt-get install mmdebstrap" in refused.stderr
    done(run(IMAGES / "minimal.yaml", "minimal.tar"))
    found = seen(place / "minimal.tar")
    assert found["usr/bin/passwd"][0] == "0o104755" and found["etc/shadow"][2] == 42 and found["usr/bin/apt-get"]
    assert found["proc"][0] == "0o40755" and found["etc/hostname"][3] == b"apppot\n" and "debootstrap" not in found
    assert "etc/apt/sources.list.d/debian.sources" in found and "run/apppot-apt" not in found
    assert not [name for name in found if name.startswith("etc/dpkg/dpkg.cfg.d/")]


def test_a_host_without_a_tool_that_bootstraps(place, monkeypatch):
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name, path=None: None)
    with pytest.raises(AppPotError, match="mmdebstrap is missing, and so is debootstrap; please run: apt-get install mmdebstrap"):
        bootstrap.program()
