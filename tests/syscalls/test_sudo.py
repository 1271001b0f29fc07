"""sudo, played by the supervisor: words and environment in, program, words and environment out."""

import os

import pytest

from apppot.syscalls import sudo
from tests.syscalls.test_programs import script, static_program, task  # noqa: F401  (the fixture)

ENVIRONMENT = [b"HOME=/home/user", b"USER=user", b"LANG=C.UTF-8", b"SECRET=x", b"PATH=/opt/bin", b"SHELL=/bin/interp"]


@pytest.fixture
def machine(task):  # noqa: F811
    static_program(task)
    (task.lower / "etc").mkdir()
    (task.lower / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/interp\n"
                                               f"user:x:{os.getuid()}:{os.getgid()}::/home/user:/bin/interp\n"
                                               "daemon:x:1:1::/:/bin/interp\n")
    (task.lower / "etc" / "group").write_text("root:x:0:\nadm:x:4:daemon\n")
    return task


def run(task, *words):  # noqa: F811
    return sudo.find(task, [b"sudo", *words], ENVIRONMENT)


def variables(environment):
    return dict(item.split(b"=", 1) for item in environment)


def test_a_command_runs_as_root(machine):
    program, words, environment = run(machine, b"interp", b"-u", b"x")
    assert (program.path, words) == (b"/bin/interp", [b"interp", b"-u", b"x"])
    assert (program.creds.ruid, program.creds.euid, program.creds.rgid, program.creds.virtual) == (0, 0, 0, True)
    got = variables(environment)
    assert got[b"HOME"] == b"/root" and got[b"USER"] == b"root" and got[b"SUDO_UID"] == b"%d" % os.getuid()
    assert got[b"LANG"] == b"C.UTF-8" and b"SECRET" not in got and got[b"PATH"] == sudo.SECURE_PATH


@pytest.mark.parametrize("words", [(b"-u", b"daemon"), (b"-udaemon",), (b"--user=daemon",), (b"--user", b"daemon"),
                                   (b"-u", b"#1"), (b"-nu", b"daemon", b"--")])
def test_another_user(machine, words):
    program, _, _ = run(machine, *words, b"interp")
    assert (program.creds.euid, program.creds.egid) == (1, 1)


def test_supplementary_groups_of_the_user(machine):
    program, _, _ = run(machine, b"-u", b"daemon", b"interp")
    assert sorted(program.creds.groups) == [1, 4]


def test_preserved_environment_and_assignments(machine):
    got = variables(run(machine, b"-E", b"A=b=c", b"interp")[2])
    assert got[b"SECRET"] == b"x" and got[b"A"] == b"b=c" and got[b"HOME"] == b"/home/user"
    assert variables(run(machine, b"--preserve-env=SECRET", b"interp")[2])[b"SECRET"] == b"x"


def test_shells(machine):
    assert run(machine, b"-s")[1] == [b"/bin/interp"]
    assert run(machine, b"-i")[1] == [b"-interp"]
    assert run(machine, b"-s", b"echo", b"a b")[1] == [b"/bin/interp", b"-c", b"echo a\\ b"]


def test_a_script_gets_its_interpreter(machine):
    script(machine, "bin/tool", b"#!/bin/interp -e\n")
    program, words, _ = run(machine, b"tool", b"x")
    assert program.path == b"/bin/interp" and words == [b"/bin/interp", b"-e", b"/bin/tool", b"x"]


@pytest.mark.parametrize("words, status, text", [
    ((b"nothere",), 1, b"nothere: command not found"),
    ((b"-u", b"nobody", b"interp"), 1, b"unknown user nobody"),
    ((b"--frobnicate",), 1, b"unrecognized option"),
    ((b"-u",), 1, b"requires an argument"),
    ((), 1, b"usage:"),
    ((b"-v",), 0, b""),
    ((b"-l",), 0, b"NOPASSWD"),
])
def test_messages(machine, words, status, text):
    program, _, _ = run(machine, *words)
    _, said, code = program.say
    assert code == status and text in said


def test_no_new_privileges(machine):
    machine.creds.no_new_privs = True
    assert b"no new privileges" in run(machine, b"interp")[0].say[1]
