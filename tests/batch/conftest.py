"""A site of fake clients, and `apppot` as its users call it."""

import json
import os
import sys
from pathlib import Path

import pytest

CLIENTS = "sbatch squeue scancel scontrol sacct arcsub arcstat arcsync arcget arckill arcclean".split()
FAKE = Path(__file__).with_name("fake_clients.py")


class FakeSite:
    """`bin`: directory of the clients; set("down") makes the file that steers them, unset takes it away."""

    def __init__(self, top):
        self.directory, self.bin = top / "site", top / "bin"
        self.directory.mkdir()
        self.bin.mkdir()
        for name in CLIENTS:
            (self.bin / name).write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
            (self.bin / name).chmod(0o755)

    def set(self, name):
        (self.directory / name).touch()

    def unset(self, name):
        (self.directory / name).unlink()

    def cancel(self, number):
        """The job leaves the queue; the site's accounts keep it."""
        path = self.directory / f"{number:03}.job"
        path.rename(path.with_suffix(".cancelled"))

    def jobs(self):
        return [json.loads(path.read_text()) for path in sorted(self.directory.glob("*.job"))]


@pytest.fixture
def site(tmp_path):
    return FakeSite(tmp_path)


@pytest.fixture
def here(job):
    """The user's current directory."""
    return job


@pytest.fixture
def apppot(command, site, here, tmp_path):
    """apppot("submit", ...) → CompletedProcess; `ids` of what was submitted are on standard output."""
    def run(*arguments, cwd=here, path=f"{site.bin}:/usr/bin:/bin", **more):
        environment = {"PATH": path, "FAKE_SITE": str(site.directory), "XDG_STATE_HOME": str(tmp_path / "state"),
                       "XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}
        return command("main", *arguments, cwd=cwd, env=environment, **more)
    return run


@pytest.fixture
def submit(apppot):
    """submit(...) → the job's identifier."""
    def run(*arguments):
        done = apppot("submit", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
    return run


@pytest.fixture
def states(apppot):
    """states(id) → states of the job's tasks, as `apppot status` tells."""
    def run(id):
        done = apppot("status", "--json", id)
        assert done.returncode == 0, done.stderr
        return [task["state"] for task in json.loads(done.stdout)[0]["tasks"]]
    return run


@pytest.fixture
def records(tmp_path):
    """Names of the records that there are."""
    def found():
        directory = tmp_path / "state" / "apppot" / "jobs"
        return sorted(os.listdir(directory)) if directory.exists() else []
    return found
