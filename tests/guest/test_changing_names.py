"""Guests make, rename and remove names by themselves where that is the host's kernel's business alone."""

import os
import re

import pytest

from apppot.platform import landlock

from .conftest import PROGRAMS

RACE = PROGRAMS / "namespace_race.py"
fast_path = pytest.mark.skipif(landlock.abi() == 0, reason="without Landlock the fast path is off")


@pytest.mark.parametrize("isolation", ["standard", "strict"])
@pytest.mark.parametrize("place", ["/tmp/race", "/home/user/job/race"])
def test_many_at_once(run_guest, job, place, isolation):
    (job / RACE.name).write_bytes(RACE.read_bytes())
    done = run_guest("python3", RACE.name, place, options=["--isolation", isolation], check=True)
    assert done.stdout == "right\n"


CHANGES = """
import os, sys
os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
here = os.open(".", os.O_RDONLY)
for n in range(300):
    os.close(os.open("a", os.O_CREAT | os.O_WRONLY))
    os.rename("a", os.getcwd() + "/b")
    os.link("b", "c")
    os.link("b", "e", src_dir_fd=here)      # AT_SYMLINK_FOLLOW, as cp -l does it
    os.unlink("e")
    os.unlink("b", dir_fd=here)
    os.rename("c", "d", src_dir_fd=here, dst_dir_fd=here)
    os.unlink("d")
    os.mkdir(f"e{n}")
    os.access(".", os.W_OK)
print(len(os.listdir(".")))
"""


@fast_path
@pytest.mark.parametrize("options", [[], ["--root"]])
@pytest.mark.parametrize("place", ["/tmp/new", "/home/user/job/new"])
def test_changes_make_no_stops(run_guest, place, options):
    done = run_guest("python3", "-S", "-c", CHANGES, place, options=["--stats", *options], check=True)
    assert done.stdout == "300\n"
    assert int(re.search(r"(\d+) calls intercepted", done.stderr)[1]) < 500


@fast_path
def test_from_the_stubs_range_nothing_is_done_behind_the_supervisor(run_guest, program, job, debian_tree):
    (job / "program").write_bytes(program("stub_range").read_bytes())
    (job / "program").chmod(0o755)
    (job / "directory").mkdir()
    (job / "file").write_text("text")
    (job / "link").symlink_to("/etc/passwd")
    done = run_guest("./program", str(job), str(debian_tree / "etc" / "debian_version"), check=True)
    results = dict(line.split() for line in done.stdout.splitlines())
    allowed = {"mkdir", "rename-file", "link-file", "unlink"}
    assert {name for name, result in results.items() if result == "done"} == allowed
    for name in "unlinkat-directory", "rename-directory", "exchange", "rename-link", "link-link":
        assert results[name] == "EACCES"
    assert {results["unlink-outside"], results["link-outside"]} <= {"EACCES", "EXDEV"}
    assert results["rmdir"] == results["symlink"] == results["chmod"] == "ENOENT"
    assert results["report"] == "EFAULT"
    assert sorted(os.listdir(job)) == ["directory", "file", "link", "new", "program"]


LOOK = """
import os, sys
for turn in range(4):
    new = f"{sys.argv[1]}{turn}"
    for call in (lambda: os.stat("file"), lambda: os.mkdir(new), lambda: os.close(os.open(new + "f", os.O_CREAT)),
                 lambda: os.unlink(new + "f"), lambda: os.rename("own", "own"), lambda: os.link("own", new + "l")):
        try:
            call()
        except OSError as error:
            print(error.strerror, end=" ")
        else:
            print("done", end=" ")
"""


def test_whose_a_directory_is_counts(run_guest, job):
    """A user may not make names in a directory of root's, nor look into a closed one, whatever root does there meanwhile."""
    (job / "look.py").write_text(LOOK)
    script = """
        mkdir /tmp/d && cd /tmp/d && touch file own
        look() { python3 ~/job/look.py $1; echo; }
        look before
        sudo chown root:root .
        look root; sudo python3 ~/job/look.py asroot; echo; look again
        sudo chmod 700 .
        look closed; sudo python3 ~/job/look.py asroot2; echo; look last
    """
    runs = [run_guest("bash", "-c", script, options=["--isolation", isolation], check=True).stdout
            for isolation in ("standard", "strict")]
    assert runs[0].splitlines() == runs[1].splitlines()
    lines = runs[0].splitlines()
    assert set(lines[0].split()) == {"done"}
    assert lines[1] == lines[3] and lines[1].count("done") == 4 + 4     # stat, and rename to itself


def test_modes_that_take_the_owners_rights_away(run_guest):
    """Virtual root works in directories of any mode, so these have records."""
    script = """
import os, stat
os.mkdir("/tmp/new")
os.chdir("/tmp/new")
for turn in range(3):
    for mask in 0o022, 0o777:
        os.umask(mask)
        for mode in 0o755, 0o055, 0:
            name = f"{turn}-{mask:o}-{mode:o}"
            os.mkdir(name, mode)
            os.mkdir(name + "/below")
            os.close(os.open(name + "/file", os.O_CREAT | os.O_RDWR))
            print(name, oct(os.stat(name).st_mode), sorted(os.listdir(name)), oct(os.stat(name + "/file").st_mode))
"""
    runs = [run_guest("python3", "-c", script, options=["--root", "--isolation", isolation], check=True).stdout
            for isolation in ("standard", "strict")]
    assert runs[0] == runs[1] and runs[0].count("below") == 18
