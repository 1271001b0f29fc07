"""Fixtures for tests on a real ARC site and a real Slurm cluster (tests/grid/site).

./run-tests as root keeps a site: a root process that starts and stops it when a test asks, whose directory is in
$APPPOT_TEST_SITE. The tests themselves are an ordinary user's. Without it, or where the daemons can't be started, these
tests are skipped and say why.

    arc       ArcClient (clients.py): submit, wait, fetch, kill, log; `arc.url`, `arc.variables` (home, certificates, proxy)
              for other programs that use ARC's commands. A test with it runs twice: back end fork, back end slurm.
    cluster   Cluster: cluster("sbatch", ...), with `cluster.bin` (for PATH) and `cluster.variables`
    job       an empty directory for the input files of a job
    web       a loopback HTTP server that A-REX can stage from and to: `web.url`, `web.directory`

The job's processes belong to the user of the tests, so tests may look at them and at the session directories.
"""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from .clients import ArcClient, Cluster
from .site import keeper
from .site.daemons import SiteError
from .site.site import BACK_ENDS, facts

SITE = os.environ.get("APPPOT_TEST_SITE")


def _started(name):
    """Have the keeper start this back end: what it wrote down."""
    if not SITE:
        pytest.skip("no ARC site here: ./run-tests as root keeps one")
    try:
        keeper.ask(SITE, "start", name)
    except SiteError as error:
        if error.lacking:
            pytest.skip(f"no ARC site here: {error}")
        pytest.fail(f"the site was not started: {error}", pytrace=False)
    return facts(SITE)


@pytest.fixture(scope="session", params=BACK_ENDS)
def back_end(request):
    """(name, facts) of a running A-REX; it is stopped when its last test is done."""
    yield request.param, _started(request.param)
    keeper.ask(SITE, "stop", request.param)


@pytest.fixture(scope="session")
def running_slurm():
    yield _started("sbatch")
    keeper.ask(SITE, "stop", "sbatch")


@pytest.fixture
def arc(back_end, tmp_path):
    name, told = back_end
    directory = tmp_path / "arc"
    directory.mkdir()
    return ArcClient(name, told, directory, partial(keeper.ask, SITE))


@pytest.fixture
def cluster(running_slurm, tmp_path):
    return Cluster(running_slurm, tmp_path)


@pytest.fixture
def job(tmp_path):
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


class Files(SimpleHTTPRequestHandler):
    """Files of a directory for A-REX: it sends the absolute form of URLs, and PUTs outputs."""

    protocol_version = "HTTP/1.1"

    def parse_request(self):
        parsed = super().parse_request()
        if parsed:
            self.server.requests.append((self.command, self.path))
            if self.path.startswith("http://"):
                self.path = "/" + self.path.split("/", 3)[3]
        return parsed

    def do_PUT(self):
        with open(self.translate_path(self.path), "wb") as file:
            file.write(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        """Requests are in server.requests; standard error is the test's."""


class Web:
    """`url`, `directory`, and `requests`: list of (method, path or URL)."""

    def __init__(self, server, directory):
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.directory, self.requests = directory, server.requests


@pytest.fixture
def web(tmp_path):
    directory = tmp_path / "web"
    directory.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=directory)) as server:
        server.requests = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Web(server, directory)
        server.shutdown()
