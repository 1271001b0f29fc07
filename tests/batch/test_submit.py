"""Submitting with fake clients: what is written down when, and what is said when it fails."""

import json
import os

import pytest

from apppot.batch import job, sites, slurm, submitting

SITES = ["slurm", "arc"]


def one_line(done, status):
    assert done.returncode == status
    assert done.stderr.startswith("apppot ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("to", SITES)
def test_a_job_is_handed_over_and_known(submit, states, site, to):
    id = submit("--to", to, "true")
    assert states(id) == ["queued"]
    assert len(site.jobs()) == 1


@pytest.fixture
def submit_and_be_killed(apppot, records, site):
    """submit_and_be_killed("kill" or "kill-before", words of apppot submit) → the job's identifier."""
    def run(when, *words):
        site.set(when)
        assert apppot("submit", *words).returncode == -9
        site.unset(when)
        [id] = records()
        return id
    return run


@pytest.mark.parametrize("to", SITES)
def test_killed_after_the_site_has_it(apppot, submit_and_be_killed, states, to):
    """Nobody wrote down that it was submitted; status finds it at the site by its name."""
    id = submit_and_be_killed("kill", "--to", to, "true")
    assert states(id) == ["queued"]
    data = json.loads(apppot("status", "--json", id).stdout)
    assert data[0]["tasks"][0]["remote"] in ("1", "https://fake/1")


def test_an_array_that_has_left_the_queue(apppot, submit_and_be_killed, here, states, site):
    """The cluster's accounts know it, and which of its numbers is the array's."""
    for name in "ab":
        (here / name).touch()
    id = submit_and_be_killed("kill", "--to", "slurm", "--each=a", "--each=b", "true")
    site.cancel(1)
    assert states(id) == ["cancelled", "cancelled"]
    told = json.loads(apppot("status", "--json", id).stdout)
    assert [task["remote"] for task in told[0]["tasks"]] == ["1_0", "1_1"]


def test_a_number_that_a_guest_wrote_over(submit_and_be_killed, here, states, site):
    id = submit_and_be_killed("kill", "--to", "slurm", "true")
    next(site.directory.glob("*.job")).unlink()
    (here / ".apppot-jobs" / id / "0" / "apppot-started").write_bytes(b"\xff x")
    assert states(id) == ["not submitted"]


def test_interrupted_while_inputs_are_copied(apppot, records, site, here, tmp_path, monkeypatch):
    """The site was not asked; what was copied until then goes with the job."""
    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", f"{site.bin}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(slurm, "copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submitting.submit(sites.Place(name="slurm", kind="slurm"), job.Job(command=["true"], inputs=[[str(here), "x"]]))
    [id] = records()
    assert (here / ".apppot-jobs" / id).exists()
    assert "forgotten" in apppot("cancel", id).stderr
    assert records() == [] and list((here / ".apppot-jobs").iterdir()) == []


def test_a_job_of_which_the_site_knows_little_yet(apppot, submit_and_be_killed, states, site):
    """It may be ours, so it is neither ours nor lost."""
    id = submit_and_be_killed("kill", "--to", "arc", "true")
    site.set("new")
    assert states(id) == ["submitting"]
    assert "try again" in one_line(apppot("cancel", id), 125)
    site.unset("new")
    assert states(id) == ["queued"]


@pytest.mark.parametrize("to", SITES)
def test_killed_before_the_site_has_it(apppot, submit_and_be_killed, states, records, to):
    id = submit_and_be_killed("kill-before", "--to", to, "true")
    assert states(id) == ["not submitted"]
    again = apppot("resubmit", "-q", id)
    assert states(again.stdout.strip()) == ["queued"]
    assert "forgotten" in apppot("cancel", id).stderr
    assert records() == [again.stdout.strip()]


def test_an_array_killed_in_the_middle(apppot, submit_and_be_killed, here, states, site):
    """ARC gets one job after the other: those that it has are found, the others can be submitted again."""
    for name in "abc":
        (here / name).touch()
    id = submit_and_be_killed("kill", "--to", "arc", *(f"--each={name}" for name in "abc"), "true")
    assert states(id) == ["queued", "not submitted", "not submitted"]
    again = apppot("resubmit", "-q", id).stdout.strip()
    told = json.loads(apppot("status", "--json", again).stdout)[0]["tasks"]
    assert [(task["number"], task["state"]) for task in told] == [(1, "queued"), (2, "queued")]
    assert '"APPPOT_INPUT"' not in site.jobs()[1]["text"] and '("b" ' in site.jobs()[1]["text"]


@pytest.mark.parametrize("to", SITES)
def test_refused(apppot, records, site, here, to):
    site.set("refuse")
    line = one_line(apppot("submit", "--to", to, "true"), 125)
    assert "that is refused; nothing was submitted" in line
    assert records() == [] and list((here / ".apppot-jobs").glob("*")) == []


@pytest.mark.parametrize("to", SITES)
def test_a_site_that_is_down(apppot, records, states, site, to):
    site.set("down")
    line = one_line(apppot("submit", "--to", to, "true"), 125)
    [id] = records()
    assert "Unable to contact" in line and f"apppot status {id}" in line
    done = apppot("status", id)
    assert done.returncode == 125 and "Unable to contact" in one_line(done, 125) and "submitting" in done.stdout
    assert "Unable to contact" in one_line(apppot("cancel", id), 125)
    site.unset("down")
    assert states(id) == ["not submitted"]


@pytest.mark.parametrize("to,client,package", [("slurm", "sbatch", "slurm-client"), ("arc", "arcsub", "nordugrid-arc-client")])
def test_clients_that_are_missing(apppot, records, tmp_path, to, client, package):
    line = one_line(apppot("submit", "--to", to, "true", path=str(tmp_path)), 125)
    assert f"{client}: command not found" in line and package in line
    assert records() == []


def test_cancel(apppot, submit, states, site):
    id = submit("--to", "slurm", "true")
    assert "1 tasks cancelled" in apppot("cancel", id[:-3]).stderr
    assert states(id) == ["cancelled"] and site.jobs() == []


def test_a_job_that_left_no_trace_is_lost(submit, states, site):
    id = submit("--to", "slurm", "true")
    next(site.directory.glob("*.job")).unlink()
    assert states(id) == ["lost"]


def test_a_controller_that_goes_away_in_between(apppot, submit, states, site):
    """squeue was answered and knows the job no more; nobody says what became of it, so it is not lost."""
    id = submit("--to", "slurm", "true")
    next(site.directory.glob("*.job")).unlink()
    site.set("no-scontrol")
    done = apppot("status", id)
    assert "Unable to contact" in one_line(done, 125) and "queued" in done.stdout
    site.unset("no-scontrol")
    assert states(id) == ["lost"]


def test_a_report_of_no_task(submit, states, site, here):
    id = submit("--to", "slurm", "true")
    next(site.directory.glob("*.job")).unlink()
    (here / ".apppot-jobs" / id / "0" / "apppot-report.json").write_text("{")
    assert states(id) == ["failed"]


@pytest.mark.parametrize("to", SITES)
def test_what_can_not_be_brought_of_a_directory(apppot, records, here, to):
    """It is said before the site is asked. Root may read everything."""
    (here / "d" / "deep").mkdir(parents=True)
    (here / "d" / "deep" / "secret").touch(mode=0)
    words = ["submit", "--to", to, "-i", "d", "true"]
    if os.getuid():
        assert "d/deep/secret" in one_line(apppot(*words), 2 if to == "arc" else 125)
    (here / "d" / "deep" / "secret").chmod(0o400)
    os.mkfifo(here / "d" / "fifo")
    assert "d/fifo" in one_line(apppot(*words), 2)
    (here / "d" / "fifo").rename(here / "fifo")
    assert "neither a file nor a directory" in one_line(apppot("submit", "--to", to, "-i", "fifo", "true"), 2)
    assert records() == []
    assert apppot(*words).returncode == 0


def test_links_in_a_directory_for_arc(apppot, submit, site, here):
    """They are brought as what they lead to; what leads nowhere, or to a directory, is said and not left out."""
    (here / "d").mkdir()
    (here / "d" / "file").touch()
    (here / "d" / "link").symlink_to("file")
    submit("--to", "arc", "-i", "d", "true")
    assert f'("d/link" "{here}/d/link")' in site.jobs()[0]["text"]
    for target in ("nowhere", "."):
        (here / "d" / "bad").symlink_to(target)
        assert "d/bad" in one_line(apppot("submit", "--to", "arc", "-i", "d", "true"), 2)
        (here / "d" / "bad").unlink()


def test_read_only_directories_among_the_inputs_are_removed_with_the_job(apppot, submit, here):
    (here / "d").mkdir()
    (here / "d" / "file").touch()
    (here / "d").chmod(0o500)
    id = submit("--to", "slurm", "-i", "d", "true")
    apppot("cancel", id)
    assert apppot("fetch", "-q", id).returncode == 1
    assert list((here / ".apppot-jobs").iterdir()) == []


def test_an_image_that_the_site_has_is_not_brought(submit, site, here, tmp_path):
    """By its digest, whatever it is called here."""
    (here / "mine.squashfs").write_bytes(b"an image")
    (tmp_path / "config" / "apppot").mkdir(parents=True)
    (tmp_path / "config" / "apppot" / "sites.yaml").write_text(
        "theirs:\n  to: arc\n  apppot: rte\n"
        "  images: {debian12: 'sha256:d70ed24b1a1f4bd1cdf13a6d9e8e0f7a4f9c1ff5d4a5d4a0e6f3e47f3b1b4c00'}\n")
    submit("--image", "mine.squashfs", "/bin/true")
    assert 'mine.squashfs" "/' in site.jobs()[0]["text"]
    from hashlib import sha256
    path = tmp_path / "config" / "apppot" / "sites.yaml"
    path.write_text(path.read_text().replace("d70ed24b1a1f4bd1cdf13a6d9e8e0f7a4f9c1ff5d4a5d4a0e6f3e47f3b1b4c00",
                                             sha256(b"an image").hexdigest()))
    submit("--image", "mine.squashfs", "/bin/true")
    assert "mine.squashfs" not in site.jobs()[1]["text"]
    assert '(runTimeEnvironment="ENV/APPPOT-1.0" "debian12")' in site.jobs()[1]["text"]


@pytest.mark.parametrize("arguments,said", [
    (["--to", "mars", "true"], "--to mars"), (["true"], "where to?"), (["--to", "slurm", "-i", "nowhere", "true"], "nowhere"),
    (["--to", "slurm", "-o", "/etc/passwd", "true"], "no name below"), (["--to", "slurm", "-o", "../x", "true"], "no name below"),
    (["--to", "slurm", "-o", "stdout", "true"], "AppPot's own name"),
    (["--to", "slurm", "-o", "stderr/x", "true"], "AppPot's own name"),
    (["--to", "slurm", "-o", "apppot-started", "true"], "AppPot's own name"),
    (["--to", "slurm", "--image", "none.img", "true"], "none.img"),
    (["--to", "arc", "--mpi", "pmi2", "true"], "goes with Slurm"), (["--to", "slurm", "--apppot", "rte", "true"], "--apppot rte"),
    (["--to", "slurm", "echo", "{input}"], "--each"), (["--to", "arc", "-o", "a\nb", "true"], "newlines"),
    (["--to", "arc", "-o", "a b/", "true"], "a b/"), (["--to", "arc", "-o", "a?b", "true"], "a?b"),
    (["--to", "arc", "--apppot", "rte", "true"], "absolute path"),
])
def test_wrong_usage(apppot, records, arguments, said):
    assert said in one_line(apppot("submit", *arguments), 2)
    assert records() == []


def test_a_directory_as_image_of_an_arc_job(apppot, here):
    (here / "tree").mkdir()
    assert "apppot image convert" in one_line(apppot("submit", "--to", "arc", "--image", "tree", "true"), 2)


def test_unknown_jobs(apppot, submit):
    for command in ("status", "fetch", "cancel", "resubmit"):
        assert "nothing-like-it" in one_line(apppot(command, "nothing-like-it"), 2)
    first, second = submit("--to", "slurm", "true"), submit("--to", "slurm", "true")
    assert "several jobs" in one_line(apppot("cancel", "job"), 2) and first != second


def test_a_damaged_record(apppot, submit, tmp_path):
    id = submit("--to", "slurm", "true")
    (tmp_path / "state" / "apppot" / "jobs" / id / "record.json").write_text("{")
    assert "damaged" in one_line(apppot("status", id), 125)
