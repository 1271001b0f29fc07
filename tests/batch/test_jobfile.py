"""Job files and sites.yaml: what they say, and what is said of a wrong one."""

import pytest

from apppot.batch import jobfile, sites
from apppot.errors import AppPotError


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.dat", "b.dat", "tree.squashfs", "c.tar.gz"):
        (tmp_path / name).touch()
    return tmp_path


def test_a_job_file(inside):
    (inside / "scan.yaml").write_text("""\
to: cluster
image: tree.squashfs
changes: c.tar.gz
command: [./run, "{input}", ""]
inputs: [{from: c.tar.gz, to: sub/x}]
each: '*.dat'
outputs: [r, plots/]
env: {A: b}
memory: 2G
time: 1h30m
processes: 4
mpi: pmi2
options: [--root]
""")
    job, to = jobfile.read("scan.yaml")
    assert to == "cluster" and job.as_dict() == {
        "name": "scan", "image": f"{inside}/tree.squashfs", "changes": [f"{inside}/c.tar.gz"], "command": ["./run", "{input}", ""],
        "inputs": [[f"{inside}/c.tar.gz", "sub/x"]], "each": [[f"{inside}/a.dat", "a.dat"], [f"{inside}/b.dat", "b.dat"]],
        "outputs": ["r", "plots/"], "env": {"A": "b"}, "memory": 2 << 30, "time": 5400, "processes": 4, "mpi": "pmi2",
        "options": ["--root"]}
    assert job.tasks() == [0, 1] and job.words_of(1) == ["./run", "b.dat", ""]


@pytest.mark.parametrize("text,said", [
    ("comand: x", "j.yaml:1: comand: unknown key; did you mean command?"),
    ("name: j\nmemory: lots", "j.yaml:2: memory: 'lots' is not a size"),
    ("time: never", "j.yaml:1: time: 'never' is not a time"),
    ("processes: 0", "j.yaml:1: processes: '0' is not a whole number"),
    ("mpi: mpd", "j.yaml:1: mpi: 'mpd' is none"),
    ("inputs:\n  - a.dat\n  - none.dat", "j.yaml:3: inputs: none.dat: no such file"),
    ("each: []", "j.yaml:1: each: the list is empty"),
    ("outputs: [../x]", "j.yaml:1: outputs: '../x' is no name below"),
    ("inputs: [{to: x}]", "j.yaml:1: inputs.from: the key is missing"),
    ("image: none.img", "j.yaml:1: image:"),
    ("command: []", "j.yaml:1: command: the list of words is empty"),
    ("name: a b", "j.yaml:1: name: 'a b' is not a job's name"),
    ("env: [x]", "j.yaml:1: env: keys with values"),
    ("- x", "j.yaml:1: keys with values"), ("a: [", "j.yaml:"),
])
def test_what_is_wrong_in_a_job_file(inside, text, said):
    (inside / "j.yaml").write_text(text)
    with pytest.raises(AppPotError) as error:
        jobfile.read("j.yaml")
    assert said in error.value.message and error.value.status == 2 and "\n" not in error.value.message


@pytest.mark.parametrize("text,said", [
    ("x: {}", "x.to: the key is missing"), ("x: {to: moon}", "x.to: 'moon' is none"),
    ("x: {to: slurm, endpoint: y}", "x.endpoint: it goes with arc"), ("x: {to: slurm, apppot: rte}", "x.apppot: 'rte' is none"),
    ("x: {to: arc, images: {i: abc}}", "x.images.i: it is no SHA-256"),
])
def test_what_is_wrong_in_sites_yaml(inside, monkeypatch, text, said):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(inside))
    (inside / "apppot").mkdir()
    (inside / "apppot" / "sites.yaml").write_text(text)
    with pytest.raises(AppPotError) as error:
        sites.place("x")
    assert "sites.yaml:1: " in error.value.message and said in error.value.message
