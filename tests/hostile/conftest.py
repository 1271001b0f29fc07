"""Hostile guests: static programs of tests/hostile/programs in an image that holds nothing else, a canary outside."""

import ctypes
import errno
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest.conftest import environment, start_command

#: At least so many tries of each race, if it is set; else as many as two seconds give.
TRIES = os.environ.get("APPPOT_TEST_TRIES")
_counted = []                              # (level, "race NAME: N tries, ...") of all that were run

PROGRAMS = Path(__file__).parent / "programs"
OUTSIDER = """
import ctypes, os, signal, socket, sys
signal.signal(signal.SIGUSR1, lambda *_: print("signalled", flush=True))
memory = ctypes.create_string_buffer(b"canary of the outsider")
abstract, by_name = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
abstract.bind("\\0apppot-canary-%d" % os.getpid()); abstract.listen()
by_name.bind(sys.argv[1]); by_name.listen()
print(ctypes.addressof(memory), flush=True)
sys.stdin.read()
abstract.setblocking(False); by_name.setblocking(False)
for server in abstract, by_name:
    try:
        server.accept(); print("somebody connected", flush=True)
    except BlockingIOError:
        pass
print(memory.value.decode(), os.getpriority(0, 0), len(os.sched_getaffinity(0)), flush=True)
"""


def without_landlock():
    """In the child that becomes apppot-start: landlock_create_ruleset(2) is not implemented, as in older kernels."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = b"".join(struct.pack("=HBBI", *step) for step in (
        (0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)))
    buffer = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", 4, ctypes.addressof(buffer)))
    if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(317, 1, 0, program):
        os._exit(99)


#: Ways to run: options of apppot-start, and what its process does first.
LEVELS = {
    "standard": ((), None),
    "strict": (("--isolation", "strict"), None),
    "landlock-1": ((), None),              # as if the kernel had no later version of Landlock's ABI
    "no-landlock": ((), without_landlock),
    "root": (("--root",), None),
    "none": (("--isolation", "none"), None),
}


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """hostile("paths") -> the static executable of programs/paths.c."""
    directory = tmp_path_factory.mktemp("hostile")

    def build(name):
        target = directory / name
        if not target.exists():
            compiler = shutil.which("gcc") or shutil.which("cc")
            if compiler is None:
                pytest.fail("no C compiler: apt-get install gcc libc6-dev", pytrace=False)
            subprocess.run([compiler, "-O1", "-w", "-pthread", "-static", "-o", target, PROGRAMS / f"{name}.c"], check=True)
        return target

    return build


class Outside:
    """What a guest may not reach: a directory with a secret, and a process of the same user."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        self.secret = directory / "secret"
        self.secret.write_text("canary\n")
        self.secret.chmod(0o600)
        os.setxattr(self.secret, "user.canary", b"yes")
        self.program = directory / "program"
        self.program.write_text("#!/bin/descriptors again\n")
        self.program.chmod(0o700)
        self.process = subprocess.Popen([sys.executable, "-c", OUTSIDER, str(directory / "socket")], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = int(self.process.stdout.readline())
        self.before = self.state()

    def state(self):
        st, files = self.secret.stat(), sorted(os.listdir(self.directory))
        files += [self.secret.read_text(), st.st_mode, st.st_mtime_ns, st.st_ctime_ns, st.st_nlink, os.listxattr(self.secret)]
        with open(f"/proc/{self.process.pid}/oom_score_adj") as file:
            return files + [file.read(), self.process.poll()]

    def check(self):
        assert self.state() == self.before
        told, _ = self.process.communicate("", timeout=20)
        assert told.split("\n")[0].startswith("canary of the outsider") and self.process.returncode == 0, told
        assert told.split()[-2:] == [str(os.getpriority(os.PRIO_PROCESS, 0)), str(len(os.sched_getaffinity(0)))], told


@pytest.fixture
def outside(tmp_path):
    made = Outside(tmp_path / "outside")
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.communicate()


def make_image(image):
    for directory in "etc", "tmp", "bin":
        (image / directory).mkdir(parents=True)
    (image / "etc" / "image-file").write_text("of the image\n")
    (image / "etc" / "image-file").chmod(0o644)
    return image


def start(executable, image, level, outside, *arguments, cwd, options=(), env=None, limit=None):
    """The Popen of a machine with that program as its command. `limit`: what its process does first, beside what the level says."""
    own, first = LEVELS[level]

    def prepare():
        for step in first, limit:
            if step is not None:
                step()

    shutil.copy(executable, image / "bin" / executable.name)
    command = start_command(f"/bin/{executable.name}", outside.directory, outside.process.pid, *arguments, image=image,
                            options=[*own, *options, *(["--env", f"TRIES={TRIES}"] if TRIES else [])],
                            landlock=1 if level == "landlock-1" else None)
    return subprocess.Popen(command, cwd=cwd, env=environment(**(env or {})), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, errors="replace", preexec_fn=prepare)


def finish(process, timeout=120):
    """The CompletedProcess of such a machine."""
    with process:
        try:
            output, errors = process.communicate(timeout=None if TRIES else timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.fixture
def attack(hostile, outside, tmp_path):
    """attack(program, level, *arguments) -> CompletedProcess of a machine with that program as its command."""
    image, job = make_image(tmp_path / "image"), tmp_path / "job"
    job.mkdir()

    def run(program, level, *arguments, timeout=120, **more):
        before = (image / "etc" / "image-file").stat()
        done = finish(start(hostile(program), image, level, outside, *arguments, cwd=job, **more), timeout)
        after = (image / "etc" / "image-file").stat()
        assert [getattr(before, name) for name in ("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns")] == [
            getattr(after, name) for name in ("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns")], "the image was changed"
        _counted.extend((level, line) for line in done.stdout.splitlines() if line.startswith("race "))
        return done

    return run


def pytest_terminal_summary(terminalreporter):
    for level, line in _counted:
        terminalreporter.write_line(f"{level}: {line}")


def held(done):
    """The program ran to its end, broke nothing, and the supervisor met nothing that it did not expect."""
    escapes = [line for line in done.stdout.splitlines() if line.startswith("ESCAPED")]
    assert escapes == [], "\n".join(escapes[:20])
    assert "internal error" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert (done.stdout.splitlines()[-1:], done.returncode) == (["HELD"], 0), (done.stdout[-500:], done.stderr[-500:])
