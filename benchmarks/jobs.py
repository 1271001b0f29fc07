"""`python -m benchmarks.jobs IMAGE`: what jobs of a cluster read of an image, on the Slurm of tests/grid, as the user of its jobs.

The jobs of one array run side by side, with IMAGE, which has Perl, and a cache that is empty before. Then some run one after the
other, and before each the host's memory drops the image, as if it came to a node that has the cache but must ask the file server
again. What was read of the image is what is in memory afterwards (mincore(2)), so it counts read-ahead too.
grid.py says how the site is kept.
"""

import argparse
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.grid.clients import Cluster

from . import grid
from .images import evict, resident
from .ways import SOURCE

JOBS, FORGETFUL = 200, 20
PROGRAM = ["/usr/bin/perl", "-MPOSIX", "-MList::Util", "-e", "1"]
TASK = """\
#!/bin/sh
APPPOT_CACHE={cache} PYTHONPATH={source} exec {python} -m apppot.cli.start -q --image {image} {program}
"""


def run(cluster, place, image, *options):
    """Run jobs until they have ended; bytes of the image that are in memory then."""
    script = place / "job.sh"
    script.write_text(TASK.format(cache=place / "cache", source=SOURCE, python=sys.executable, image=shlex.quote(str(image)),
                                  program=shlex.join(PROGRAM)))
    if status := cluster.run(script, *options, cwd=place, timeout=3600):
        sys.exit(f"a job ended with status {status}: {(place / 'out').read_text()}")
    return resident(image)


def traffic(site, place, jobs, image):
    with grid.running(site, "sbatch") as facts:
        cluster = Cluster(facts, place)
        evict(image)
        read = run(cluster, place, image, f"--array=0-{jobs - 1}")
        cached = subprocess.check_output(["du", "-s", "--block-size=1", place / "cache"], text=True).split()[0]
        size = image.stat().st_size
        print(f"{jobs} jobs side by side on a node: {read / 1e6:.2f} MB were read of an image of {size / 1e6:.0f} MB, of which the "
              f"cache then holds {int(cached) / 1e6:.2f} MB unpacked; copies for all would be {jobs * size / 1e9:.0f} GB")
        later = []
        for _ in range(FORGETFUL):
            evict(image)
            later.append(run(cluster, place, image))
        print(f"a later job, where the host's memory has forgotten the image: {statistics.median(later) / 1e6:.2f} MB (from "
              f"{min(later) / 1e6:.2f} to {max(later) / 1e6:.2f} of {FORGETFUL})")


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description="What jobs of a cluster read of an image.")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image file with Perl, as that of examples/mpi")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"jobs of the array; default {JOBS}")
    site, given = grid.arguments(parser, Path.is_file)
    if given.jobs < 1:
        parser.error("--jobs: at least 1")
    with tempfile.TemporaryDirectory(prefix="apppot-jobs-", dir="/var/tmp") as place:
        image = Path(shutil.copy(given.image, place))       # of files of others mincore(2) says that all is in memory
        traffic(site, Path(place), given.jobs, image)


if __name__ == "__main__":
    main()
