"""What README.md, docs/ and the examples name exists: files, tests, packages, options, variables."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAN_PAGES = sorted((ROOT / "docs" / "man").glob("*.1"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
#: What the examples make, and files of users.
NOT_OURS = {"sites.yaml", "docs/benchmarks.md"}


def text(page):
    return page.read_text().replace("\\-", "-")


def sources():
    return {path: path.read_text(errors="replace") for top in ("apppot", "tests", "benchmarks", "arc_rte")
            for path in (ROOT / top).rglob("*") if path.suffix in (".py", ".c", ".h", ".S", "") and path.is_file()
            and path.name != "apppot-stub"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_links_and_tests(page):
    files = {str(path.relative_to(ROOT)) for top in ("apppot", "tests", "benchmarks", "docs", "examples", "arc_rte", "images", "bin")
             for path in (ROOT / top).rglob("*") if path.is_file()}
    said = text(page)
    for name in set(re.findall(r"`([\w./-]+\.(?:py|c|h|S|ld|md|yaml))`", said)) - NOT_OURS:
        assert any(f"/{path}".endswith(f"/{name}") for path in files), name
    for link in set(re.findall(r"\]\(([^)#:]+)\)", said)):
        assert (page.parent / link).exists(), link
    for name in set(re.findall(r"(?<![\w/.])(?:apppot|benchmarks|docs|examples|tests)/[\w./-]*\w", said)) - NOT_OURS:
        assert (ROOT / name).exists(), name
    everything = "\n".join(sources().values())
    for name in set(re.findall(r"\btest_\w+", said)):
        assert f"def {name}(" in everything or any(path.endswith(f"/{name}.py") for path in files), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options(page):
    """Each is one of a program here, or is given to another program in a command line of the page's."""
    everything = "\n".join(sources().values())
    for name in set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text(page))):
        assert f'"{name}"' in everything, name


def test_the_packages_of_architecture():
    page = text(ROOT / "docs" / "architecture.md")
    packages = {path.parent.name for path in (ROOT / "apppot").glob("*/*.*") if path.suffix in (".py", ".c")}
    assert set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE)) == packages
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    told = page[page.index("## Benchmarks"):]
    named = set(re.findall(r"`(\w+)\.py`", told)) | set(re.findall(r"python -m benchmarks\.(\w+)", told))
    assert modules - {"__init__", "__main__"} == named


def test_variables():
    """Those that AppPot reads or sets are told in a man page, and no others."""
    own = "\n".join(content for path, content in sources().items() if path.is_relative_to(ROOT / "apppot"))
    pages = "\n".join(map(text, MAN_PAGES))
    pattern = r"\bAPPPOT_[A-Z]+\b"
    assert set(re.findall(pattern, pages)) == set(re.findall(pattern, own))
