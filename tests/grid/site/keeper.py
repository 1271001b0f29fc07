"""Starts and stops the site for tests that are not root: a root process that listens on a socket.

A request is a line of JSON: ["start", "fork"], ["stop", "slurm"], ["set", "fork", NAME, VALUE or null],
["default", "fork", true or false]; the answer is one
too: {"error": line or null, "lacking": whether this computer can't have a site}. Only root and the account are answered.
"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path

from .daemons import SiteError, wait_for
from .site import Site

SOCKET = "keeper"
SECONDS_FOR_A_LINE = 10     # a client that connects and says nothing keeps the others waiting no longer


def serve(place, rte):
    """Answer until SIGTERM, then stop the site."""
    Site(place, rte).stop()             # what a keeper that was killed has left
    shutil.rmtree(place.directory / "ports", ignore_errors=True)
    site = Site(place, rte)
    path = place.directory / SOCKET
    path.unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, _end)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(path))
        os.chmod(path, 0o666)
        listener.listen()
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if _uid(connection) in (0, place.account.pw_uid):
                        _serve_one(site, connection)
        finally:
            path.unlink(missing_ok=True)
            site.stop()


def _serve_one(site, connection):
    """Answer one request. A client that goes away in its middle, as an interrupted test does, is nobody's else affair."""
    connection.settimeout(SECONDS_FOR_A_LINE)
    try:
        with connection.makefile("rb") as stream:
            line = stream.readline()
        if line.endswith(b"\n"):
            connection.sendall((json.dumps(_answer(site, line)) + "\n").encode())
    except OSError:
        pass


def _end(signum, frame):
    raise SystemExit(0)


def _uid(connection):
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1]


def _answer(site, line):
    try:
        verb, *words = json.loads(line)
        {"start": site.start, "stop": site.stop, "set": site.set_parameter,
         "default": site.use_for_all_jobs}[verb](*words)
    except SiteError as error:
        return {"error": str(error), "lacking": error.lacking}
    except (OSError, subprocess.SubprocessError) as error:
        return {"error": str(error), "lacking": False}
    except (ValueError, LookupError, TypeError) as error:
        return {"error": f"{line!r}: not understood ({error!r})", "lacking": False}
    return {"error": None, "lacking": False}


def ask(directory, *request):
    """What a test sends; SiteError with the keeper's line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(180)
        path = Path(directory) / SOCKET
        wait_for(path.exists, 10, f"the keeper's socket {path}")        # it may have been started with the tests
        connection.connect(os.fspath(path))
        with connection.makefile("rw") as stream:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            line = stream.readline()
    if not line:
        raise SiteError("the keeper of the site has ended")
    answer = json.loads(line)
    if answer["error"] is not None:
        raise SiteError(answer["error"], lacking=answer["lacking"])
