"""Command line; the package's docstring says what it does."""

import argparse
import sys

from . import keeper
from .daemons import Place, SiteError
from .site import Site, default_rte


def main():
    parser = argparse.ArgumentParser(prog="python3 -m tests.grid.site", description="A real ARC site on loopback.")
    parser.add_argument("--directory", required=True, help="where all files of the site are")
    parser.add_argument("--account", required=True, help="who submits the jobs, and whose they are at the site")
    parser.add_argument("verb", choices=["keep", "start", "stop"])
    parser.add_argument("back_end", nargs="*", metavar="fork|slurm|sbatch")
    given = parser.parse_args()
    try:
        place = Place(given.directory, given.account)
        if given.verb == "keep":
            keeper.serve(place, default_rte())
        site = Site(place, default_rte())
        if given.verb == "stop":
            site.stop(*given.back_end)
        else:
            for name in given.back_end:
                site.start(name)
    except (SiteError, OSError, KeyError) as error:
        sys.exit(f"site: {error}")


if __name__ == "__main__":
    main()
