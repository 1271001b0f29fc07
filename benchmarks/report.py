"""The figures side by side: as a table for a terminal, as Markdown, as JSON."""

import json
import os
import platform
import subprocess
import time
from dataclasses import dataclass

from .targets import TARGETS
from .ways import FAST, NATIVE, PROOT, SANDLOCK, SLOW, SOURCE
from .workloads import ALL, AT_ONCE, START, Figure

HOW_TO_READ = """\
Each figure is a median; the ways take turns within each round. A ratio is the median beside that of native, and what follows
`±` is half of the distance between its least and its greatest value in one round. Figures of commands (ms) are from the
start of the command to its end, the start of the guest included. *Less start* is the ratio after the start of `/bin/true`
in the same way was taken off both: what the work itself costs. Targets of commands, where they are ratios, are for that one.
Every run is checked: its exit status, and that its result is that of the native run.

Native is a chroot into the tree, whose making is not measured; AppPot with its fast path off is `--isolation strict`.
"""


@dataclass
class Report:
    """What was measured, where and when. conditions: {what: text}; missing: lines about ways that did not work."""

    results: dict
    ways: list
    missing: list
    plan: object
    conditions: dict

    @property
    def starts(self):
        """{way: milliseconds of /bin/true}"""
        result = self.results.get(START)
        return {way.name: result.median(way.name) or 0 for way in self.ways} if result else {}

    def less_start(self, result, way):
        """Ratio to native without the start; None where that makes no sense."""
        if result.workload.figure not in (Figure.WHOLE, Figure.PART) or result.workload.name == START:
            return None
        return result.ratio(way, self.starts)

    def judged(self, result, way):
        """The ratio that targets are for: of commands the one without the start."""
        if result.workload.figure in (Figure.WHOLE, Figure.PART) and result.workload.name != START:
            return self.less_start(result, way)
        return result.ratio(way)

    def speedup(self, name, count, way):
        """Throughput of `count` processes at once, beside that of one."""
        one, many = self.results.get(f"{name}-x1"), self.results.get(f"{name}-x{count}")
        if one is None or many is None or not one.median(way) or not many.median(way):
            return None
        return one.median(way) / many.median(way)

    def met(self, result):
        """Does AppPot meet the workload's target? None where there is none, or no figure."""
        target, name = TARGETS.get(result.workload.name), result.workload.name
        if target is None:
            return None
        if target.speedup is not None:
            base, _, count = name.rpartition("-x")
            speedup = self.speedup(base, int(count), FAST)
            return None if speedup is None else speedup >= target.speedup
        checks = [(target.ratio, self.judged(result, FAST)), (target.most, result.median(FAST)),
                  (target.slow_most, result.median(SLOW))]
        found = [(value, limit) for limit, value in checks if limit is not None]
        return None if None in (value for value, _ in found) else all(value <= limit for value, limit in found)

    def slower_than(self, peer):
        """Names of workloads where AppPot is slower than a peer, the start of /bin/true taken off. Sandlock: path workloads."""
        slower = []
        for name, result in self.results.items():
            own, other = result.median(FAST), result.median(peer)
            if own is None or other is None or name == START or (peer == SANDLOCK and not result.workload.by_name):
                continue
            if result.workload.figure in (Figure.WHOLE, Figure.PART):
                own, other = own - self.starts.get(FAST, 0), other - self.starts.get(peer, 0)
            if own > other:
                slower.append(name)
        return slower


def conditions(directory):
    """{what: text} of the machine, the date and what is compared."""
    def said(*words):
        try:
            return subprocess.run(words, capture_output=True, text=True, cwd=SOURCE).stdout.strip()
        except OSError:
            return ""

    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30
    commit = said("git", "-c", f"safe.directory={SOURCE}", "rev-parse", "--short", "HEAD")
    return {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "machine": f"{model}, {len(os.sched_getaffinity(0))} processors, {memory:.0f} GiB, "
                       f"{said('stat', '-f', '-c', '%T', str(directory)) or '?'}; load before {os.getloadavg()[0]:.1f}",
            "kernel": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
            "user": "root" if os.getuid() == 0 else "ordinary", "commit": commit or "unknown"}


