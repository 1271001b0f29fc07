"""Bad input of the commands, run as users run them: one line that names it and the remedy, and no traceback."""

import os
import subprocess
import sys

import pytest

from apppot.cli import elsewhere, image, main, start

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOT_ROOT = pytest.mark.skipif(os.getuid() == 0, reason="root may read and write everything")


def refused(done, status, *parts):
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize("arguments, parts", [
    (["--immage", "x"], ["apppot-start: ", "--immage", "--image"]),
    (["--image"], ["--image needs a value", "PATH"]),
    (["--mem", "lots"], ["--mem", "'lots'", "512M"]),
    (["--mem="], ["--mem", "512M"]),
    (["--cpus", "0"], ["--cpus", "'0'"]),
    (["--timeout", "soon"], ["--timeout", "'soon'", "10m"]),
    (["--network", "lan"], ["--network", "'lan'", "host, none"]),
    (["--pid", "100"], ["--pid", "'100'", "host, private"]),
    (["--isolation", "total"], ["--isolation", "'total'", "standard, strict, none"]),
    (["--bind", "/etc:relative"], ["--bind", "'relative'", "absolute"]),
    (["--bind", "/etc:/x:wo"], ["--bind", "'wo'", "HOST:GUEST:ro"]),
    (["--workdir", "here"], ["--workdir", "'here'", "absolute"]),
    (["--hostname", "a b"], ["--hostname", "'a b'"]),
    (["--env", "=x"], ["--env", "NAME=VALUE"]),
    (["--root=1"], ["--root takes no value"]),
    (["--id", ""], ["--id"]),
    (["--image", ""], ["--image", "empty"]),
    ([b"--\xff\xfe"], ["unknown option"]),
])
def test_wrong_usage(command, arguments, parts):
    refused(command("start", *arguments), 2, *parts)


@pytest.mark.parametrize("words, instead", [
    ("-v /data:/data:ro", "--bind /data:/data:ro"), ("-v/data:/data", "--bind HOST"), ("--volume /data:/data", "--bind HOST"),
    ("-b /data", "--bind HOST"), ("-B /data", "--bind HOST"), ("--mount type=bind", "--bind HOST"),
    ("-w /tmp", "--workdir DIR"), ("-w/tmp", "--workdir DIR"), ("--cwd /tmp", "--workdir DIR"), ("--pwd /tmp", "--workdir DIR"),
    ("-e X=Y", "--env K=V"), ("-eX=Y", "--env K=V"), ("-u root", "--user NAME"), ("-0", "--root"), ("--fakeroot", "--root"),
    ("-r tree", "--image PATH"), ("-R tree", "--image PATH"), ("-it bash", "leave it out"), ("-i bash", "leave it out"),
    ("--rm true", "leave it out"), ("-m 1G", "--mem NUM"), ("--memory 1G", "--mem NUM"), ("--net=none", "--network host|none"),
    ("--name x", "--id NAME"), ("-d true", "background"), ("-p 80:80", "leave it out"), ("--cleanenv", "--clean-env"),
])
def test_options_of_other_tools(command, words, instead):
    refused(command("start", *words.split(), "true"), 2, "apppot-start: ", words.split()[0][:2], instead)


def test_what_stands_for_options_of_other_tools_is_right():
    """No option that there is is refused, and what is said instead exists."""
    known = {name for option in start.OPTIONS for name in option.names}
    assert set(elsewhere.OPTIONS) & known == {"-v"}          # what is joined to it
    said = " ".join(elsewhere.OPTIONS.values())
    assert {word.partition("[")[0].rstrip(";,") for word in said.split() if word.startswith("--")} <= known
    assert set(elsewhere.COMMANDS).isdisjoint(main.COMMANDS) and set(elsewhere.IMAGE_COMMANDS).isdisjoint(image.COMMANDS)
    for text in elsewhere.COMMANDS.values():
        words = text.split("say apppot ")[-1].split()
        assert not text.startswith("say apppot ") or words[0] == "--help" or words[0] in main.COMMANDS, text
        assert words[0] != "image" or words[1] in image.COMMANDS, text


@pytest.mark.parametrize("words, instead", [("run -it x", "apppot start"), ("help", "--help"), ("build x", "apppot image build"),
                                            ("pull debian", "skopeo"), ("image pull debian", "skopeo"), ("ps", "machines are")])
