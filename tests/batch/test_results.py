"""What tasks leave: recorded on the node, compared when it is fetched, in place as a whole or not at all."""

import json
import os

import pytest

from apppot.batch import fetching, record, report
from apppot.batch.job import Job
from apppot.batch.sites import Place
from apppot.errors import AppPotError


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """ended(status, files, outputs) → Record of a Slurm job that ended so, and its task directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def make(status, files, outputs):
        made = record.create(Place(name="slurm", kind="slurm"), Job(outputs=outputs), [0])
        made.workspace = str(tmp_path / "workspace")
        directory = tmp_path / "workspace" / "0"
        directory.mkdir(parents=True)
        for name, text in {"stdout": "out\n", "stderr": "1\n2\n3\n4\n5\nthe end\n", **files}.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(text)
        report.write(directory, outputs, status)
        made.tasks[0].become(record.DONE if status == 0 else record.FAILED, status)
        made.tasks[0].remote = "1"
        made.save()
        return made, directory
    return make


def test_all_in_place(ended, tmp_path):
    made, directory = ended(0, {"r": "result\n", "d/x": "1"}, ["r", "d/"])
    [result] = fetching.fetch(made, str(tmp_path / "got"))
    assert result.problem is None
    assert sorted(os.listdir(tmp_path / "got")) == ["d", "r", "stderr", "stdout"]
    assert record.load(made.id).tasks[0].fetched == str(tmp_path / "got")
    assert not directory.exists() and list(fetching.fetch(made, str(tmp_path / "other"))) == []


def test_a_transfer_that_changed_a_byte(ended, tmp_path):
    made, directory = ended(0, {"r": "result\n"}, ["r"])
    (directory / "r").write_text("resulT\n")
    with pytest.raises(AppPotError, match="r is not as the task left it"):
        list(fetching.fetch(made, str(tmp_path / "got")))
    assert sorted(os.listdir(tmp_path)) == ["state", "workspace"]
    (directory / "r").write_text("result\n")
    assert len(list(fetching.fetch(made, str(tmp_path / "got")))) == 1


def test_partial_results_of_a_failed_task(ended, tmp_path):
    made, _ = ended(3, {"part": "some\n"}, ["part", "never"])
    [result] = fetching.fetch(made, str(tmp_path / "got"))
    assert result.problem == "status 3" and result.tail == ["2", "3", "4", "5", "the end"]
    assert (tmp_path / "got" / "part").read_text() == "some\n" and (tmp_path / "got" / "apppot-report.json").exists()


def test_a_missing_output_is_a_failure(ended, tmp_path):
    made, _ = ended(0, {}, ["never"])
    [result] = fetching.fetch(made, str(tmp_path / "got"))
    assert result.problem == "output never is missing"
    assert record.load(made.id).tasks[0].state == record.FAILED


def test_links_that_a_guest_left_are_not_followed(ended, tmp_path):
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "workspace" / "0").mkdir(parents=True)
    os.symlink(tmp_path / "secret", tmp_path / "workspace" / "0" / "r")
    os.symlink(tmp_path, tmp_path / "workspace" / "0" / "d")
    os.rename(tmp_path / "workspace", tmp_path / "before")
    made, directory = ended(0, {}, ["r", "d/secret"])
    for name in ("r", "d"):
        os.rename(tmp_path / "before" / "0" / name, directory / name)
    report.write(directory, ["r", "d/secret"], 0)
    found = report.read(directory)
    assert found.files == {} and found.links == {"r": str(tmp_path / "secret")} and found.missing == ["d/secret"]
    list(fetching.fetch(made, str(tmp_path / "got")))
    assert os.readlink(tmp_path / "got" / "r") == str(tmp_path / "secret") and not (tmp_path / "got" / "d").exists()


def test_nothing_that_is_there_is_replaced(ended, tmp_path):
    made, _ = ended(0, {}, [])
    (tmp_path / "got").mkdir()
    with pytest.raises(AppPotError, match="it exists"):
        list(fetching.fetch(made, str(tmp_path / "got")))


def test_record_runs_a_program_and_passes_its_status_on(command, tmp_path):
    (tmp_path / "apppot-task.json").write_text(json.dumps({"job": "x", "task": 0, "outputs": ["r"]}))
    done = command("main", "record", "apppot-task.json", "sh", "-c", "echo x >r; exit 7")
    assert (done.returncode, done.stderr) == (7, "")
    assert json.loads((tmp_path / "apppot-report.json").read_text())["status"] == 7
    assert report.read(tmp_path).files["r"][0] == 2
    assert command("main", "record", "--status", "9", "apppot-task.json").returncode == 0
    assert report.read(tmp_path).status == 9
    for arguments in (["nowhere.json", "true"], ["apppot-task.json"], ["--status", "x", "apppot-task.json"]):
        done = command("main", "record", *arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["", "[]", '{"outputs": ["../x"]}', '{"outputs": 3}'])
def test_a_task_file_that_is_none(command, tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    done = command("main", "record", "t.json", "true")
    assert done.returncode == 2 and "no task" in done.stderr and done.stderr.count("\n") == 1
