"""What tasks leave: recorded on the node, compared when it is fetched, in place as a whole or not at all."""

import fcntl
import json
import os
import threading

import pytest

from apppot.batch import fetching, record, report
from apppot.batch.job import Job
from apppot.batch.sites import Place
from apppot.batch.slurm import Slurm
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
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
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
    assert result.problem == "output never is missing or may not be read"
    assert record.load(made.id).tasks[0].state == record.FAILED


def test_an_output_that_may_not_be_read(ended, tmp_path):
    """It is missing; the others are brought. Root may read everything."""
    made, directory = ended(0, {"d/x": "1", "d/y": "2", "r": "3"}, ["d/", "r"])
    (directory / "d" / "x").chmod(0)
    report.write(directory, ["d/", "r"], 0)
    [result] = fetching.fetch(made, str(tmp_path / "got"))
    assert result.problem == (None if os.getuid() == 0 else "output d/x is missing or may not be read")
    assert (tmp_path / "got" / "d" / "y").read_text() == "2" and (tmp_path / "got" / "r").read_text() == "3"


def test_a_link_that_is_named_twice(ended, tmp_path):
    made, directory = ended(0, {"d/x": "1"}, ["d/", "d/link"])
    (directory / "d" / "link").symlink_to("x")
    report.write(directory, ["d/", "d/link"], 0)
    [result] = fetching.fetch(made, str(tmp_path / "got"))
    assert result.problem is None and (tmp_path / "got" / "d" / "link").read_text() == "1"


@pytest.mark.parametrize("text", ["", "[]", '{"status": 0}', '{"status": 0, "files": {"r": 3}, "links": {}, "missing": []}',
                                  '{"status": 0, "files": {"/dev/zero": [0, ""]}, "links": {}, "missing": []}',
                                  '{"status": 0, "files": {"../r": [0, ""]}, "links": {}, "missing": []}'])
def test_a_report_that_a_guest_wrote(ended, tmp_path, text):
    """The task has failed, and what there is comes; nothing else is looked at."""
    made, directory = ended(0, {"r": "result\n"}, ["r"])
    (directory / "apppot-report.json").write_text(text)
    with pytest.raises(AppPotError, match="no report of a task"):
        report.read(directory)
    [result] = fetching.fetch(made, str(tmp_path / "got"))
    assert result.problem == report.DAMAGED and (tmp_path / "got" / "r").read_text() == "result\n"
    assert record.load(made.id).tasks[0].state == record.FAILED


def test_a_report_that_names_a_file_behind_a_link(ended, tmp_path):
    made, directory = ended(0, {}, ["d"])
    os.symlink("/dev", directory / "d")
    found = report.Report(0, {"d/zero": [0, ""]}, {}, [])
    assert report.damaged(directory, found) == ["d/zero"]


def test_fetched_twice_at_once(ended, tmp_path, monkeypatch):
    """The second waits, and finds that there is nothing left to do."""
    made, _ = ended(0, {"r": "result\n"}, ["r"])
    bring, flock, brought = Slurm.bring, fcntl.flock, []
    begun, second = threading.Event(), threading.Event()

    def slow(self, *arguments):
        brought.append(arguments)
        (second if begun.is_set() else begun).set()
        assert second.wait(60)
        bring(self, *arguments)

    def asked(*arguments):
        if begun.is_set():
            second.set()
        flock(*arguments)

    monkeypatch.setattr(Slurm, "bring", slow)
    monkeypatch.setattr(fcntl, "flock", asked)
    results = {}
    threads = [threading.Thread(target=lambda name=name: results.update(
        {name: list(fetching.fetch(record.load(made.id), str(tmp_path / name)))})) for name in ("first", "second")]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert [result.problem for result in results["first"]] == [None] and results["second"] == [] and len(brought) == 1
    assert record.load(made.id).tasks[0].state == record.DONE


def test_what_a_killed_fetch_left_is_removed(ended, tmp_path):
    made, _ = ended(0, {"r": "result\n"}, ["r"])
    left = tmp_path / f".{made.id}.0"
    left.mkdir()
    (left / "r").write_text("half")
    assert [result.problem for result in fetching.fetch(made, str(tmp_path / "got"))] == [None]
    assert (tmp_path / "got" / "r").read_text() == "result\n" and not left.exists()


def test_directories_that_a_guest_made_unwritable_are_removed(ended, tmp_path):
    made, directory = ended(0, {"deep/er/x": ""}, [])
    (tmp_path / "mine").mkdir(mode=0o500)
    (directory / "link").symlink_to(tmp_path / "mine")
    for name, mode in (("deep/er", 0o500), ("deep", 0)):
        (directory / name).chmod(mode)
    list(fetching.fetch(made, str(tmp_path / "got")))
    assert not directory.exists() and (tmp_path / "mine").stat().st_mode & 0o777 == 0o500


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
