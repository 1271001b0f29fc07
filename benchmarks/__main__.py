"""Run every measurement natively, in AppPot and in PRoot, in alternation; print medians and ratios to native.

    python -m benchmarks [--quick] [--json] [NAME...]
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.ways import working

PROGRAMS = Path(__file__).parent / "programs"

# Microseconds a call: name -> how many calls in a round.
CALLS = {"stat": 5000, "stat-missing": 5000, "stat-relative": 5000, "open-close": 3000, "create-unlink": 1000, "getpid": 500000,
         "read": 100000, "thread": 1000, "fork-wait": 200, "fork-exec-wait": 100, "vfork-exec-wait": 100, "cpu": 20000}
# Milliseconds a command.
COMMANDS = {
    "start /bin/true": ["/bin/true"],
    "CPU-bound": ["perl", "-e", "my $x = 0; $x += $_ % 7 for 1 .. 10_000_000"],
    "1 GiB write and read": ["sh", "-c", "dd if=/dev/zero of=big bs=1M count=1024 conv=fsync status=none; cat big >/dev/null; rm big"],
    "find /usr": ["find", "/usr", "-newer", "/etc/hostname"],
    "du /usr/share": ["du", "-s", "/usr/share"],
    "tar /usr/include": ["tar", "-C", "/", "-cf", "/dev/null", "usr/include"],
    "gcc -O2 -c": ["gcc", "-O2", "-c", "-o", "hello.o", "hello.c"],
    "python3 imports": ["python3", "-c", "import json, subprocess, urllib.request"],
    "100 x /bin/true": ["sh", "-c", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done"],
    "git status": ["git", "-C", "repo", "status", "--porcelain"],
}
HELLO = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n"
# What the measurements must be, from the issue and DESIGN: name -> (limit, of what).
LIMITS = {"stat": (30, "µs"), "start /bin/true": (120, "ms"), "memory": (40, "MiB")}


def prepare(job):
    """Fill the job directory."""
    subprocess.run(["gcc", "-O2", "-pthread", "-w", "-o", job / "micro", PROGRAMS / "micro.c"], check=True)
    (job / "hello.c").write_text(HELLO)
    (job / "job-file").write_text("")
    repository = job / "repo"
    repository.mkdir()
    for n in range(500):
        path = repository / f"d{n % 20}" / f"f{n}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(n))
    git = ["git", "-C", repository, "-c", "user.name=b", "-c", "user.email=b@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "b"]):
        subprocess.run([*git, *words], check=True)


def call_cost(way, name, count, job):
    done = way.run("/home/user/job/micro", name, count, cwd=job)
    if done.returncode != 0:
        raise RuntimeError(f"{way.name}: micro {name}: status {done.returncode} {done.stderr.strip()[-200:]}")
    return float(done.stdout)


def command_cost(way, words, job):
    start = time.perf_counter()
    done = way.run(*words, cwd=job)
    took = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        raise RuntimeError(f"{way.name}: {' '.join(words)}: status {done.returncode} {done.stderr.strip()[-200:]}")
    if way.clocked:
        took = int(done.stderr.rpartition("elapsed ")[2]) / 1000
    return took


def memory(way, job):
    """High-water mark, in MiB, of the process that was started: the supervisor."""
    process = subprocess.Popen(way.command(["sh", "-c", "find /usr >/dev/null; echo done; read x"], job), cwd=job, env=way.env,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    with open(f"/proc/{process.pid}/status") as file:
        peak = int(re.search(r"VmHWM:\s*(\d+)", file.read())[1]) / 1024
    process.communicate("\n")
    return peak


def measure(ways, chosen, rounds, divisor, job):
    """name -> (unit, {way: median})"""
    results = {}
    work = [(name, "µs", lambda way, n=name, c=count: call_cost(way, n, max(10, c // divisor), job)) for name, count in CALLS.items()]
    work += [(name, "ms", lambda way, w=words: command_cost(way, w, job)) for name, words in COMMANDS.items()]
    work += [("memory", "MiB", lambda way: memory(way, job))]
    for name, unit, cost in work:
        if chosen and name not in chosen:
            continue
        if name == "memory":
            results[name] = (unit, {way.name: cost(way) for way in ways if way.name.startswith("AppPot")})
            continue
        found = {way.name: [] for way in ways}
        for _ in range(rounds):
            for way in ways:  # in alternation, so that a noisy moment hits all of them
                try:
                    found[way.name].append(cost(way))
                except RuntimeError as error:
                    print(f"failed: {error}", file=sys.stderr)
        results[name] = (unit, {way: statistics.median(costs) for way, costs in found.items() if costs})
    return results


def show(results, ways):
    head = f"{'':22}" + "".join(f"{way.name:>12}" for way in ways) + "".join(f"{way.name + '/native':>16}" for way in ways[1:])
    print(head)
    for name, (unit, medians) in results.items():
        line = f"{name:17} {unit:>4}"
        line += "".join(f"{medians[way.name]:12.2f}" if way.name in medians else f"{'-':>12}" for way in ways)
        base = medians.get(ways[0].name)
        line += "".join(f"{medians[way.name] / base:16.2f}" if base and way.name in medians else f"{'':16}" for way in ways[1:])
        limit, _ = LIMITS.get(name, (None, None))
        reached = [cost for way, cost in medians.items() if way.startswith("AppPot")]
        if limit and reached:
            line += f"   limit {limit}: {'ok' if reached[0] <= limit else 'MISSED'}"
        print(line)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure AppPot beside native and PRoot.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("names", nargs="*", help="only these measurements")
    given = parser.parse_args()
    unknown = set(given.names) - set(CALLS) - set(COMMANDS) - {"memory"}
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join([*CALLS, *COMMANDS, 'memory'])}")
    from tests.guest.make_tree import tree
    ways, missing = working(tree())
    for line in missing:
        print(line, file=sys.stderr)
    if not any(way.name.startswith("AppPot") for way in ways):
        return 1
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:
        job = Path(directory)
        prepare(job)
        results = measure(ways, given.names, 3 if given.quick else 7, 5 if given.quick else 1, job)
    if given.json:
        print(json.dumps({name: {"unit": unit, **medians} for name, (unit, medians) in results.items()}, indent=2))
    else:
        show(results, ways)
    return 0


if __name__ == "__main__":
    sys.exit(main())
