"""Every way to open a file, with the fast path and without; also where Landlock does not see that files are cut off."""

import re

from .conftest import LEVELS

OPENS = """
import fcntl, itertools, os, shutil, stat
os.umask(0)
ways = [sum(some) for count in range(4) for some in itertools.combinations(
    (os.O_CREAT, os.O_TRUNC, os.O_EXCL, os.O_APPEND, os.O_NOFOLLOW, os.O_DIRECTORY, os.O_NONBLOCK), count)]
for place in "/tmp", "/home/user/job", "/etc":
    os.mkdir(f"{place}/d")
    os.symlink("d", f"{place}/to-d")
    for number, (access, way) in enumerate(itertools.product(range(4), ways)):
        told = [place, access, way]
        for name in "there", "there", "missing", "link", "dangling", "d", "to-d/in", "d/in":
            path = f"{place}/{name}"
            with open(f"{place}/there", "w") as file, open(f"{place}/d/in", "w") as inside:
                file.write("contents"), inside.write("inside")
            for link in "link", "dangling":
                if not os.path.lexists(f"{place}/{link}"):
                    os.symlink("there" if link == "link" else "nowhere", f"{place}/{link}")
            try:
                fd = os.open(path, access | way, 0o600 + number % 64)
            except OSError as error:
                told.append(error.errno)
            else:
                told += [fcntl.fcntl(fd, fcntl.F_GETFL), os.fstat(fd).st_size if stat.S_ISREG(os.fstat(fd).st_mode) else "-",
                         oct(os.fstat(fd).st_mode)]
                os.close(fd)
            for made in "missing", "nowhere":
                if os.path.exists(f"{place}/{made}"):
                    os.unlink(f"{place}/{made}")
        print(*told)
shutil.rmtree("d"), [os.unlink(name) for name in os.listdir(".")]
"""


def test_every_way_to_open(run_guest):
    """More than the table of known ways has room for."""
    told = {level: run_guest("python3", "-S", "-c", OPENS, options=["--root", "--isolation", isolation], landlock=landlock, check=True).stdout
            for level, (isolation, landlock) in LEVELS.items()}
    assert told["standard"] == told["landlock-1"] == told["none"] == told["strict"]
    assert len(told["strict"].splitlines()) == 3 * 4 * 64


def test_files_are_opened_without_a_stop_where_landlock_does_not_see_them_cut_off(run_guest):
    script = """
import os
for number in range(500):
    os.close(os.open(f"/tmp/{number % 3}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640))
    os.close(os.open(f"{number % 3}", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
    os.close(os.open("/usr/bin/env", os.O_RDONLY | os.O_NONBLOCK))
"""
    for version in 1, 2:
        done = run_guest("python3", "-S", "-c", script, options=["--stats"], landlock=version, check=True)
        assert int(re.search(r"(\d+) calls intercepted", done.stderr)[1]) < 300 < 1500 < int(
            re.search(r"(\d+) calls answered without", done.stderr)[1])
    script = 'import os\nfor _ in range(500): os.close(os.open("/tmp/a", os.O_RDONLY | os.O_CREAT | os.O_TRUNC))'
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], landlock=2, check=True)
    assert int(re.search(r"(\d+) +openat", done.stderr)[1]) >= 500, "these may cut off what can only be read"
