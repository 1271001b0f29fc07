"""Measures workloads, the ways in turn within each round, and checks that each way did the work."""

import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace

from .material import Missing
from .ways import FAST, NATIVE, SLOW
from .workloads import START, Figure

LONGEST = 300       # seconds for one run of one workload
START_TIMES = 3     # as many rounds of the start of /bin/true as of others


@dataclass(frozen=True)
class Plan:
    """rounds: at most so many. share: a way that has used so many seconds of a workload leaves further rounds to the others.
    milliseconds: how long a single call is measured."""

    rounds: int
    share: float
    milliseconds: int


QUICK = Plan(rounds=3, share=0.5, milliseconds=60)
FULL = Plan(rounds=7, share=3, milliseconds=250)


class Failed(Exception):
    """A way did not do the work; the text says how."""


@dataclass
class Result:
    """What was found of one workload: `samples` and `failures` by the names of ways; `left_out` says why there are none."""

    workload: object
    samples: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)
    left_out: str = ""

    def median(self, way):
        return statistics.median(self.samples[way]) if self.samples.get(way) else None

    def ratio(self, way, less=None):
        """Of the medians of a way and of native; None where one is missing. less: {way: what is taken off first}."""
        less = less or {}
        own, base = self.median(way), self.median(NATIVE)
        if own is None or base is None:
            return None
        own, base = own - less.get(way, 0), base - less.get(NATIVE, 0)
        return own / base if own > 0 and base > 0 else None

    def spread(self, way):
        """The least and the greatest ratio to native in one round, or None."""
        pairs = list(zip(self.samples.get(way, ()), self.samples.get(NATIVE, ()), strict=False))
        ratios = [own / base for own, base in pairs if base > 0]
        return (min(ratios), max(ratios)) if ratios else None


def noted(name, stderr):
    """Milliseconds that a line "NAME MICROSECONDS" says."""
    found = re.findall(rf"^{name} (\d+)$", stderr, re.MULTILINE)
    if not found:
        raise Failed("it did not say how long it took")
    return int(found[-1]) / 1000


def telling(stderr):
    """The line that says most about a failure: the first that speaks of one, else the last; "" without lines."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("elapsed ")]
    found = [line for line in lines if re.search("error|fatal|denied|fail|can.?not|can't|no such", line, re.IGNORECASE)]
    worse = [line for line in found if "warning" not in line.lower()]
    return (worse or found or lines[-1:] or [""])[0][:200]


def run_once(way, workload, place, plan):
    """(figure, proof that the work was done) of one run."""
    words = [word.replace("{milliseconds}", str(plan.milliseconds)) for word in workload.words]
    begin = time.perf_counter()
    try:
        done = way.run(words, place, workload.as_root, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {LONGEST} seconds") from None
    took = (time.perf_counter() - begin) * 1000
    if done.returncode:
        raise Failed(f"status {done.returncode} {telling(done.stderr)}".strip())
    if workload.figure is Figure.CALL:
        return float(done.stdout), None
    stdout = done.stdout.replace(way.root, "") if way.root else done.stdout
    if workload.figure is Figure.PART:
        took = noted("part", done.stderr)
    elif way.clocked:
        took = noted("elapsed", done.stderr)
    return took, workload.proof(place, stdout)


def memory(way, workload, place):
    """High-water mark, in MiB, of the process that was started: the supervisor."""
    with way.start(workload.words, place, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if not process.stdout.readline():
            raise Failed(f"status {process.wait()} before its work was done")
        with open(f"/proc/{process.pid}/status") as file:
            peak = int(re.search(r"VmHWM:\s*(\d+)", file.read())[1]) / 1024
        process.communicate("\n")
    if process.returncode:
        raise Failed(f"status {process.returncode}")
    return peak


def prepare(workload, material):
    if workload.prepare is not None:
        workload.prepare(material)


def warm_up(way, workload, place, material, plan):
    """Run once, unmeasured, which brings files into memory; what the run proved, or the Failed."""
    try:
        prepare(workload, material)
        return run_once(way, workload, place, plan)[1]
    except Failed as error:
        return error


def measure(workload, ways, place, material, plan):
    """A Result."""
    result = Result(workload)
    if workload.figure is Figure.MEMORY:
        ways = [way for way in ways if way.name in (FAST, SLOW)]
    try:
        expected = None
        if workload.figure not in (Figure.CALL, Figure.MEMORY) and ways[0].name == NATIVE:
            expected = warm_up(ways[0], workload, place, material, plan)
        if workload.name == START:      # it is taken off all others, so its own error counts most
            plan = replace(plan, rounds=START_TIMES * plan.rounds, share=START_TIMES * plan.share)
        spent = {way.name: 0.0 for way in ways}
        for number in range(plan.rounds):
            for way in ways:
                if way.name not in result.failures and (number == 0 or spent[way.name] < plan.share):
                    begin = time.perf_counter()
                    take_sample(result, way, place, material, plan, expected)
                    spent[way.name] += time.perf_counter() - begin
    except Missing as error:
        return Result(workload, left_out=str(error))
    return result


def take_sample(result, way, place, material, plan, expected):
    """One more sample of a way, or its failure."""
    workload = result.workload
    prepare(workload, material)
    try:
        if workload.figure is Figure.MEMORY:
            figure, proof = memory(way, workload, place), None
        else:
            figure, proof = run_once(way, workload, place, plan)
        if expected is not None and not isinstance(expected, Failed) and proof != expected:
            raise Failed(f"its result is not native's: {short(proof)} instead of {short(expected)}")
    except (Failed, OSError, ValueError) as error:
        result.failures[way.name] = str(error) or type(error).__name__
        result.samples.pop(way.name, None)
    else:
        result.samples.setdefault(way.name, []).append(figure)


def short(proof):
    text = repr(proof)
    return text if len(text) <= 60 else f"{text[:57]}..."


def measure_all(workloads, ways, place, material, plan, say=lambda line: print(line, file=sys.stderr)):
    """{name: Result}, with the start of /bin/true first wherever a command's figure is to be judged without it."""
    results = {}
    for workload in workloads:
        begin = time.perf_counter()
        result = results[workload.name] = measure(workload, ways, place, material, plan)
        say(f"{workload.name}: {result.left_out or f'{time.perf_counter() - begin:.1f} s'}")
        for way, failure in result.failures.items():
            say(f"{workload.name}: {way}: {failure}")
    add_starts(results, ways)
    return results


def add_starts(results, ways):
    """Give figures that are a part of a command its start too, so that all commands' figures are of the same kind."""
    for way in ways:
        start = results[START].median(way.name) if START in results else None
        for result in results.values():
            if result.workload.figure is Figure.PART and way.name in result.samples:
                result.samples[way.name] = [sample + (start or 0) for sample in result.samples[way.name]]
