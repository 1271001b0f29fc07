"""What snapshots cost: 1,000 changed files over bases of 6,000 and of 60,000 files. The base's size must not matter.

They are in 60 directories of 100 files in both: a directory in which something changed is a change as well.

    python -m benchmarks.snapshots [--json]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BASES = (6000, 60000)
CHANGED, IN_DIRECTORIES, A_DIRECTORY = 1000, 60, 100
SIZE = 4000
ROUNDS = 5
MOST_GROWTH = 1.5          # of a cost, from the small base to the large one


def make_base(top, files):
    for number in range(files):
        directory = top / f"usr/share/d{number // A_DIRECTORY}"
        if number % A_DIRECTORY == 0:
            directory.mkdir(parents=True)
        (directory / f"f{number}").write_bytes(b"%d\n" % number)


def changed(files):
    """Numbers of the files that change, evenly over the directories that have such."""
    apart = files // A_DIRECTORY // IN_DIRECTORIES * A_DIRECTORY
    for turn in range(CHANGED):
        place, directory = divmod(turn, IN_DIRECTORIES)
        yield directory * apart + place * (A_DIRECTORY * IN_DIRECTORIES // CHANGED)


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(top, files):
    """{what: median milliseconds}"""
    from apppot.image.cow import Cow
    from apppot.image.opening import open_image
    from apppot.snap import layers
    from apppot.snap.snapshots import Snapshots
    from apppot.vfs.caller import KERNEL
    from apppot.vfs.namespace import Namespace
    from apppot.vfs.overlay import Overlay
    from apppot.vfs.ownership import Ownership

    image_path = top / "image"
    make_base(image_path, files)
    image = open_image(os.fsencode(image_path))

    def machine(name):
        cow = Cow.open(top / name)
        ownership = Ownership(cow.upper, cow.ownership_log)
        return Namespace(Overlay(image.layers, cow.upper, cow.work, ownership), ownership, cow=cow), Snapshots(cow, image, ownership)

    ns, one = machine("one")
    for number in changed(files):
        node = ns.resolve(KERNEL, b"/usr/share/d%d/f%d" % (number // A_DIRECTORY, number))
        with open(ns.open(KERNEL, node, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(os.urandom(SIZE))
    archive = os.fsencode(top / "changes.tar.gz")
    found = {}

    def note(name, function):
        found.setdefault(name, []).append(seconds(function) * 1000)

    for turn in range(ROUNDS):
        note("changes", lambda: one.archive_to(archive))
        note("base", lambda: one.base(dry=True))
        _, two = machine(f"two{turn}")

        def merge():
            two.stage(archive)
            two.commit()

        note("merge", merge)
        cache = os.fsencode(top / f"cache{turn}")
        note("layer, first start", lambda: layers.stack(image, [archive], os.getuid(), os.getgid(), cache=cache))
        note("layer, later starts", lambda: layers.stack(image, [archive], os.getuid(), os.getgid(), cache=cache))
        note("tar of all", lambda: subprocess.run(["tar", "-C", top, "-czf", top / "all.tar.gz", "image"], check=True))
    return {name: statistics.median(costs) for name, costs in found.items()}


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.snapshots", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    results = {}
    for files in BASES:
        with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:
            results[files] = measure(Path(directory), files)
    if given.json:
        print(json.dumps(results, indent=2))
        return 0
    small, large = (results[files] for files in BASES)
    print(f"{CHANGED} changed files of {SIZE} bytes; milliseconds, median of {ROUNDS}")
    print(f"{'over a base of':22}" + "".join(f"{files:>12}" for files in BASES) + f"{'growth':>10}")
    status = 0
    for name in small:
        growth = large[name] / small[name]
        verdict = ""
        if name != "tar of all":
            verdict = "   ok" if growth <= MOST_GROWTH else f"   MISSED, limit {MOST_GROWTH}"
            status |= growth > MOST_GROWTH
        print(f"{name:22}{small[name]:12.1f}{large[name]:12.1f}{growth:10.2f}{verdict}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
