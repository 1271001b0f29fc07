"""The site itself: jobs without AppPot go through it, so that a failure elsewhere is not the site's."""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys

import pytest

from .conftest import SOURCE
from .site import keeper
from .site.daemons import SiteError, wait_for


@pytest.fixture
def kept(tmp_path):
    """(directory, process) of a keeper that is not root: it answers, and can start nothing."""
    words = ["--directory", tmp_path / "site", "--account", pwd.getpwuid(os.getuid()).pw_name, "keep"]
    command = [sys.executable, "-m", "tests.grid.site", *words]
    with subprocess.Popen(command, cwd=SOURCE, stderr=subprocess.PIPE, text=True) as process:
        wait_for((tmp_path / "site" / keeper.SOCKET).exists, 60, "the keeper's socket")
        yield tmp_path / "site", process
        process.terminate()
        assert (process.wait(60), process.stderr.read()) == (0, "")


@pytest.mark.parametrize("said", [b"", b'["stop", "fo', b'["stop", "fork"]\n', b'["turn", "fork"]\n', b"3\n", b"\xff\n"])
def test_a_client_that_goes_away_ends_no_keeper(kept, said):
    """It is gone when the keeper looks: in the middle of its request, or before it has the answer."""
    directory, process = kept
    process.send_signal(signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.fspath(directory / keeper.SOCKET))
        connection.sendall(said)
    process.send_signal(signal.SIGCONT)
    keeper.ask(directory, "stop", "fork")
    assert process.poll() is None


def test_a_keeper_says_what_it_does_not_understand(kept):
    for request in (["turn", "fork"], ["set", "moon", "A", "b"], ["start"]):
        with pytest.raises(SiteError, match="not understood") as error:
            keeper.ask(kept[0], *request)
        assert json.dumps(request[0]) in str(error.value)


def test_a_bare_job(arc, job):
    (job / "run.sh").write_text('#!/bin/sh\nid -u; pwd; cat data.txt; echo to-stderr >&2; echo result >result.txt; exit 3\n')
    (job / "data.txt").write_text("input\n")
    done = arc.run('&(executable="run.sh")(inputFiles=("data.txt" ""))(outputFiles=("result.txt" ""))'
                   '(stdout="out")(stderr="err")(gmlog="gmlog")', job)
    assert (done.state, done.exit_status) == ("Failed", 3)
    where = done.session if arc.lrms == "slurm" else done.session.parents[1] / "node" / done.session.name
    fetched = done.fetch()
    assert (fetched / "out").read_text() == f"{os.getuid()}\n{where}\ninput\n"
    assert (fetched / "err").read_text() == "to-stderr\n"
    assert (fetched / "result.txt").read_text() == "result\n"


def test_a_bare_sbatch_job(cluster, job):
    script = job / "job.sh"
    script.write_text("#!/bin/sh\nid -u; exit 4\n")
    assert cluster.run(script, cwd=job) == 4
    assert (job / "out").read_text() == f"{os.getuid()}\n"
