"""--mem by real control groups, which systemd lends to its users."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.machines import Machine, until
from tests.guest.conftest import environment, start_command
from tests.guest.test_limits import GROW, ended, python
from tests.virtual.disk import ACCOUNT

SESSION = {name: os.environ.get(name, "") for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")}
GROUPS = Path("/sys/fs/cgroup")
USER = GROUPS / f"user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service"
APPLICATIONS = USER / "app.slice"                      # where systemd-run puts what it starts
ALLOWS = "more than the 200 MiB of memory that --mem allows; the kernel has ended it"
MORE = {**GROW, "one process": "x = bytearray(b'x') * (400 << 20)"}


def scope(*properties, place="app.slice"):
    return ["systemd-run", "--user", "--scope", "--quiet", f"--slice={place}", *(f"--property={one}" for one in properties)]


@pytest.fixture
def run(debian_tree, job):
    """run(*command, options=..., before=...) -> CompletedProcess of a machine in a scope of its own."""
    def call(*words, options=("--mem", "200M"), before=scope(), image=debian_tree, **env):
        return subprocess.run([*before, *start_command(*words, image=image, options=options)], cwd=job, env=environment(**SESSION, **env),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    return call


def groups(place=APPLICATIONS):
    return sorted(place.glob("apppot-*"))


def group_of(machine, place=APPLICATIONS):
    machine.wait_for_guests()
    return place / f"apppot-{machine.process.pid}"


@pytest.mark.parametrize("how", MORE)
def test_more_memory_than_allowed(run, how):
    ended(run(*python(f"import mmap, os, time\n{MORE[how]}\ntime.sleep(60)")), ALLOWS, "python3, uses")
    assert not groups()


def test_less_memory_than_allowed(run):
    done = run(*python("x = bytearray(b'x') * (120 << 20); print(len(x) >> 20)"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "120\n", "")
    assert not groups()


def test_what_one_process_reserves_and_does_not_use_is_free(run):
    """Unlike where --mem is measured: RLIMIT_DATA is the caller's."""
    assert run(*python("import mmap; print(len(mmap.mmap(-1, 600 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)) >> 20)")).stdout == "600\n"


def test_less_than_a_program_needs_to_start(run):
    ended(run("python3", "-c", "pass", options=["--mem", "1M"]), "more than the 1 MiB of memory that --mem allows")


def test_the_group_of_a_machine(debian_tree, tmp_path):
    machine = Machine(tmp_path, debian_tree, "sh", "-c", "sleep 100 & sleep 100", options=["--mem", "200M"])
    group = group_of(machine)
    until(lambda: len(machine.guests()) == 3)
    assert (group / "memory.max").read_text() == f"{200 << 20}\n"
    assert sorted(map(int, (group / "cgroup.procs").read_text().split())) == sorted(machine.guests())
    assert int((group / "memory.current").read_text()) > 0
    machine.send(15)
    machine.end()
    assert not group.exists()


def test_a_killed_supervisors_group_is_removed_by_the_next_start(run, debian_tree, tmp_path):
    def machine(name):
        (tmp_path / name).mkdir()
        return Machine(tmp_path / name, debian_tree, "sleep", "100", options=["--mem", "200M"])

    living, killed = machine("living"), machine("killed")
    left, kept = group_of(killed), group_of(living)
    killed.kill()
    assert left.exists() and (left / "cgroup.procs").read_text() == ""
    assert run("true").returncode == 0
    assert groups() == [kept]
    living.send(15)
    living.end()
    assert not groups()


def test_two_machines_at_once(run, debian_tree, tmp_path):
    other = Machine(tmp_path, debian_tree, *python("x = bytearray(b'x') * (120 << 20); print('ready', flush=True); input(); print(x.count(b'x') >> 20)"),
                    options=["--mem", "200M"], stdin=subprocess.PIPE)
    assert other.process.stdout.readline() == b"ready\n"
    ended(run(*python(MORE["one process"])), ALLOWS)
    assert groups() == [group_of(other)]
    assert other.process.communicate(b"\n", timeout=60)[0] == b"120\n" and other.process.returncode == 0
    assert not groups()


