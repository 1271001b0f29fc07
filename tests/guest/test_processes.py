"""Processes and threads: the same program natively and in a machine prints the same. And how a machine ends."""

import os
import re
import resource
import signal
import subprocess
import time

import pytest

from .conftest import CLEAN

# What the machine gives up too when root starts it.
PLAIN = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
SECTIONS = ["fork", "clones", "clone3", "spawn", "threads", "waits", "groups", "self", "pidfds"]


@pytest.fixture
def both(run_guest, program, job, tmp_path):
    """both(name, *arguments): the program's output and status are the same on the host and in a machine.

    `flags`: of the compiler, instead of -static; `change`: what to do to the executable's bytes; `beside`: {name: text}
    of scripts next to it.
    """

    def run(name, *arguments, options=(), flags=(), change=bytes, beside={}):
        place = tmp_path / "natively"
        place.mkdir()
        content = change(program(name, *flags).read_bytes())
        for directory in (place, job):
            for file, data in {name: content, **beside}.items():
                (directory / file).write_bytes(data)
                (directory / file).chmod(0o755)
        native = subprocess.run([*PLAIN, f"./{name}", *arguments], cwd=place, env=CLEAN, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=60)
        done = run_guest(f"./{name}", *arguments, options=options)
        assert done.stdout.splitlines() == native.stdout.splitlines(), done.stderr
        assert (done.returncode, done.stderr) == (native.returncode, native.stderr)
        return done.stdout

    return run


@pytest.mark.parametrize("isolation", ["standard", "strict"])
@pytest.mark.parametrize("section", SECTIONS)
def test_as_natively(both, section, isolation):
    both("processes", section, options=["--isolation", isolation])


@pytest.mark.parametrize("section", ["fork", "clones", "clone3", "threads"])
def test_as_natively_when_traced(both, section, tmp_path):
    both("processes", section, options=[f"--trace={tmp_path}/trace"])


def test_what_is_refused(run_guest, program, job):
    (job / "processes").write_bytes(program("processes").read_bytes())
    (job / "processes").chmod(0o755)
    assert run_guest("./processes", "refused", check=True).stdout.splitlines() == [
        "newuser EPERM", "into_cgroup EACCES", "unshare EPERM", "ptrace EPERM", "ptrace attach EPERM"]


@pytest.mark.parametrize("seed", range(1, 5))
def test_kills_at_any_moment(both, seed):
    both("storm", str(seed), "150")
    assert guests() == []


@pytest.mark.parametrize("flags", [(), ("-pie",)], ids=["static", "dynamic"])
@pytest.mark.parametrize("isolation", ["standard", "strict"])
def test_seccomp_filters_of_the_guest(both, flags, isolation):
    both("filters", flags=flags, options=["--isolation", isolation])


@pytest.mark.parametrize("limit", ["-s unlimited", "-n 30", "-c 0", "-f 100", "-v 1000000"])
def test_limits(shell, limit):
    """Limits that the caller of apppot-start set are the guest's, and nobody else's."""
    option, value = limit.split()
    assert shell(f"ulimit {limit}; ulimit {option}; ls -d /etc; bash -c 'ulimit {option}'") == \
        f"{value}\n/etc\n{value}\n"


def test_descriptor_limit_is_the_callers(run_guest):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert run_guest("bash", "-c", "ulimit -Sn; ulimit -Hn", check=True).stdout.split() == [
        str(limit) if limit != resource.RLIM_INFINITY else "unlimited" for limit in (soft, hard)]


def test_many_processes_at_once(shell):
    """The supervisor has a descriptor for each: their number is not bound by its caller's soft limit."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    script = "for i in $(seq 150); do sleep 1000 & done; cd /etc; pwd; ls -d /etc; jobs -p | wc -l; ulimit -n"
    assert shell(script, preexec_fn=few) == "/etc\n/etc\n150\n100\n"


# -- the end

def guests():
    """Commands of the processes that have the mark of this test run in their environment."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    ours = f"MARK_OF_TEST={os.getpid()}".encode() in file.read().split(b"\0")
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    command = file.read()
            except OSError:
                continue
            if ours:
                found.append(command)
    return found


@pytest.fixture
def marked(monkeypatch):
    """What is started from here on is found by guests()."""
    return {"MARK_OF_TEST": str(os.getpid())}


def wait_for(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen within 10 seconds")


def own_directories(process):
    """The host's directories that a running supervisor made for its run: it holds their locks."""
    place = f"/proc/{process.pid}/fd/"
    held = {os.readlink(place + fd) for fd in os.listdir(place)}
    return {os.path.dirname(path) for path in held if re.search("/apppot-[^/]*/lock$", path)}


FAMILY = "sleep 1000 & (setsid sleep 1000 &) ; (trap '' TERM HUP INT; sleep 1000) & echo ready; "


def test_the_main_commands_end_is_everybodys(start_guest, marked):
    process = start_guest("bash", "-c", FAMILY + "read go; exit 7", env=marked)
    assert process.stdout.readline() == "ready\n"
    made = own_directories(process)
    assert made and all(os.path.isdir(path) for path in made)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(30) == 7
    assert guests() == []
    assert not any(os.path.lexists(path) for path in made)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGQUIT])
def test_signals_to_the_supervisor_reach_the_main_command(start_guest, marked, number):
    process = start_guest("sh", "-c", FAMILY + "exec sleep 1000", env=marked)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert guests() == []


def test_a_handler_of_the_main_command_answers_the_signal(start_guest):
    process = start_guest("bash", "-c", "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "got\n"
    assert process.wait(30) == 3


def test_ignored_signals_stay_ignored(run_guest):
    done = run_guest("sh", "-c", "kill -INT $$; kill -HUP $$; echo still here", check=True,
                     preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)])
    assert done.stdout == "still here\n"


def test_the_supervisor_killed_takes_the_guest_with_it(start_guest, marked):
    process = start_guest("sh", "-c", FAMILY + "exec sleep 1000", env=marked)
    assert process.stdout.readline() == "ready\n"
    wait_for(lambda: len(guests()) >= 4)
    process.kill()
    wait_for(lambda: guests() == [])


def test_a_main_command_stopped_by_the_guest_is_continued_by_the_guest(shell):
    """Nobody waits for a stopped job here: the supervisor goes on serving."""
    assert shell("(sleep 0.2; ls / >/dev/null; kill -CONT $$) & kill -STOP $$; echo continued") == "continued\n"
