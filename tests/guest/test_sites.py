"""Patched call sites: programs natively, with the fast path and without it print the same."""

import os
import re
import shutil
import subprocess

import pytest

from .conftest import PROGRAMS, SOURCE
from .test_processes import both  # noqa: F811, F401: a fixture

STUB = SOURCE / "apppot" / "stub"
LENT = ["-static", "-DGO", f"-I{STUB}"]
SECTIONS = ["registers", "interrupted", "profile", "faults", "cancel", "forks", "stacks", "text"]
BUILDS = {"glibc": ["gcc", "-pthread"], "glibc-static": ["gcc", "-pthread", "-static"], "musl": ["musl-gcc"],
          "musl-static": ["musl-gcc", "-static"], "lent": ["gcc", "-pthread", "-static", "-DGO"]}


@pytest.fixture(scope="module")
def built(debian_tree, tmp_path_factory):
    """built(name) -> program sites.c, made with the image's own compilers."""
    from .conftest import environment, start_command
    directory = tmp_path_factory.mktemp("built")
    for source in (PROGRAMS / "sites.c", PROGRAMS / "common.h", STUB / "layout.h"):
        shutil.copy(source, directory)

    def build(name):
        if not (directory / name).exists():
            command = start_command(*BUILDS[name], "-O1", "-w", "-o", name, "sites.c", image=debian_tree, options=())
            subprocess.run(command, cwd=directory, env=environment(), stdin=subprocess.DEVNULL, check=True, timeout=100)
        return directory / name

    return build


def intercepted(done):
    return int(re.search(r"(\d+) calls intercepted", done.stderr)[1])


@pytest.mark.parametrize("flags", [(), LENT], ids=["own stack", "lent stack"])
@pytest.mark.parametrize("section", SECTIONS)
def test_as_natively(both, section, flags):  # noqa: F811
    lines = both("sites", section, flags=flags).splitlines()
    if section in ("registers", "interrupted"):
        assert all(": wrong 0, " in line for line in lines if ":" in line)


# musl writes to stat's buffer itself: no EFAULT.
@pytest.mark.parametrize("name, section", [(name, section) for name in ("glibc", "musl", "musl-static") for section in SECTIONS
                                           if name == "glibc" or section != "faults"])
def test_the_same_without_the_fast_path(run_guest, built, job, name, section):
    """Natively these programs need the image's C libraries."""
    shutil.copy(built(name), job / "sites")
    on, off = [run_guest("./sites", section, options=["--isolation", isolation], timeout=120)
               for isolation in ("standard", "strict")]
    outside = re.compile("outside of the program [0-9]+")      # of a library's text, that is, however it is run
    assert outside.sub("", on.stdout).splitlines() == outside.sub("", off.stdout).splitlines()
    assert (on.returncode, on.stderr) == (off.returncode, off.stderr) == (0, "")


@pytest.mark.parametrize("name", BUILDS)
def test_calls_of_every_c_library_make_no_stops(run_guest, built, job, name):
    shutil.copy(built(name), job / "sites")
    done = run_guest("./sites", "loop", options=["--stats"])
    assert done.stdout == "bad 0\n" and intercepted(done) < 200
    off = run_guest("./sites", "loop", options=["--stats", "--isolation", "strict"])
    assert off.stdout == "bad 0\n" and intercepted(off) > 9000


@pytest.mark.parametrize("who, stops", [("here", True), ("child", False), ("after", False)])
def test_more_calls_under_way_than_the_stub_has_stacks(run_guest, program, job, who, stops):
    """The others stop; a new process has all of them."""
    shutil.copy(program("sites", *LENT), job / "sites")
    done = run_guest("./sites", "blocked", who, options=["--stats"])
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1 if who != "after" else -2]) == ("taken 64", "taken 0") and "bad 0" in lines
    assert who != "child" or "of the child's 0" in lines
    assert intercepted(done) > 9000 if stops else intercepted(done) < 2000


def test_busybox_makes_no_stops(run_guest):
    script = "i=0; while [ $i -lt 2000 ]; do [ -e /etc/passwd ]; i=$((i+1)); done; echo done"
    done = run_guest("busybox", "sh", "-c", script, options=["--stats"])
    assert done.stdout == "done\n" and intercepted(done) < 100


STATS = """#include <stdio.h>
#include <sys/stat.h>
int main(void) {
    struct stat st; int bad = 0;
    for (int i = 0; i < 300; i++) bad += stat("/etc/passwd", &st) != 0;
    return printf("%s %%d\\n", bad) < 0;
}
"""


def test_what_users_compile_is_patched_from_its_second_start_on(run_guest, job):
    """And when another program takes its place, by a new file or in the same one, that one runs."""
    for word in ("one", "two"):
        (job / f"{word}.c").write_text(STATS % word)
        run_guest("gcc", "-static", "-o", word, f"{word}.c", check=True)
    done = run_guest("sh", "-c", "cp one p; ./p; ./p; ./p; ./p; ./p", options=["--stats"])
    assert done.stdout == "one 0\n" * 5 and 300 < intercepted(done) < 500
    script = "cp one p; ./p; ./p; cp two new; mv new p; ./p; ./p; ./p; cat one >p; ./p; ./p; cat two >p; ./p; ./p"
    done = run_guest("sh", "-c", script)
    assert done.stdout == "one 0\n" * 2 + "two 0\n" * 3 + "one 0\n" * 2 + "two 0\n" * 2


def test_what_a_job_brings_is_patched_from_its_first_start_on(run_guest, job):
    (job / "brought.c").write_text(STATS % "brought")
    run_guest("gcc", "-static", "-o", "brought", "brought.c", check=True)
    done = run_guest("./brought", options=["--stats"])
    assert done.stdout == "brought 0\n" and intercepted(done) < 100


def test_the_cache_is_emptied_while_a_machine_runs(start_guest, tmp_path):
    """Its programs go on with what they have mapped; those that start later get the originals."""
    cache = tmp_path / "cache"
    guest = start_guest("sh", env={"APPPOT_CACHE": str(cache)})

    def ask(command):
        guest.stdin.write(command + "\n")
        guest.stdin.flush()
        return guest.stdout.readline()

    script = "python3 -c 'import os; print(all(os.access(\"/etc/passwd\", 4) for _ in range(50)))'"
    assert ask(script) == ask(script) == "True\n"
    copies = set(os.listdir(cache / "patched"))
    assert len(copies) >= 2
    shutil.rmtree(cache / "patched")
    assert ask(script) == "True\n"
    assert ask("test -e /etc/passwd && echo there") == "there\n"
    assert ask(script) == ask(script) == "True\n"
