"""The help and the man page of apppot image tell the same."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from apppot.cli import image
from tests.cli.test_man import of_help, of_table

PAGE = Path(__file__).parents[2] / "docs" / "man" / "apppot-image.1"


def command_of(name):
    return import_module(image.COMMANDS[name][0]).main


def section(name):
    return re.search(rf"^\.SS {name}\n(.*?)^\.S[SH] ", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]


def heads(text):
    lines = text.splitlines()
    return [re.sub(r"\\f[BIR]", "", head).replace("\\-", "-") for before, head in zip(lines, lines[1:]) if before == ".TP"]


def test_the_man_page_has_the_commands():
    assert re.findall(r"^\.SS (\w+)", PAGE.read_text(), re.MULTILINE) == list(image.COMMANDS)


@pytest.mark.parametrize("name", image.COMMANDS)
def test_options(name):
    known = command_of(name)
    shown = of_help(known.help())
    assert [head for head in shown if head in of_table(known.options)] == shown
    assert heads(section(name)) == [head for head in of_table(known.options) if "--quiet" not in head and "--help" not in head]


@pytest.mark.parametrize("name", image.COMMANDS)
def test_examples_are_in_help_and_man_page(name):
    text = command_of(name).help()
    for line in command_of(name).examples:
        assert f"  {line}\n" in text and line.replace("-", "\\-") + "\n" in section(name)
