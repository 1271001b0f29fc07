"""apppot-start's command line: what becomes of it as a Machine."""

import os

import pytest

from apppot.cli import start
from apppot.cli.options import UsageError, parse
from apppot.errors import AppPotError
from apppot.machine import IMAGE_SCRIPT, JOB_SCRIPT, Bind, Machine, what_runs


@pytest.fixture
def machine(tmp_path):
    """machine("--mem 1G ls") → the Machine of that command line in tmp_path."""
    def make(text="", **environ):
        chosen, _, command = parse(start.OPTIONS, text.split())
        environ = {os.fsencode(key): os.fsencode(value) for key, value in environ.items()}
        return start.machine_from(chosen, command, environ, bytes(tmp_path))
    return make


def test_the_default_is_the_hosts_root_and_the_current_directory(machine, tmp_path):
    made = machine()
    assert (made.image, made.lowers, made.cow, made.job_dir) == (b"/", [b"/"], None, bytes(tmp_path))
    assert (made.network, made.pid, made.isolation, made.command, made.root, made.user) == (
        "host", "private", "standard", None, False, None)


def test_image_from_the_command_line_the_environment_and_the_current_directory(machine, tmp_path):
    for name in ("option", "variable", "apppot.img"):
        (tmp_path / name).mkdir()
    assert machine(f"--image option", APPPOT_IMAGE="variable").image == bytes(tmp_path / "option")
    assert machine(APPPOT_IMAGE="variable").image == bytes(tmp_path / "variable")
    assert machine(APPPOT_IMAGE="").image == bytes(tmp_path / "apppot.img")


@pytest.mark.parametrize("separator", ":,")
def test_cow_before_the_image(machine, tmp_path, separator):
    (tmp_path / "tree").mkdir()
    made = machine(f"--image=layer{separator}tree")
    assert (made.image, made.cow) == (bytes(tmp_path / "tree"), bytes(tmp_path / "layer"))


def test_an_image_with_a_colon_in_its_name(machine, tmp_path):
    (tmp_path / "debian:12").mkdir()
    assert machine("--image debian:12").image == bytes(tmp_path / "debian:12")
    assert machine("--image layer:debian:12").cow == bytes(tmp_path / "layer")


def test_options_become_attributes(machine, tmp_path):
    (tmp_path / "data").mkdir()
    made = machine(f"--bind {tmp_path}/data:/data:ro --bind {tmp_path}/data --mem 1G --cpus 2 --timeout 10m --id job7 "
                   "--user alice --env A=1 --env HERE --env NOTHERE --clean-env --workdir /data --hostname node "
                   "--network none --pid host --isolation strict --trace --stats -vv --discard prog --root", HERE="yes")
    assert made.binds == [Bind(bytes(tmp_path / "data"), b"/data", True),
                          Bind(bytes(tmp_path / "data"), bytes(tmp_path / "data"), False)]
    assert (made.mem, made.cpus, made.timeout, made.name, made.user) == (1 << 30, 2, 600, "job7", "alice")
    assert made.env == {b"A": b"1", b"HERE": b"yes"}
    assert (made.clean_env, made.workdir, made.hostname) == (True, b"/data", "node")
    assert (made.network, made.pid, made.isolation, made.trace, made.stats) == ("none", "host", "strict", b"-", True)
    assert (made.verbose, made.discard, made.root) == (2, True, False)
    assert made.command == [b"prog", b"--root"]


def test_user_root_is_root(machine):
    made = machine("--user root")
    assert (made.root, made.user) == (True, None)


def test_memory_from_the_environment(machine):
    assert machine(APPPOT_MEM="256M").mem == 256 << 20
    assert machine("--mem 1G", APPPOT_MEM="256M").mem == 1 << 30
    with pytest.raises(UsageError, match=r"^\$APPPOT_MEM: 'much' is not a size"):
        machine(APPPOT_MEM="much")


def test_the_trace_file_is_absolute(machine, tmp_path):
    assert machine("--trace=log ls").trace == bytes(tmp_path / "log")


@pytest.mark.parametrize("text, message", [
    ("--root --user alice", "--root and --user alice exclude each other"),
    ("-q -v", "--quiet and --verbose exclude each other"),
    ("--cow layer --discard", "--discard and the COW"),
    ("--image a:tree --cow b", "--cow and the COW"),
    ("--bind /etc:/", "nothing can be put on / itself"),
    ("--mem 1", None),
])
def test_what_excludes_each_other(machine, tmp_path, text, message):
    (tmp_path / "tree").mkdir()
    if message is None:
        assert machine(text).mem == 1 << 20
        return
    with pytest.raises(UsageError, match=message):
        machine(text)


def test_old_options_are_accepted_with_one_line(machine, tmp_path):
    _, given, command = parse(start.OPTIONS, "-X foo --slirp /bin/slirp --linux /boot/linux --extra=bar ls".split())
    lines = list(start.warnings_of(given, bytes(tmp_path)))
    assert command == ["ls"]
    assert len(lines) == 1 and lines[0].startswith("-X, --slirp, --linux, --extra ignored: ")


def test_archives_of_changes(machine, tmp_path):
    for name in ("one", "two", "apppot-changes.tar.gz"):
        (tmp_path / name).touch()
    here = bytes(tmp_path)
    found = here + b"/apppot-changes.tar.gz"
    assert machine("--changes one --merge two").changes == [found, here + b"/one", here + b"/two"]
    assert machine().changes == [found]
    assert machine("--changes one --changes ./apppot-changes.tar.gz").changes == [here + b"/one",
                                                                                  here + b"/./apppot-changes.tar.gz"]
    assert machine("--force").force


def test_what_runs_is_the_first_that_exists():
    def chosen(command=None, *there, shell=None):
        return what_runs(Machine(command=command), set(there).__contains__, shell)[0]

    every = (JOB_SCRIPT, IMAGE_SCRIPT, b"/bin/zsh", b"/bin/bash", b"/bin/sh")
    assert chosen([b"ls", b"-l"], *every) == [b"ls", b"-l"]
    assert chosen(None, *every) == [JOB_SCRIPT]
    assert chosen(None, *every[1:]) == [IMAGE_SCRIPT]
    assert chosen(None, *every[2:], shell=b"/bin/zsh") == [b"/bin/zsh"]
    assert chosen(None, *every[2:]) == [b"/bin/bash"]
    assert chosen(None, b"/bin/sh", shell=b"/bin/zsh") == [b"/bin/sh"]
    with pytest.raises(AppPotError) as caught:
        chosen()
    assert caught.value.status == 126


def test_a_user_mode_linux_cow_before_the_image(machine, tmp_path):
    """It is read only: the changes go elsewhere."""
    (tmp_path / "tree.ext4").write_bytes(bytes(0x438) + b"\x53\xef" + bytes(1000))
    (tmp_path / "layer").write_bytes(b"OOOM" + bytes(5000))
    made = machine("--image layer:tree.ext4")
    assert (made.image, made.below, made.cow) == (bytes(tmp_path / "layer"), bytes(tmp_path / "tree.ext4"), None)
    made = machine("--cow changes --image layer,tree.ext4")
    assert (made.image, made.cow) == (bytes(tmp_path / "layer"), bytes(tmp_path / "changes"))
