"""The fast path answers what the slow path would: random namespace operations, on, off and natively."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from .conftest import PROGRAMS

STEPS = 2000
TREE = """
import os, sys
for top in sys.argv[1:]:
    top += "/1/2/3/4/5/6"
    for a in "a", "b", "dir":
        for b in "a", "sub", "c":
            os.makedirs(f"{top}/{a}/{b}", exist_ok=True)
            for name in "b", "c.txt", "x y":
                with open(f"{top}/{a}/{b}/{name}", "w") as file:
                    file.write(f"{a}{b}{name}")
    os.symlink("dir", f"{top}/link")
    os.symlink("../a", f"{top}/dir/link")
"""
STRESS = PROGRAMS / "namespace_stress.py"


def stress(seed, top):
    return [str(STRESS.name), str(seed), str(STEPS), top]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What a seed prints in a plain directory of the host."""
    known = {}

    def run(seed):
        if seed not in known:
            top = tmp_path_factory.mktemp("plain") / "stress"
            subprocess.run([sys.executable, "-c", TREE, str(top)], check=True)
            known[seed] = subprocess.run([sys.executable, str(STRESS), str(seed), str(STEPS), str(top)], check=True,
                                         capture_output=True, text=True, timeout=120).stdout
        return known[seed]

    return run


@pytest.fixture(scope="module")
def image_with_tree(debian_tree):
    """The Debian tree, by hard links, with the stress test's directories in it as lower ones."""
    image = debian_tree.parent / f"stress-{os.getpid()}"
    subprocess.run(["cp", "-al", debian_tree, image], check=True)
    subprocess.run([sys.executable, "-c", TREE, str(image / "opt" / "stress")], check=True)
    yield image
    subprocess.run(["chmod", "-R", "u+rwX", image / "opt"], check=True)
    shutil.rmtree(image)


@pytest.mark.parametrize("isolation", ["standard", "strict"])
@pytest.mark.parametrize("place", ["/tmp/stress", "/home/user/job/stress", "/opt/stress", "host:/tmp/stress"])
@pytest.mark.parametrize("seed", [1, 2])
def test_namespace_operations(run_guest, expected, image_with_tree, job, seed, place, isolation):
    (job / STRESS.name).write_bytes(STRESS.read_bytes())
    (job / "tree.py").write_text(TREE)
    options = ["--isolation", isolation]
    more = {}
    if place.startswith("host:"):          # the host's own root: there /tmp is an opaque directory
        place, more = place[5:], {"image": "/"}
    if place.startswith("/opt"):
        done = run_guest("python3", *stress(seed, place), options=options, image=image_with_tree, check=True)
    else:
        done = run_guest("sh", "-c", 'python3 tree.py "$4" && exec python3 "$@"', "sh", *stress(seed, place),
                         options=options, check=True, **more)
    assert done.stdout.splitlines() == expected(seed).splitlines()


@pytest.mark.parametrize("place", ["/tmp/stress", "/home/user/job/stress", "/opt/stress"])
def test_namespace_operations_with_owners(run_guest, image_with_tree, job, place):
    """As virtual root, who gives files away and changes their modes; there is nothing native to compare with."""
    (job / STRESS.name).write_bytes(STRESS.read_bytes())
    (job / "tree.py").write_text(TREE)
    runs = {}
    for isolation in "standard", "strict":
        done = run_guest("sh", "-c", 'test -d "$3" || python3 tree.py "$3"; exec python3 namespace_stress.py --owners "$@"',
                         "sh", "3", str(STEPS), place, options=["--root", "--isolation", isolation], image=image_with_tree,
                         check=True)
        runs[isolation] = done.stdout.splitlines()
        subprocess.run(["chmod", "-R", "u+rwX", job], check=True)
        shutil.rmtree(job / "stress", ignore_errors=True)
    assert runs["standard"] == runs["strict"]


def test_repeated_calls_make_no_stops(run_guest):
    script = "import os\nfor _ in range(2000): os.stat('/usr/bin/env'); os.access('/etc/passwd', 4); open('/etc/passwd').close()"
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], check=True)
    total = int(re.search(r"(\d+) calls intercepted", done.stderr)[1])
    off = run_guest("python3", "-S", "-c", script, options=["--stats", "--isolation", "strict"], check=True)
    assert total < 1000 < 6000 < int(re.search(r"(\d+) calls intercepted", off.stderr)[1])


def test_readlink_of_what_is_no_link(run_guest):
    """What realpath(3) asks at every component of a path: directories in merged and in other directories, files."""
    script = """
import errno, os
names = "/usr", "/usr/lib", "/usr/bin/env", "/etc", "/etc/passwd", "/tmp", "/tmp/d"
os.mkdir("/tmp/d")
def look():
    for name in names:
        try:
            os.readlink(name)
        except OSError as error:
            assert error.errno == errno.EINVAL, name
        else:
            raise AssertionError(name)
for _ in range(1000): look()
os.rmdir("/tmp/d")
try:
    os.readlink("/tmp/d")
except FileNotFoundError:
    os.symlink("/usr", "/tmp/d")
print(os.readlink("/tmp/d"))
os.unlink("/tmp/d")
os.mkdir("/tmp/d")
look()
os.rename("/tmp/d", "/tmp/e")
os.symlink("e", "/tmp/d")
print(os.readlink("/tmp/d"))
"""
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], check=True)
    assert done.stdout == "/usr\ne\n"
    counted = re.search(r"(\d+)  readlink$", done.stderr, re.MULTILINE)
    assert counted is None or int(counted[1]) < 100


def test_virtual_root_sees_its_own_files(run_guest):
    script = "import os\nfor _ in range(5): print(os.stat('/usr/bin/env').st_uid, os.stat('/tmp').st_uid)"
    assert run_guest("python3", "-c", script, options=["--root"], check=True).stdout == "0 0\n" * 5


def test_what_others_do_in_a_bound_directory_is_seen(start_guest, job):
    """Files come, go and become links from outside, between two looks through a patched site."""
    script = """
import os, sys
for line in sys.stdin:
    try:
        os.stat("d/x"), os.stat("d/x")
        print("there", os.stat("/home/user/job/d/x").st_size, flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""
    (job / "d").mkdir()
    guest = start_guest("python3", "-c", script)

    def look():
        guest.stdin.write("\n")
        guest.stdin.flush()
        return guest.stdout.readline().strip()

    assert look() == look() == "No such file or directory"
    (job / "d" / "x").write_text("now")
    assert look() == look() == "there 3"
    (job / "d" / "x").unlink()
    (job / "d" / "x").symlink_to("nowhere")
    assert look() == look() == "No such file or directory"
    (job / "d").rename(job / "e")
    (job / "d").symlink_to("e")
    (job / "e" / "nowhere").write_text("found")
    assert look() == look() == "there 5"
