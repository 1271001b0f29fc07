"""Random namespace operations do the same as on a plain directory of the host, whichever way they are answered."""

import os
import shutil
import subprocess
import sys

import pytest

from .conftest import LEVELS, PROGRAMS

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
    """The Debian tree, by hard links, with the stress test's directories in it as lower ones, below `srv` an empty one alone."""
    image = debian_tree.parent / f"stress-{os.getpid()}"
    subprocess.run(["cp", "-al", debian_tree, image], check=True)
    subprocess.run([sys.executable, "-c", TREE, str(image / "opt" / "stress")], check=True)
    (image / "srv" / "stress" / "1" / "2" / "3" / "4" / "5" / "6").mkdir(parents=True)
    yield image
    subprocess.run(["chmod", "-R", "u+rwX", image / "opt", image / "srv"], check=True)
    shutil.rmtree(image)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("place", ["/tmp/stress", "/home/user/job/stress", "/opt/stress", "/srv/stress", "host:/tmp/stress"])
@pytest.mark.parametrize("seed", [1, 2])
def test_namespace_operations(run_guest, expected, image_with_tree, job, seed, place, level):
    (job / STRESS.name).write_bytes(STRESS.read_bytes())
    (job / "tree.py").write_text(TREE)
    isolation, landlock = LEVELS[level]
    options, more = ["--isolation", isolation], {}
    if place.startswith("host:"):          # the host's own root: there /tmp is an opaque directory
        place, more = place[5:], {"image": "/"}
    if place.startswith("/opt"):
        done = run_guest("python3", *stress(seed, place), options=options, image=image_with_tree, landlock=landlock, check=True)
    else:
        more = more or {"image": image_with_tree}
        done = run_guest("sh", "-c", 'python3 tree.py "$4" && exec python3 "$@"', "sh", *stress(seed, place),
                         options=options, landlock=landlock, check=True, **more)
    assert done.stdout.splitlines() == expected(seed).splitlines()


@pytest.mark.parametrize("place", ["/tmp/stress", "/home/user/job/stress", "/opt/stress", "/srv/stress"])
def test_namespace_operations_with_owners(run_guest, image_with_tree, job, place):
    """As virtual root, who gives files away and changes their modes; there is nothing native to compare with."""
    (job / STRESS.name).write_bytes(STRESS.read_bytes())
    (job / "tree.py").write_text(TREE)
    runs = {}
    for isolation in "standard", "strict":
        done = run_guest("sh", "-c", 'test -d "$3/1/2/3/4/5/6/a" || python3 tree.py "$3"; '
                         'exec python3 namespace_stress.py --owners "$@"', "sh", "3", str(STEPS), place,
                         options=["--root", "--isolation", isolation], image=image_with_tree, check=True)
        runs[isolation] = done.stdout.splitlines()
        subprocess.run(["chmod", "-R", "u+rwX", job], check=True)
        shutil.rmtree(job / "stress", ignore_errors=True)
    assert runs["standard"] == runs["strict"]
