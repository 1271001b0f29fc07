"""The ways a command is run for comparison: native, AppPot, PRoot. All see the same tree and job directory."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parents[1]
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Way:
    """One way to run a command; `command` makes the whole command line.

    clocked: the command line takes the time itself and ends its standard error with "elapsed MICROSECONDS".
    """

    def __init__(self, name, command, env=None):
        self.name = name
        self.command = command
        self.env = CLEAN | (env or {})
        self.clocked = False

    def run(self, *words, cwd):
        return subprocess.run(self.command(list(map(str, words)), cwd), cwd=cwd, env=self.env, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL)


def natively(tree):
    """In the tree by chroot, in namespaces of its own, whose making is not measured."""

    def command(words, cwd):
        script = ('t=$1 j=$2; shift 2; mount --rbind /dev "$t/dev" && mount --rbind /proc "$t/proc" && '
                  'mount -t tmpfs tmpfs "$t/home" && mkdir -p "$t/home/user/job" && mount --bind "$j" "$t/home/user/job" && '
                  's=$EPOCHREALTIME && chroot "$t" /usr/bin/env -C /home/user/job "$@"; r=$?; e=$EPOCHREALTIME; '
                  'echo "elapsed $((${e/./} - ${s/./}))" >&2; exit $r')
        namespaces = ["unshare", "--mount"] + ([] if os.getuid() == 0 else ["--map-root-user"])
        return [*namespaces, "bash", "-c", script, "bash", str(tree), str(cwd), *words]

    way = Way("native", command)
    way.clocked = True
    return way


def apppot(tree, *options):
    def command(words, cwd):
        return [sys.executable, "-m", "apppot.cli.start", "--image", str(tree), *options, *words]

    name = " ".join(["AppPot", *options])
    # As when installed: with bytecode, also where the checkout can't be written.
    bytecode = Path(tempfile.gettempdir()) / f"apppot-bytecode-{os.getuid()}"
    return Way(name, command, {"PYTHONPATH": str(SOURCE), "PYTHONPYCACHEPREFIX": str(bytecode),
                               "HOME": os.environ.get("HOME", "/")})


def proot(tree):
    def command(words, cwd):
        return ["proot", "-r", str(tree), "-b", "/dev", "-b", "/proc", "-b", f"{cwd}:/home/user/job", "-w", "/home/user/job",
                *words]

    return Way("PRoot", command) if shutil.which("proot") else None


def working(tree):
    """The ways that work here, native first, and what is said about those that don't."""
    ways, missing = [], []
    with tempfile.TemporaryDirectory() as job:
        for way in (natively(tree), apppot(tree), proot(tree)):
            if way is None:
                missing.append("no PRoot to compare with: apt-get install proot")
                continue
            done = way.run("/bin/true", cwd=job)
            if done.returncode == 0:
                ways.append(way)
            else:
                missing.append(f"{way.name} does not work here: {shlex.join(way.command(['/bin/true'], job))}: "
                               f"{done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return ways, missing
