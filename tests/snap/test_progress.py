"""How long work on archives of changes is told about."""

import io
import os
import pty
import subprocess
import sys
import threading

import pytest

from apppot.cli.progress import Bar, Lines, for_command
from apppot.errors import AppPotError
from apppot.image.progress import SILENT, Progress
from apppot.snap import layers, request
from tests.conftest import ROOT
from tests.image.tars import member, tar

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}


class Told(Progress):
    def __init__(self):
        self.done = []

    def begin(self, label, total=None):
        self.done.append([label, total, 0])

    def advance(self, amount):
        self.done[-1][2] += amount

    def end(self):
        self.done[-1].append("end")


def snap(machine, *words):
    """The command as apppot-snap outside runs it."""
    machine.cow.note_image(machine.image_path)
    machine.close()
    return [sys.executable, "-m", "apppot.cli.snap", "--cow", os.fsdecode(machine.top) + "/cow", *words]


def test_changes_and_merge(machine):
    one, two, told = machine(), machine(), Told()
    one.root_do("mkdir", "/opt", 0o755)
    one.snapshots.progress = two.snapshots.progress = told
    archive = one.changes()
    two.merge(archive)
    (label, total, done, _), (label2, total2, done2, _) = told.done
    assert (label, total) == ("writing changes.tar.gz", None) and done >= 1024
    assert label2 == f"unpacking {os.fsdecode(archive)}" and total2 == done2 == os.path.getsize(archive)


def test_layers_at_start_and_what_fails(machine, tmp_path):
    one, told = machine(), Told()
    archive, ids = one.changes(), (os.geteuid(), os.getegid())
    for _ in range(2):          # found in the cache
        layers.stack(one.image, [archive], *ids, cache=os.fsencode(tmp_path / "cache"), progress=told)[0].close()
    assert [done[0] for done in told.done] == [f"unpacking {os.fsdecode(archive)}"]
    one.snapshots.progress = told
    (tmp_path / "bad").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(AppPotError, match="damaged"):
        one.merge(tmp_path / "bad")
    assert len(told.done) == 1
    (tmp_path / "worse").write_bytes(tar(member("good", data=b""), member("../out", data=b"")))
    with pytest.raises(AppPotError, match="not merged"):
        one.merge(tmp_path / "worse")
    assert len(told.done) == 2 and told.done[1][-1] == "end"


def test_plain_lines_and_quiet(machine, tmp_path):
    one = machine()
    one.root_do("mkdir", "/opt", 0o755)
    for words, said in ((("changes", "c.tar.gz"), "apppot-snap: writing c.tar.gz\n"),
                        (("changes", "-"), "apppot-snap: writing -\n"),
                        (("merge", "c.tar.gz"), "apppot-snap: unpacking c.tar.gz (")):
        shown, quiet = (subprocess.run(snap(one, *more, *words), cwd=tmp_path, capture_output=True, env=ENVIRONMENT)
                        for more in ((), ("-q",)))
        assert shown.returncode == quiet.returncode == 0
        assert shown.stderr.decode().startswith(said) and quiet.stderr == b""
        assert words[1] == "-" or (shown.stdout and not quiet.stdout)


def test_quiet_and_verbose():
    with pytest.raises(request.Wrong, match="exclude"):
        request.parse([b"-qv", b"base"])


def test_a_bar_on_a_terminal(machine, tmp_path):
    one = machine()
    one.root_do("mkdir", "/opt", 0o755)
    ours, theirs = pty.openpty()
    said = []

    def read():
        try:
            while data := os.read(ours, 10000):
                said.append(data)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    subprocess.run(snap(one, "changes", "c.tar.gz"), cwd=tmp_path, stderr=theirs, stdout=subprocess.DEVNULL, check=True,
                   env=ENVIRONMENT)
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert b"writing c.tar.gz" in b"".join(said) and "━".encode() in b"".join(said)


def test_other_streams():
    """What apppot-snap inside a machine shows goes to its own standard error."""
    stream = io.StringIO()
    shown = for_command("apppot-start").on("apppot-snap", stream)
    shown.begin("writing x", 1536)
    shown.end()
    assert stream.getvalue() == "apppot-snap: writing x (1.5 KiB)\n"
    assert SILENT.on("apppot-snap", stream) is SILENT
    stream.isatty = lambda: True
    assert type(shown.on("x", stream)) is Bar and type(shown.on("x", stream, plain=True)) is Lines