def test_commands_of_other_tools(command, words, instead):
    refused(command("main", *words.split()), 2, instead)


@pytest.mark.parametrize("arguments", [["--image=~/x"], ["--image", "layer:~/x"], ["--image", "~/cow:~/x"], ["--bind=~/x:/x"],
                                       ["--changes=~/x"]])
def test_a_home_that_the_shell_has_left(command, tmp_path, arguments):
    refused(command("start", *arguments, "true", env={"HOME": f"{tmp_path}/home"}), 125, f" {tmp_path}/home/x", "o such file")


def test_images_that_somebody_else_must_bring(command):
    refused(command("start", "--image", "docker://debian:12", "true"), 125, "docker://debian:12", "skopeo copy")
    refused(command("start", "--image", "debian:12", "true"), 125, "debian:12", "No such file")


def test_no_such_image(command, tmp_path):
    refused(command("start", "--image", "nowhere", "true"), 125, f"{tmp_path}/nowhere", "No such file", "--image")
    refused(command("start", "true", env={"APPPOT_IMAGE": "nowhere"}), 125, "nowhere", "$APPPOT_IMAGE")


def test_a_name_that_is_not_utf8(command):
    refused(command("start", "--image", b"no\xffwhere"), 125, "where", "No such file")


def test_a_name_that_a_terminal_would_obey(command):
    """One line all the same, with nothing but text in it."""
    done = command("start", "--image", "no\n\x1b[2J\x9bwhere")
    refused(done, 125, r"no\n\x1b[2J\x9bwhere", "No such file")


@pytest.mark.parametrize("content, kind", [
    (b"", "no image format"),
    (b"hello\n", "no image format"),
    (b"QFI\xfb" + bytes(100), "qcow2"),
    (bytes(510) + b"\x55\xaa", "MBR disk image without a Linux partition"),
])
def test_an_image_that_is_a_file(command, tmp_path, content, kind):
    (tmp_path / "apppot.img").write_bytes(content)
    refused(command("start", "true"), 125, f"{tmp_path}/apppot.img", kind, "directories")


