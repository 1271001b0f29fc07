"""--help, the man pages and README.md tell the same."""

import re
from pathlib import Path

from apppot.cli import (bundle, cancel, doctor, fetch, main, record, resubmit, start, status,
                        submit)

ROOT = Path(__file__).parents[2]


def of_man_page(name):
    """Heads of option paragraphs: "-v, --verbose", "--mem NUM[M|G]"."""
    lines = (ROOT / "docs" / "man" / name).read_text().splitlines()
    heads = [line for before, line in zip(lines, lines[1:]) if before == ".TP"]
    plain = [re.sub(r"\\f[BIR]", "", head).replace("\\-", "-") for head in heads]
    return [head for head in plain if head.startswith("-")]


def of_table(options):
    heads = []
    for option in options:
        names = ", ".join(sorted(option.names, key=lambda name: name.startswith("--")))
        if option.optional:
            heads.append(f"{names}[={option.metavar[1:-1]}]")
        else:
            heads.append(f"{names} {option.metavar}" if option.metavar else names)
    return heads


def of_help(text):
    return [re.split(r"  +", line.strip())[0] for line in text.splitlines() if re.match(r"  -", line)]


def test_the_man_page_of_apppot_start_has_the_options_of_help(command):
    shown = of_help(command("start", "--help").stdout)
    assert shown == of_table(start.OPTIONS)
    assert of_man_page("apppot-start.1") == shown


def test_the_man_page_of_apppot_snap_has_the_options_of_help(command):
    shown = [", ".join(sorted(head.split(", "), key=lambda name: name.startswith("--")))
             for head in of_help(command("snap", "--help").stdout)]
    assert of_man_page("apppot-snap.1") == shown


def test_the_man_page_of_apppot_has_the_commands_and_options_of_help():
    page = (ROOT / "docs" / "man" / "apppot.1").read_text()
    for name in main.COMMANDS:
        assert f".TP\n.B {name}\n" in page
    shown = set(of_table(main.OPTIONS) + of_table(doctor.OPTIONS) + of_table(bundle.OPTIONS))
    assert set(of_man_page("apppot.1")) == shown


def test_the_man_page_of_jobs_has_the_options_of_help(command):
    """What each command takes; --help of itself and --quiet are told once."""
    page = set(of_man_page("apppot-submit.1"))
    shown = {head for module in (submit, status, fetch, cancel, resubmit, record) for head in of_table(module.main.options)}
    assert page == shown - {"-h, --help"}
    assert of_help(command("main", "submit", "--help").stdout) == of_table(submit.main.options)


def test_help_of_apppot_lists_the_commands(command):
    text = command("main", "--help").stdout
    assert re.findall(r"^  ([a-z]+)  ", text, re.MULTILINE) == list(main.COMMANDS)


def test_the_readme_names_only_options_that_exist():
    known = {name for option in start.OPTIONS + main.OPTIONS + doctor.OPTIONS + submit.main.options + status.main.options
             for name in option.names}
    for line in re.findall(r"^    (apppot.*)$", (ROOT / "README.md").read_text(), re.MULTILINE):
        for word in re.findall(r"(?<!\S)--?[a-z][a-z-]*", line.split("  #")[0].split(" -- ")[0]):
            assert word in known, line
