"""`python -m benchmarks.rte IMAGE`: what the runtime environment adds to a job, on the ARC site of tests/grid, as its user.

The same job, which runs /bin/true, is submitted bare and with ENV/APPPOT-1.0 in turn, each when the one before has ended. What
A-REX's own script measures of the executable with time(1) is compared, in hundredths of a second:
bare that is /bin/true, else the whole machine. The first job with the environment unpacks what it needs of IMAGE; it is told apart.
grid.py says how the site is kept.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.grid.clients import ArcClient
from tests.grid.site import keeper
from tests.grid.site.site import BACK_ENDS

from . import grid
from .ways import SOURCE

ROUNDS = 10
BARE = '&(executable="/bin/true")(stdout="out")(stderr="err")(gmlog="gmlog")'
CONTAINED = BARE + '(runTimeEnvironment="ENV/APPPOT-1.0" "{image}")'


def seconds(client, xrsl, place):
    """(wall time, processor time) of a job's executable."""
    job = client.run(xrsl, place)
    if job.state != "Finished":
        sys.exit(f"a job ended otherwise than it should: {job.state}\n{job.log()}")
    told = {name: float(value) for name, value in re.findall(r"^(\w+Time)=([0-9.]+)s$", job.measured(), re.MULTILINE)}
    return told["WallTime"], told["UserTime"] + told["KernelTime"]


def configure(ask, place, image):
    command = place / "apppot"
    command.write_text(f"#!/bin/sh\nPYTHONPATH={SOURCE} exec {sys.executable} -m apppot.cli.main \"$@\"\n")
    command.chmod(0o755)
    (place / "cache").mkdir()
    (place / "cache").chmod(0o1777)
    for name, value in (("APPPOT", command), ("APPPOT_IMAGES", image.parent), ("APPPOT_CACHE", place / "cache")):
        ask(name, str(value))


def show(name, measured):
    wall, processor = ([values[which] for values in measured] for which in (0, 1))
    print(f"{name}: {statistics.median(wall):.2f} s (from {min(wall):.2f} to {max(wall):.2f}), of processors "
          f"{statistics.median(processor):.2f} s (from {min(processor):.2f} to {max(processor):.2f})")


def measure(site, back_end, place, image, rounds):
    with grid.running(site, back_end) as facts:
        configure(lambda name, value: keeper.ask(site, "set", back_end, name, value), place, image)
        client = ArcClient(back_end, facts, place, partial(keeper.ask, site))
        contained = CONTAINED.format(image=image.name)
        show("the first job in a machine", [seconds(client, contained, place)])
        bare, within = [], []
        for _ in range(rounds):
            bare.append(seconds(client, BARE, place))
            within.append(seconds(client, contained, place))
        show("a job on the bare host", bare)
        show("the same in a machine", within)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rte", description="What the runtime environment adds to a job.")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image file or directory with /bin/true")
    parser.add_argument("--back-end", choices=BACK_ENDS, default=BACK_ENDS[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"pairs of jobs; default {ROUNDS}")
    site, given = grid.arguments(parser)
    if given.rounds < 1:
        parser.error("--rounds: at least 1")
    with tempfile.TemporaryDirectory(prefix="apppot-rte-", dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        measure(site, given.back_end, Path(place), given.image.resolve(), given.rounds)


if __name__ == "__main__":
    main()
