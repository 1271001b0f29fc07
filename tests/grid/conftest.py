"""Fixtures for tests on a real ARC site and a real Slurm cluster (tests/grid/site).

./run-tests as root keeps a site: a root process that starts and stops it when a test asks, whose directory is in
$APPPOT_TEST_SITE. The tests themselves are an ordinary user's. Without it, or where the daemons can't be started, these
tests are skipped and say why.

    arc       ArcClient (clients.py): submit, wait, fetch, kill, log; `arc.url`, `arc.variables` (home, certificates, proxy)
              for other programs that use ARC's commands. A test with it runs twice: back end fork, back end slurm.
    contained ArcClient of a site with our runtime environment, AppPot of this checkout and images; `contained.images`
    cluster   Cluster (clients.py): run, submit, cluster("squeue"); `cluster.bin` (for PATH), `cluster.variables`
    apppot_of_the_site, images    the command apppot of this checkout; the directory with the images tools, tools.squashfs
    built     Builder (building.py): built(recipe) → an image of the examples
    web       a loopback HTTP server that A-REX can stage from and to: `web.url`, `web.directory`

The job's processes belong to the user of the tests, so tests may look at them and at the session directories.
"""

import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .building import Builder, recipes_for
from .clients import ArcClient, Cluster
from .site import keeper
from .site.daemons import SiteError
from .site.site import BACK_ENDS, facts

SOURCE = Path(__file__).parents[2]
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
def back_end(request, built):
    """(name, facts) of a running A-REX; it is stopped when its last test is done."""
    yield request.param, _started(request.param)
    keeper.ask(SITE, "stop", request.param)


@pytest.fixture(scope="session")
def running_slurm(built):
    yield _started("sbatch")
    keeper.ask(SITE, "stop", "sbatch")


@pytest.fixture
def arc(back_end, tmp_path):
    name, told = back_end
    directory = tmp_path / "arc"
    directory.mkdir()
    return ArcClient(name, told, directory, partial(keeper.ask, SITE))


@pytest.fixture(scope="session")
def apppot_of_the_site(tmp_path_factory):
    """The command apppot of this checkout, as a site may install it."""
    path = tmp_path_factory.mktemp("apppot") / "apppot"
    path.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.path.insert(0, \"{SOURCE}\"); "
                    "from apppot.cli.main import main; sys.exit(main())' \"$@\"\n")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def built(request, apppot_of_the_site, tmp_path_factory):
    """What the chosen tests will need is begun with the first test that uses the site."""
    builder = Builder(apppot_of_the_site, tmp_path_factory.mktemp("built"))
    if SITE:
        here = [item.name for item in request.session.items if item.path.parent == Path(__file__).parent]
        for recipe in (recipe for name in here for recipe in recipes_for(name)):
            builder.begin(recipe)
    yield builder
    builder.end()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """The directory of the site's images: tools, a directory; tools.squashfs, the same as a file."""
    directory = tmp_path_factory.mktemp("images")
    make_tools(directory / "tools")
    subprocess.run(["mksquashfs", directory / "tools", directory / "tools.squashfs", "-all-root", "-quiet", "-no-progress",
                    "-comp", "gzip"], check=True, stdout=subprocess.DEVNULL)
    return directory


def make_tools(top):
    """A root tree with busybox, and programs that no host has in /opt/only in the image."""
    for name in ("bin", "etc", "tmp", "opt/only in the image"):
        (top / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), top / "bin" / "busybox")
    applets = subprocess.check_output([top / "bin" / "busybox", "--list"], text=True).split()
    for name in set(applets) - {"busybox"}:
        (top / "bin" / name).symlink_to("busybox")
    (top / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (top / "etc" / "group").write_text("root:x:0:\n")
    (top / "etc" / "image").write_text("tools\n")
    program = top / "opt" / "only in the image" / "show"
    program.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"; cat; cat /etc/image; echo to-stderr >&2\n")
    program.chmod(0o755)


@pytest.fixture(scope="session")
def configured(back_end, apppot_of_the_site, images, tmp_path_factory):
    """(name, facts, parameters) of the back end with our runtime environment set up, as administrators do."""
    name, told = back_end
    cache = tmp_path_factory.mktemp("caches")
    parameters = {"APPPOT": str(apppot_of_the_site), "APPPOT_IMAGES": str(images), "APPPOT_CACHE": str(cache)}
    for parameter, value in parameters.items():
        keeper.ask(SITE, "set", name, parameter, value)
    return name, told, parameters


@pytest.fixture(scope="session")
def contained_client(configured, images):
    """contained_client(directory for its job lists) → ArcClient; who sets parameters takes them back."""
    name, told, parameters = configured

    def make(directory):
        directory.mkdir()
        client = ArcClient(name, told, directory, partial(keeper.ask, SITE), parameters)
        client.images, client.small_scratch = images, Path(told["small_scratch"])
        return client
    return make


@pytest.fixture
def contained(contained_client, tmp_path):
    """Parameters that a test sets are taken back at its end."""
    client = contained_client(tmp_path / "arc")
    yield client
    client.take_back()


@pytest.fixture
def cluster(running_slurm, tmp_path):
    return Cluster(running_slurm, tmp_path)


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
