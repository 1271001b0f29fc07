"""Names and arguments with every byte that means something to somebody, through the scripts as sh runs them."""

import re

import pytest

ODD = ["plain", "two words", "it's", 'say "x"', "$HOME", "$(id)", "`id`", "back\\slash", "a\nb\n", "", "*", "~", "-n", "--", "#x",
       "%j", "tab\there", "\udcff\udcfe", "é", "!x", "a;b&c|d", "{a,b}"]

SHOW = """#!/bin/sh
case $1 in
record)
    [ "$2" = --help ] && exit 0
    shift 2
    printf '%s\\0' "$@" >"$RESULT" ;;
esac
"""


@pytest.fixture
def started(site, tmp_path, monkeypatch):
    """What the script makes `apppot record` run, when a node has it."""
    (site.bin / "apppot").write_text(SHOW)
    (site.bin / "apppot").chmod(0o755)
    monkeypatch.setenv("RESULT", str(tmp_path / "result"))
    site.set("run")
    return lambda: (tmp_path / "result").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]


def test_arguments_of_an_sbatch_script(submit, started):
    submit("--to", "slurm", "--env", "K=a 'b' $c\nd", "--", *ODD)
    found = started()
    assert found[:2] == ["apppot", "start"]
    assert found[found.index("--", 2) + 1:] == ODD
    assert "K=a 'b' $c\nd" in found


def test_names_of_an_sbatch_job(submit, started, here):
    name = "in 'q\" $x\nnl"
    (here / name).write_text("input\n")
    image = "my image's $(id)\n"
    (here / image).write_text("")
    submit("--to", "slurm", "--image", image, "--each", name, "-o", "out 'q\" $x\nnl", "cat", "{input}")
    found = started()
    assert found[found.index("--", 2) + 1:] == ["cat", name]
    assert found[found.index("--image") + 1] == str(here / image)
    assert f"APPPOT_INPUT={name}" in found
    [workspace] = (here / ".apppot-jobs").iterdir()
    assert (workspace / "0" / name).read_text() == "input\n"


def test_directories_with_odd_names(apppot, site, tmp_path):
    """Where the user is comes to sbatch as an argument, and in no line that has no way to quote."""
    directory = tmp_path / "a 'b' $c %j\nd"
    directory.mkdir()
    assert apppot("submit", "--to", "slurm", "true", cwd=directory).returncode == 0
    [job] = site.jobs()
    assert next(word for word in job["words"] if word.startswith("--chdir=")).startswith(f"--chdir={directory}/.apppot-jobs/")


def test_arguments_of_a_job_script_for_arc(apppot):
    """The script is run as it would be on the node, with a bundle that shows its arguments."""
    import subprocess
    import tempfile
    from pathlib import Path
    done = apppot("submit", "--to", "arc", "--dry-run", "--", *[word for word in ODD])
    assert done.returncode == 0, done.stderr
    script = done.stdout.split("# 0.apppot-job.sh\n")[1]
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "apppot.pyz").write_text(SHOW)
        (Path(directory) / "job.sh").write_text(script, errors="surrogateescape")
        subprocess.run(["sh", "job.sh"], cwd=directory, check=True, env={"RESULT": "result", "PATH": "/usr/bin:/bin"})
        found = (Path(directory) / "result").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
    assert found[:2] == ["./apppot.pyz", "start"] and "--end-with" in found
    assert found[found.index("--", 2) + 1:] == ODD


def test_strings_of_xrsl(apppot, here):
    """A quote is doubled; all else is what it is."""
    (here / "in 'q\" $x").write_text("")
    words = [word for word in ODD if "\n" not in word and "\udcff" not in word]
    done = apppot("submit", "--to", "arc", "--apppot", "rte", "--dry-run", "-i", "in 'q\" $x", "/bin/echo", *words)
    assert done.returncode == 0, done.stderr
    arguments = re.search(r"^\(arguments=(.*)\)$", done.stdout, re.MULTILINE)[1]
    assert [word.replace('""', '"') for word in re.findall(r'"((?:[^"]|"")*)"', arguments)] == words
    assert f'("in \'q"" $x" "{here}/in \'q"" $x")' in done.stdout
    for word, said in (("a\nb", "line's end"), ("\udcff", "UTF-8")):
        done = apppot("submit", "--to", "arc", "--apppot", "rte", "--dry-run", "/bin/echo", word)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