def test_the_limits_of_the_callers_own_group(run):
    """The machine's group is beside it, and must not be free of them."""
    limited = scope("MemoryMax=150M", "TasksMax=40")
    ended(run(*python(MORE["one process"]), options=["--mem", "1G"], before=limited),
          "more than the 150 MiB of memory that the control group of its caller allows", "python3, uses")
    done = run("bash", "-c", "for i in $(seq 60); do sleep 20 & done; echo forked", options=["--mem", "1G"], before=limited)
    assert "Resource temporarily unavailable" in done.stderr, done
    assert run("true", before=scope("MemoryMax=1G")).returncode == 0
    assert not groups()


@contextlib.contextmanager
def small_slice(name, size):
    subprocess.run(["systemctl", "--user", "set-property", "--runtime", name, f"MemoryMax={size}"], check=True)
    try:
        yield name
    finally:
        subprocess.run(["systemctl", "--user", "stop", name], check=True)
        subprocess.run(["systemctl", "--user", "revert", name], check=True, capture_output=True)


def test_a_group_above_with_less_than_the_machine(run):
    with small_slice("apppottest.slice", "150M") as place:
        done = run(*python(MORE["one process"]), options=["--mem", "1G"], before=scope(place=place))
    ended(done, "a control group above the machine's, or the host, had no memory left; the kernel has ended it", "python3, uses")


@pytest.fixture
def site():
    """A directory of control groups as a site's administrator would lend one."""
    place = APPLICATIONS / "apppottest"
    place.mkdir()
    (place / "cgroup.subtree_control").write_text("+memory")
    yield place
    place.rmdir()


def test_a_directory_that_is_named(run, site, debian_tree, tmp_path, monkeypatch):
    ended(run(*python(MORE["one process"]), APPPOT_CGROUP=str(site)), ALLOWS)
    script = f"import os\nos.environ['APPPOT_CGROUP'] = {str(site)!r}\nfrom apppot.platform.cgroup import find_place\nprint(find_place())"
    assert subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True).stdout == f"{site}\n"
    assert not groups(site)


def outside(*words):
    """A command of this user in a group that is not the user's, from where no process may be moved to those that are."""
    script = 'mkdir -p "$1" && echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
    return ["sudo", "-n", "sh", "-c", script, "sh", str(GROUPS / "outside"), "setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}",
            "--init-groups", *words]


def test_a_place_that_can_not_be_reached_is_none(site, debian_tree, job):
    """A process can be moved only by who may write to the common ancestor of both groups: --mem is measured then."""
    command = start_command(*python("import os, time\nos.fork()\nx = bytearray(b'x') * (150 << 20)\ntime.sleep(60)"), image=debian_tree,
                            options=["--mem", "200M"])
    variables = [f"{name}={value}" for name, value in (environment() | {"APPPOT_CGROUP": str(site)}).items()]
    done = subprocess.run(outside("env", "-i", *variables, *command), cwd=job, capture_output=True, text=True, timeout=120)
    ended(done, "of memory, more than --mem 200 MiB allows", "python3")
    assert not groups(site)


@pytest.mark.parametrize("given, says", [({}, f"ok memory limit: --mem is enforced by the kernel, by control groups in {APPLICATIONS}"),
                                         ({"APPPOT_CGROUP": "/nowhere"}, "no control group can be made: --mem is enforced by measuring")])
def test_the_doctor_says_who_enforces(job, given, says):
    done = subprocess.run([*scope(), sys.executable, "-m", "apppot.cli.main", "doctor"], cwd=job, env=environment(**SESSION, **given),
                          capture_output=True, text=True, timeout=120)
    said = " ".join(next(line for line in done.stdout.splitlines() if "memory limit" in line).split())
    assert says in said, done.stdout
