"""The site of tests/grid, for the benchmarks that measure on it.

$APPPOT_TEST_SITE is the directory of the site, which root keeps meanwhile:
    python -m tests.grid.site --directory DIRECTORY --account USER keep
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.grid.site import keeper
from tests.grid.site.daemons import SiteError
from tests.grid.site.site import facts


def arguments(parser, fits=Path.exists):
    """The directory of the site and the parsed arguments, of which `image` fits; status 2 and a line where one is missing."""
    given = parser.parse_args()
    site = os.environ.get("APPPOT_TEST_SITE")
    if not site:
        parser.error("APPPOT_TEST_SITE names no site; the source of benchmarks.grid says how root keeps one")
    if not fits(given.image):
        parser.error(f"{given.image}: no such file")
    return site, given


@contextmanager
def running(site, name):
    """Have the keeper start this part of the site, and stop it at the end: what it wrote down. SystemExit: it can't."""
    try:
        keeper.ask(site, "start", name)
    except SiteError as error:
        sys.exit(f"benchmarks: {site}: {error}")
    try:
        yield facts(site)
    finally:
        keeper.ask(site, "stop", name)
