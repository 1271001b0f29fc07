"""The ways a command is run for comparison: native, AppPot, PRoot, bubblewrap, Sandlock. All see the same tree.

AppPot takes the tree as it is. The others write where a guest writes, so they share a copy of it whose files below /usr
are hard links: the same data in the host's memory. A job directory is at /home/user/job and a scratch one at /tmp.
"""

import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).parents[1]
JOB = "/home/user/job"
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/home/user"}
NATIVE, FAST, SLOW, PROOT, BWRAP, SANDLOCK = "native", "AppPot", "AppPot, fast path off", "PRoot", "bwrap", "Sandlock"
KEPT = ("HOME", "APPPOT_CACHE", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")     # where AppPot keeps what lasts
COPIED = ("etc", "var")     # what package tools change in place; the rest they replace, which leaves hard links alone
CHROOT = """
t=$1 j=$2 s=$3; shift 3
mount --rbind /dev "$t/dev" && mount --rbind /proc "$t/proc" && mount --bind "$j" "$t/home/user/job" &&
mount --bind "$s" "$t/tmp" || exit 125
b=$EPOCHREALTIME; chroot "$t" /usr/bin/env -C /home/user/job "$@"; r=$?; e=$EPOCHREALTIME
echo "elapsed $((${e/./} - ${b/./}))" >&2; exit $r
"""


@dataclass(frozen=True)
class Place:
    """Host directories that a command sees: the tree, a writable copy of it, the job directory, what is at /tmp.

    The last three are on one file system, and so is what AppPot's guests write: it makes its files in `temporary`.
    """

    tree: Path
    copy: Path
    job: Path
    scratch: Path
    temporary: Path


@dataclass(frozen=True)
class Way:
    """One way to run a command; `command(words, place, as_root)` makes the whole command line.

    clocked: the command line takes the time itself and ends its standard error with "elapsed MICROSECONDS".
    root, tmp: where a command finds the tree and its /tmp.
    """

    name: str
    command: object
    version: str = ""
    env: dict = field(default_factory=dict)
    clocked: bool = False
    root: str = ""
    tmp: str = "/tmp"

    def start(self, words, place, as_root=False, **more):
        """The words run this way, in a process group of their own; {root} and {tmp} in them are replaced."""
        words = [word.replace("{root}", self.root).replace("{tmp}", self.tmp) for word in map(str, words)]
        return subprocess.Popen(self.command(words, place, as_root), cwd=place.job, env=CLEAN | self.env, text=True,
                                errors="replace", start_new_session=True, **more)

    def run(self, words, place, as_root=False, timeout=None):
        """CompletedProcess; subprocess.TimeoutExpired when it takes longer than `timeout` seconds."""
        process = self.start(words, place, as_root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


def copy_tree(tree, copy):
    """A copy of the tree that may be written to."""
    copy.mkdir()
    for entry in sorted(tree.iterdir()):
        linked = subprocess.run(["cp", "-al", entry, copy], capture_output=True) if entry.name not in COPIED else None
        if linked is None or linked.returncode:
            subprocess.run(["rm", "-rf", copy / entry.name], check=True)
            subprocess.run(["cp", "-a", entry, copy], check=True)
    for name in (JOB, "/tmp", "/dev", "/proc"):
        (copy / name[1:]).mkdir(parents=True, exist_ok=True)


def chroot():
    """In the tree by chroot, in namespaces of its own, whose making is not measured."""

    def command(words, place, as_root):
        namespaces = ["unshare", "--mount"] + ([] if os.getuid() == 0 else ["--map-root-user"])
        return [*namespaces, "bash", "-c", CHROOT, "bash", str(place.copy), str(place.job), str(place.scratch), *words]

    return Way(NATIVE, command, "chroot", clocked=True)


def host(place):
    """Where chroot is not possible: the host's own programs, on the files of the tree."""

    def command(words, place, as_root):
        if as_root:
            words = ["sh", "-c", "echo 'only in the tree, and as root' >&2; exit 1"]
        return list(words)

    return Way(NATIVE, command, "the host's own programs", root=str(place.tree), tmp=str(place.scratch))


def apppot(name, place, *options):
    def command(words, place, as_root):
        return [sys.executable, "-m", "apppot.cli.start", "--image", str(place.tree), *options,
                *(["--root"] if as_root else []), *words]

    from apppot import __version__
    # As when installed: with bytecode, also where the checkout can't be written.
    bytecode = Path(tempfile.gettempdir()) / f"apppot-bytecode-{os.getuid()}"
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return Way(name, command, __version__, kept | {"TMPDIR": str(place.temporary), "PYTHONPATH": str(SOURCE),
                                                   "PYTHONPYCACHEPREFIX": str(bytecode)})


def proot():
    def command(words, place, as_root):
        return ["proot", *(["-0"] if as_root else []), "-r", str(place.copy), "-b", "/dev", "-b", "/proc",
                "-b", f"{place.job}:{JOB}", "-b", f"{place.scratch}:/tmp", "-w", JOB, *words]

    return Way(PROOT, command, first_version(["proot", "--version"]))


def bwrap():
    def command(words, place, as_root):
        return ["bwrap", *(["--unshare-user", "--uid", "0", "--gid", "0"] if as_root else []), "--bind", str(place.copy), "/",
                "--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc", "--bind", str(place.job), JOB,
                "--bind", str(place.scratch), "/tmp", "--chdir", JOB, *words]

    return Way(BWRAP, command, first_version(["bwrap", "--version"]))


def sandlock():
    def command(words, place, as_root):
        return [sys.executable, "-m", "benchmarks.sandlocked", str(place.copy), str(place.job), str(place.scratch),
                str(int(as_root)), *words]

    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Way(SANDLOCK, command, importlib.metadata.version("sandlock"), {"PYTHONPATH": path}, clocked=True)


def first_version(words):
    """The first number with a point in what a program says of its version."""
    said = subprocess.run(words, capture_output=True, text=True)
    found = re.search(r"\d+\.[\w.]+", said.stdout + said.stderr)
    return found[0] if found else ""


def sandlock_lacks():
    """Why Sandlock can't be compared with, or None."""
    try:
        import sandlock as module
    except ImportError:
        return "Sandlock is not installed: pip install 'apppot[benchmarks]'"
    has, needs = module.landlock_abi_version(), module.min_landlock_abi()
    if has < needs:
        return f"Sandlock needs Landlock of version {needs} (Linux 6.12) or newer; this kernel has {max(has, 0) or 'none'}"
    return None


def working(place):
    """The ways that work here, native first, and one line about each that doesn't."""
    ways, missing = [], []
    candidates = [chroot(), apppot(FAST, place), apppot(SLOW, place, "--isolation", "strict")]
    for make, program, package in ((proot, "proot", "proot"), (bwrap, "bwrap", "bubblewrap")):
        if shutil.which(program, path=os.environ.get("PATH", os.defpath)):
            candidates.append(make())
        else:
            missing.append(f"{package} is not installed: apt-get install {package}")
    if lacks := sandlock_lacks():
        missing.append(lacks)
    else:
        candidates.append(sandlock())
    for way in candidates:
        done = way.run(["/bin/true"], place, timeout=60)
        if done.returncode == 0:
            ways.append(way)
            continue
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        missing.append(f"{way.name} ({way.version}) does not work here: {said}")
        if way.name == NATIVE:
            ways.append(host(place))
    return ways, missing
