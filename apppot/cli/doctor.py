"""apppot doctor: can this host run machines, and what to do if not."""

import sys

from apppot.cli import report
from apppot.cli.options import Option, help_text, parse, without_arguments
from apppot.errors import STATUS_FAILED

PROGRAM = "apppot doctor"
OPTIONS = [
    Option("--syscalls", help="Print instead what becomes of each system call, and why."),
    Option("--json", help="Print the findings, or the system calls, as JSON."),
    Option("--help", "-h", help="Print this text and end."),
]
USAGE = f"{PROGRAM} [--syscalls] [--json]"
SUMMARY = "Try what AppPot needs of this host and print a line each: ok, degraded or missing, with the remedy."
FOOTER = """\
System calls are native (the kernel answers, unless an argument that the filter
sees says otherwise), translated (the task makes the call with arguments that
were checked, where it can't change them), emulated (the supervisor does it) or
denied.

Exit status: 0 machines can run here, 125 they can't, 2 wrong usage.
"""
KIND_COLOURS = {"native": "green", "translated": "cyan", "emulated": "yellow", "denied": "red"}
COLOURS = {"ok": "green", "degraded": "yellow", "missing": "red"}


def print_json(findings, possible):
    import json
    json.dump({"can_run": possible, "findings": [finding.as_dict() for finding in findings]}, sys.stdout, indent=2)
    print()


def print_plain(findings):
    for finding in findings:
        print(f"{finding.state:<9} {finding.name}: {finding.detail}")
        if finding.remedy:
            print(f"          remedy: {finding.remedy}")


def print_table(findings):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("what")
    table.add_column("found, and the remedy", overflow="fold")
    for finding in findings:
        found = Text(finding.detail)
        if finding.remedy:
            found.append(f"\n{finding.remedy}", style="italic")
        table.add_row(Text(finding.state, style=COLOURS[finding.state]), Text(finding.name), found)
    Console().print(table)


def syscalls(as_json):
    """Print the table of system calls."""
    from errno import errorcode
    from apppot.syscalls import table
    rows = [(row.number, row.name, row.kind, errorcode.get(row.error, ""), row.why) for row in table.ROWS]
    if as_json:
        import json
        names = ("number", "name", "kind", "error", "reason")
        json.dump([dict(zip(names, row)) for row in rows], sys.stdout, indent=2)
        print()
        return
    if sys.stdout.isatty():
        try:
            print_syscalls(rows)
            return
        except ImportError:
            pass
    for number, name, kind, error, reason in rows:
        print(f"{number:>3} {name:<24} {kind:<10} {error + ': ' if error else ''}{reason}")


def print_syscalls(rows):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    shown = Table(box=None, pad_edge=False)
    for title in ("", "system call", "", "reason"):
        shown.add_column(title, overflow="fold")
    for number, name, kind, error, reason in rows:
        shown.add_row(str(number), name, Text(f"{kind} {error}".strip(), style=KIND_COLOURS[kind]), Text(reason))
    Console().print(shown)


def doctor(argv):
    chosen, _, words = parse(OPTIONS, argv)
    if chosen["help"]:
        sys.stdout.write(help_text(USAGE, SUMMARY, [("Options", OPTIONS)], FOOTER))
        return 0
    without_arguments(words)
    if chosen["syscalls"]:
        syscalls(chosen["json"])
        return 0
    from apppot.platform import probes
    findings = probes.examine()
    possible = probes.can_run(findings)
    if chosen["json"]:
        print_json(findings, possible)
        return 0 if possible else STATUS_FAILED
    if sys.stdout.isatty():
        try:
            print_table(findings)
        except ImportError:
            print_plain(findings)
    else:
        print_plain(findings)
    print("machines can run on this host" if possible else "machines can't run on this host")
    return 0 if possible else STATUS_FAILED


def main(argv=None):
    return report.guard(PROGRAM, doctor, sys.argv[1:] if argv is None else argv)