@pytest.mark.parametrize("content", [
    bytes(0x438) + b"\x53\xef" + bytes(100), b"hsqs" + bytes(50), b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0"])
def test_an_image_that_is_cut_short(command, tmp_path, content):
    (tmp_path / "apppot.img").write_bytes(content)
    done = command("start", "true", env={"APPPOT_CACHE": str(tmp_path / "cache")})
    refused(done, 125, f"{tmp_path}/apppot.img", "damaged", "too early")


def test_an_image_that_is_neither_file_nor_directory(command, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(command("start", "--image", "pipe"), 125, "pipe", "neither a file nor a directory")


@pytest.mark.parametrize("content", [b"\x1f\x8b" + bytes(30), b"\x28\xb5\x2f\xfd" + bytes(30),
                                     bytes(257) + b"ustar\0" + bytes(300)])
def test_an_archive_that_is_damaged(command, tmp_path, content):
    (tmp_path / "apppot.img").write_bytes(content)
    refused(command("start", "true", env={"APPPOT_CACHE": f"{tmp_path}/cache"}), 125, f"{tmp_path}/apppot.img",
            "damaged")


def test_an_oci_layout_without_an_index(command, tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "oci-layout").touch()
    refused(command("start", "--image", "image"), 125, f"{tmp_path}/image", "index.json")


@NOT_ROOT
def test_an_unreadable_image(command, tmp_path):
    (tmp_path / "image").mkdir(mode=0)
    refused(command("start", "--image", "image"), 125, f"{tmp_path}/image", "permission denied")


@NOT_ROOT
def test_a_cow_that_cannot_be_written(command, tmp_path):
    (tmp_path / "layer").mkdir(mode=0o555)
    refused(command("start", "--cow", "layer", "true"), 125, f"{tmp_path}/layer", "not writable")
    refused(command("start", "--cow", "layer/new", "true"), 125, f"{tmp_path}/layer", "not writable")


def test_a_cow_that_is_a_file(command, tmp_path):
    (tmp_path / "layer").write_bytes(b"OOOM" + bytes(100))
    refused(command("start", "--cow", "layer", "true"), 125, f"{tmp_path}/layer", "User-Mode Linux COW")


def test_a_cow_in_a_missing_directory(command, tmp_path):
    refused(command("start", "--cow", "a/b", "true"), 125, f"{tmp_path}/a", "does not exist")


def test_a_bind_whose_host_side_is_missing(command, tmp_path):
    refused(command("start", "--bind", "data:/data", "true"), 125, "--bind", f"{tmp_path}/data", "No such file")


def test_changes_are_refused_not_forgotten(command, tmp_path):
    refused(command("start", "--changes", "gone.tar.gz", "true"), 125, "gone.tar.gz", "no such file")
    (tmp_path / "there.tar.gz").touch()
    refused(command("start", "--merge", "there.tar.gz", "true"), 125, "there.tar.gz", "damaged")


def test_a_trace_file_that_cannot_be_written(command, tmp_path):
    refused(command("start", f"--trace={tmp_path}/no/log", "true"), 125, "--trace", "no/log")
    refused(command("start", "--trace=", "true"), 2, "--trace", "empty")


def test_a_current_directory_that_is_gone(command, tmp_path):
    script = f'mkdir gone && cd gone && rmdir ../gone && exec "{sys.executable}" -P -m apppot.cli.start true'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": ROOT})
    refused(done, 125, "current directory")


def test_commands_of_apppot(command):
    refused(command("main"), 2, "apppot: ", "start, snap, image, bundle, submit, status, fetch, cancel, resubmit, record, doctor")
    refused(command("main", "stat"), 2, "'stat'", "did you mean start?", "image, bundle, submit, status, fetch, cancel, resubmit, record, doctor")
    refused(command("main", "--hepl"), 2, "--help")
    refused(command("main", "doctor", "--jsno"), 2, "apppot doctor: ", "--json")
    refused(command("main", "doctor", "now"), 2, "unexpected argument now")
    refused(command("main", "start", "--mem", "x"), 2, "--mem")


def test_a_full_output(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "apppot.cli.start", "--help"], stdout=full,
                              stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 125
    assert "No space left" in done.stderr and "Traceback" not in done.stderr


def test_a_python_without_the_packages(command, tmp_path):
    (tmp_path / "recipe.yaml").write_text("from: empty\n")
    (tmp_path / "without" / "yaml").mkdir(parents=True)
    (tmp_path / "without" / "yaml" / "__init__.py").write_text("raise ModuleNotFoundError('gone', name='yaml')\n")
    done = command("main", "image", "build", "recipe.yaml", "-o", "x.tar", env={"PYTHONPATH": f"{ROOT}:{tmp_path}/without"})
    refused(done, 125, "no module yaml", "pip")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["doctor"], ["doctor", "--syscalls"], ["image", "list"]])
def test_a_closed_output(words, tmp_path):
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "apppot.cli.main", *words], stderr=subprocess.PIPE,
                          text=True, cwd=ROOT, env=os.environ | {"APPPOT_CACHE": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["start", "main"])
def test_version_and_help(command, name):
    import apppot
    for option in ("--version", "-V"):
        assert command(name, option).stdout.split()[1] == apppot.__version__
    for option in ("--help", "-h"):
        done = command(name, option)
        assert done.returncode == 0 and done.stdout.startswith("Usage: ") and done.stderr == ""


@pytest.mark.parametrize("arguments, status, parts", [
    ([], 2, ["which command"]),
    (["chagnes"], 2, ["'chagnes'", "changes"]),
    (["--frob", "changes"], 2, ["--frob"]),
    (["changes"], 2, ["--cow"]),
    (["--cow"], 2, ["--cow needs a value"]),
    (["base", "x"], 2, ["unexpected argument x"]),
    (["--cow", "gone", "changes"], 125, ["gone", "no such directory"]),
    (["--cow", ".", "changes"], 125, ["no cow.json"]),
    (["--cow", "gone", "merge"], 125, ["apppot.*.changes.tar.gz"]),
    (["--quite", "base"], 2, ["did you mean --quiet"]),
    (["--force=1", "base"], 2, ["--force takes no value"]),
])
def test_snap(command, arguments, status, parts):
    refused(command("snap", *arguments), status, "apppot-snap: ", *parts)
