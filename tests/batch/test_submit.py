"""Submitting with fake clients: what is written down when, and what is said when it fails."""

import json

import pytest

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


@pytest.mark.parametrize("to", SITES)
def test_killed_after_the_site_has_it(apppot, states, records, site, to):
    """Nobody wrote down that it was submitted; status finds it at the site by its name."""
    site.set("kill")
    assert apppot("submit", "--to", to, "true").returncode == -9
    site.unset("kill")
    [id] = records()
    assert states(id) == ["queued"]
    data = json.loads(apppot("status", "--json", id).stdout)
    assert data[0]["tasks"][0]["remote"] in ("1", "https://fake/1")


def test_a_job_of_which_the_site_knows_little_yet(apppot, states, records, site):
    """It may be ours, so it is neither ours nor lost."""
    site.set("kill")
    apppot("submit", "--to", "arc", "true")
    site.unset("kill")
    [id] = records()
    site.set("new")
    assert states(id) == ["submitting"]
    assert "try again" in one_line(apppot("cancel", id), 125)
    site.unset("new")
    assert states(id) == ["queued"]


@pytest.mark.parametrize("to", SITES)
def test_killed_before_the_site_has_it(apppot, states, records, site, to):
    site.set("kill-before")
    assert apppot("submit", "--to", to, "true").returncode == -9
    site.unset("kill-before")
    [id] = records()
    assert states(id) == ["not submitted"]
    again = apppot("resubmit", "-q", id)
    assert states(again.stdout.strip()) == ["queued"]
    assert "forgotten" in apppot("cancel", id).stderr
    assert records() == [again.stdout.strip()]


def test_an_array_killed_in_the_middle(apppot, here, states, records, site):
    """ARC gets one job after the other: those that it has are found, the others can be submitted again."""
    for name in "abc":
        (here / name).touch()
    site.set("kill")
    assert apppot("submit", "--to", "arc", *(f"--each={name}" for name in "abc"), "true").returncode == -9
    site.unset("kill")
    [id] = records()
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
    (["--to", "slurm", "--image", "none.img", "true"], "none.img"),
    (["--to", "arc", "--mpi", "pmi2", "true"], "goes with Slurm"), (["--to", "slurm", "--apppot", "rte", "true"], "--apppot rte"),
    (["--to", "slurm", "echo", "{input}"], "--each"), (["--to", "arc", "-o", "a\nb", "true"], "newlines"),
    (["--to", "arc", "-o", "a b/", "true"], "a b/"),
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
