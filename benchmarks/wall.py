"""What the wall costs: the same work with `--isolation standard` and with `none`, in turn. `python -m benchmarks.wall [--rounds N]`

Calls with names take the fast path in both, so what differs is Landlock.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile

from tests.guest import make_tree
from tests.guest.conftest import environment, start_command

TIMED = """
import mmap, os, subprocess, time
run = lambda *words: subprocess.run(words, stdout=subprocess.DEVNULL)
{setting}
def work():
    {work}
work()
start = time.perf_counter()
work()
print(time.perf_counter() - start)
"""
FILE = "fd = os.open('/tmp/x', os.O_RDWR | os.O_CREAT); page = b'x' * 4096"
#: What is done: (Python that gets ready, Python that works)
WORK = {
    "processor": ("", "sum(n * n for n in range(20_000_000))"),
    "reading and writing": (FILE, "for n in range(400_000): os.pwrite(fd, page, n % 64 << 12); os.pread(fd, 4096, n % 64 << 12)"),
    "mapping memory": ("", "for n in range(100_000): mmap.mmap(-1, 65536).close()"),
    "pipes and processes": ("", "for n in range(300):\n        if os.fork() == 0: os._exit(0)\n        os.wait()"),
    "stat": ("", "for n in range(300_000): os.stat('/usr/share/doc')"),
    "open and close": ("", "for n in range(200_000): os.close(os.open('/usr/bin/env', os.O_RDONLY))"),
    "making and removing files": ("os.makedirs('/tmp/a/b')", "for n in range(50_000): os.close(os.open('/tmp/a/b/x', os.O_CREAT)); "
                                  "os.unlink('/tmp/a/b/x')"),
    "walking a tree": ("", "for n in range(3): run('find', '/usr', '-size', '+100k')"),
    "reading many files": ("", "for n in range(3): run('grep', '-r', 'no such text', '/usr/include', '/usr/lib/python3.11')"),
    "starting programs": ("", "for n in range(10): run('python3', '-c', 'import json, http.client, unittest')"),
    "compiling": ("open('a.c', 'w').write('#include <stdio.h>\\nint main(void) { return puts(\"\") < 0; }')",
                  "for n in range(5): run('gcc', '-O2', '-o', 'a', 'a.c')"),
}


def seconds(image, isolation, setting, work):
    with tempfile.TemporaryDirectory() as job:
        done = subprocess.run(start_command("python3", "-S", "-c", TIMED.format(setting=setting, work=work), image=image,
                                            options=["--isolation", isolation]), cwd=job, env=environment(),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
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
        setting, work = WORK[name]
        pairs = []
        for number in range(given.rounds):
            ways = ["standard", "none"][::1 if number % 2 else -1]
            found = [seconds(image, way, setting, work) for way in ways]
            pairs.append(found[::1 if number % 2 else -1])
        ratios = [one / two for one, two in pairs]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        one, two = (statistics.median(column) for column in zip(*pairs))
        print(f"{name:28}{one * 1000:6.0f} ms{two * 1000:6.0f} ms{statistics.median(ratios):8.3f}{low:8.3f}{high:7.3f}", flush=True)


if __name__ == "__main__":
    main()
