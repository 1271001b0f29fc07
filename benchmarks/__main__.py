"""How fast AppPot is beside native and its peers: `python -m benchmarks`."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from . import measuring, plot, report
from .material import Material
from .ways import FAST, Place, copy_tree, working
from .workloads import ALL, START, Figure


def arguments():
    listing = "\n".join(f"  {name:16}{workload.about}" for name, workload in ALL.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure AppPot beside native, PRoot, bubblewrap and Sandlock, in turn in one run; ratios are to native.",
        epilog=f"workloads (NAME may be a pattern, as 'git-*'):\n{listing}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about 4 minutes instead of 20")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to FILE")
    parser.add_argument("--plot", metavar="FILE.svg", type=Path, help="draw the ratios")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables; docs/benchmarks.md is made with it")
    parser.add_argument("--tree", metavar="DIR", type=Path, help="root tree to run in (default: the one of the tests)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these workloads")
    given = parser.parse_args()
    for pattern in given.names:
        if not any(fnmatchcase(name, pattern) for name in ALL):
            parser.error(f"no such workload: {pattern}; --help lists them")
    for path in (given.json, given.plot, given.markdown):
        try:
            if path is not None:        # now, not after twenty minutes
                path.open("a").close()
        except OSError as error:
            parser.error(f"{path}: {error.strerror}")
    if given.tree is not None and not (given.tree / "usr").is_dir():
        parser.error(f"--tree {given.tree}: not a root tree")
    return given


def chosen(patterns):
    """The workloads of these names, and the start of /bin/true where the figures of others need it."""
    found = [workload for name, workload in ALL.items()
             if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]
    if any(workload.figure in (Figure.WHOLE, Figure.PART) for workload in found) and ALL[START] not in found:
        found.insert(0, ALL[START])
    return found


def run(given, tree, beside, directory):
    """Measure in the tree, with its copy in `beside` and all else in `directory`; the exit status."""
    from tests.guest.make_tree import cache_dir
    place = Place(tree, beside / "copy", *(directory / name for name in ("job", "scratch", "temporary")))
    for made in (place.job, place.scratch, place.temporary):
        made.mkdir()
    copy_tree(place.tree, place.copy)
    ways, missing = working(place)
    for line in missing:
        print(line, file=sys.stderr)
    if not any(way.name == FAST for way in ways):
        return 1
    (directory / "material").mkdir()
    material = Material(directory / "material", cache_dir(), ways, place)
    plan = measuring.QUICK if given.quick else measuring.FULL
    conditions = report.conditions(directory)
    results = measuring.measure_all(chosen(given.names), ways, place, material, plan)
    found = report.Report(results, ways, missing, plan, conditions)
    print(report.terminal(found))
    for path, text in ((given.json, report.as_json), (given.markdown, report.markdown), (given.plot, plot.svg)):
        if path is not None:
            path.write_text(text(found))
    return 0


@contextmanager
def directory_in(parent):
    """A new directory, removed at the end. Only directories are made writable for that: files may be the tree's own."""
    path = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=parent))
    try:
        yield path
    finally:
        subprocess.run(["find", path, "-type", "d", "!", "-perm", "-u+rwx", "-exec", "chmod", "u+rwx", "{}", "+"],
                       stderr=subprocess.DEVNULL)
        subprocess.run(["rm", "-rf", path])


def main():
    given = arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))     # so that nothing is left
    from tests.guest.make_tree import tree
    temporary = os.environ.get("TMPDIR", "/var/tmp")
    try:
        root = given.tree.absolute() if given.tree else tree()
        # On one file system the copy is made of hard links, and what is read is the same for all ways.
        with (directory_in(root.parent if os.access(root.parent, os.W_OK) else temporary) as beside,
              directory_in(temporary) as directory):
            return run(given, root, beside, directory)
    except OSError as error:
        print(f"python -m benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
