"""What the wall costs: the same work in a machine with it and without, in turn. `python -m benchmarks.wall [--rounds N]`

Work whose calls the filter passes is done with `--isolation standard` and with `--isolation none`. Calls with names take the fast
path in the former only, so there the other machine is one of `standard` whose tasks no Landlock confines.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile

from tests.guest import make_tree
from tests.guest.conftest import environment

WITHOUT_LANDLOCK = """
import sys
from apppot.kernel.wall import Wall
Wall.rule_set = lambda self, running: None
from apppot.cli.start import main
sys.exit(main())
"""
START = ["-m", "apppot.cli.start"]
STANDARD, NONE, OPEN = (START, ()), (START, ("--isolation", "none")), (["-c", WITHOUT_LANDLOCK], ())
TIMED = """
import mmap, os, time
{setting}
def work():
    {work}
work()
start = time.perf_counter()
work()
print(time.perf_counter() - start)
"""
FILE = "fd = os.open('/tmp/x', os.O_RDWR | os.O_CREAT); page = b'x' * 4096"
#: What is done: (Python that gets ready, Python that works, the way without the wall)
WORK = {
    "processor": ("", "sum(n * n for n in range(20_000_000))", NONE),
    "reading and writing": (FILE, "for n in range(400_000): os.pwrite(fd, page, n % 64 << 12); os.pread(fd, 4096, n % 64 << 12)", NONE),
    "mapping memory": ("", "for n in range(100_000): mmap.mmap(-1, 65536).close()", NONE),
    "pipes and processes": ("", "for n in range(300):\n        if os.fork() == 0: os._exit(0)\n        os.wait()", NONE),
    "stat": ("", "for n in range(300_000): os.stat('/usr/share/doc')", OPEN),
    "open and close": ("", "for n in range(200_000): os.close(os.open('/usr/bin/env', os.O_RDONLY))", OPEN),
    "making and removing files": ("os.makedirs('/tmp/a/b')", "for n in range(50_000): os.close(os.open('/tmp/a/b/x', os.O_CREAT)); "
                                  "os.unlink('/tmp/a/b/x')", OPEN),
}


def seconds(image, way, setting, work):
    program, options = way
    with tempfile.TemporaryDirectory() as job:
        done = subprocess.run([sys.executable, *program, "--image", str(image), *options, "python3", "-S", "-c",
                               TIMED.format(setting=setting, work=work)], cwd=job, env=environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"status {done.returncode}: {done.stderr.strip()}")
    return float(done.stdout)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wall", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(WORK)}")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in WORK]:
        parser.error(f"no such work: {unknown[0]}; --help lists them")
    if given.rounds < 1:
        parser.error("--rounds: at least 1")
    image = make_tree.tree()
    print(f"{'work':28}{'with':>9}{'without':>9}{'ratio':>8}{'quartiles':>15}   median of {given.rounds} rounds")
    for name in given.names or WORK:
        setting, work, without = WORK[name]
        pairs = []
        for number in range(given.rounds):
            ways = [STANDARD, without][::1 if number % 2 else -1]
            found = [seconds(image, way, setting, work) for way in ways]
            pairs.append(found[::1 if number % 2 else -1])
        ratios = [one / two for one, two in pairs]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        one, two = (statistics.median(column) for column in zip(*pairs))
        print(f"{name:28}{one * 1000:6.0f} ms{two * 1000:6.0f} ms{statistics.median(ratios):8.3f}{low:8.3f}{high:7.3f}", flush=True)


if __name__ == "__main__":
    main()