def number(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def ratio_cell(result, way):
    ratio, spread = result.ratio(way), result.spread(way)
    if ratio is None:
        return "failed" if way in result.failures else "-"
    rounds = min(len(result.samples[way]), len(result.samples[NATIVE]))
    return number(ratio) + (f" ±{number((spread[1] - spread[0]) / 2)}" if rounds > 1 else "")


def table(report):
    """(titles, rows) of strings."""
    peers = [way.name for way in report.ways if way.name not in (NATIVE, FAST)]
    titles = ["workload", "", NATIVE, FAST, "× native", "less start", *peers, "target", "met"]
    rows = []
    for name, result in report.results.items():
        if result.left_out:
            continue
        own, base, less = result.median(FAST), result.median(NATIVE), report.less_start(result, FAST)
        target, met = TARGETS.get(name), report.met(result)
        rows.append([name, result.workload.unit, "-" if base is None else number(base),
                     "-" if own is None else number(own), ratio_cell(result, FAST), "" if less is None else number(less),
                     *(number(result.median(peer)) if result.workload.figure is Figure.MEMORY and result.median(peer)
                       else ratio_cell(result, peer) for peer in peers),
                     target.text(result.workload.unit) if target else "",
                     "" if met is None else "yes" if met else "NO"])
    return titles, rows


def speedup_table(report):
    """(titles, rows) of throughput beside one process; no rows where that was not measured."""
    rows = []
    for name in ("stat", "fork-exec"):
        for way in report.ways:
            found = [report.speedup(name, count, way.name) for count in AT_ONCE[1:]]
            if None not in found:
                rows.append([name, way.name, *map(number, found)])
    return ["at once", "way", *(f"{count} processes" for count in AT_ONCE[1:])], rows


def remarks(report):
    """Sentences about what was left out, what failed, and where a peer is faster."""
    lines = list(report.missing)
    lines += [f"{name} is left out: {result.left_out}" for name, result in report.results.items() if result.left_out]
    lines += [f"{name}, {way}: {failure}" for name, result in report.results.items() for way, failure in result.failures.items()]
    here = {way.name for way in report.ways}
    for peer, what in ((PROOT, ""), (SANDLOCK, " of the workloads that name files")):
        if peer in here:
            lines.append(f"Slower than {peer}, without the start{what}: {', '.join(report.slower_than(peer)) or 'none'}.")
    return lines


def plain(titles, rows):
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    return [" ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                     for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in [titles, *rows]]


def terminal(report):
    lines = [f"{what}: {text}" for what, text in report.conditions.items()] + ["", *plain(*table(report))]
    titles, rows = speedup_table(report)
    if rows:
        lines += ["", "throughput beside that of one process", *plain(titles, rows)]
    return "\n".join([*lines, "", *remarks(report)])


def markdown(report):
    def lines(titles, rows):
        aligned = ["---" if column < 2 else "---:" for column in range(len(titles))]
        return ["| " + " | ".join(cells) + " |" for cells in [titles, aligned, *rows]]

    versions = ", ".join(f"{way.name} {way.version}" for way in report.ways if way.name not in (NATIVE, SLOW))
    native = next((way.version for way in report.ways if way.name == NATIVE), "nothing")
    facts = [f"{what}: {text}" for what, text in report.conditions.items()]
    facts += [f"compared: {versions}", f"native: {native}",
              f"rounds: at most {report.plan.rounds}, fewer where a way is slow"]
    titles, rows = speedup_table(report)
    parts = ["# Benchmarks", "", "Written by `python -m benchmarks --markdown FILE`; `--help` lists the options.", "",
             *(f"- {fact}" for fact in facts), "", HOW_TO_READ, *lines(*table(report)), ""]
    if rows:
        parts += ["## Several processes at once", "", "Throughput beside that of one process in the same way.", "",
                  *lines(titles, rows), ""]
    parts += ["## Remarks", "", *(f"- {line}" for line in remarks(report)), "", "## Workloads", "",
              *(f"- `{name}`: {ALL[name].about}" for name in report.results)]
    return "\n".join(parts) + "\n"


def as_json(report):
    workloads = {}
    for name, result in report.results.items():
        target = TARGETS.get(name)
        ways = {}
        for way in report.ways:
            samples = result.samples.get(way.name)
            if samples:
                ways[way.name] = {"median": result.median(way.name), "samples": samples, "ratio": result.ratio(way.name),
                                  "ratio_spread": result.spread(way.name),
                                  "ratio_less_start": report.less_start(result, way.name)}
            elif way.name in result.failures:
                ways[way.name] = {"failure": result.failures[way.name]}
        workloads[name] = {"unit": result.workload.unit, "about": result.workload.about, "ways": ways,
                           "target": target.text(result.workload.unit) if target else None, "met": report.met(result),
                           "left_out": result.left_out or None}
    return json.dumps({**report.conditions, "versions": {way.name: way.version for way in report.ways},
                       "missing": report.missing, "workloads": workloads}, indent=2) + "\n"
