"""Running the host's own tools that make file systems in a machine, as virtual root: there the tree has its true owners,
devices and set-user-id bits, and needs no privilege. The root is the host's, the tree is mounted at TREE."""

import os
import select
import shutil
import signal
import sys
from errno import ENOSPC

from apppot.errors import AppPotError
from apppot.kernel.workers import end_with
from apppot.machine import JOB, Machine

TREE = b"/apppot-tree"
MOST_SAID = 1 << 18         # bytes of what a machine says that are kept
TICK = 0.3                  # seconds


def tool(name, package):
    """Path of a program; AppPotError that names its package when it is missing."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise AppPotError(f"{name} is missing; please run: apt-get install {package}")
    return os.fsencode(found)


def run_tool(source, path, words, variables=(), tell=lambda data: None):
    """Run a tool that writes the file `path`, which it is told as `seen(path)`. tell: as for `run_machine`.

    Without the fast path: that shows files as they are on the disk, and a `Frozen` tree is to look otherwise.
    """
    status, said = run_machine(Machine(trees=[(TREE, source.overlay)], job_dir=os.path.dirname(path), root=True, command=words,
                                        isolation="strict", quiet=True, env=dict(variables), clean_env=True, discard=True), tell)
    if status != 0:
        full = os.strerror(ENOSPC)
        if full in said:
            raise OSError(ENOSPC, full)
        reason = said.strip().splitlines()[-1] if said.strip() else f"status {status}"
        raise AppPotError(f"{os.fsdecode(os.path.basename(words[0]))} failed: {reason}")


def seen(path):
    """How the machine calls the file that is written."""
    return JOB + b"/" + os.path.basename(path)


def run_machine(machine, tell=lambda data: None):
    """Run a machine in a process of its own: (exit status, what it said).

    tell: gets what it says as it comes, and b"" from time to time when it says nothing.
    """
    from apppot.machine import run
    ours, theirs = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 125
        try:
            end_with(parent)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(theirs, 1)
            os.dup2(theirs, 2)
            os.close(ours)
            os.close(theirs)
            status = run(machine)
        except AppPotError as error:
            os.write(2, error.message.encode("utf-8", "replace") + b"\n")
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "replace"))
        finally:
            os._exit(status)
    os.close(theirs)
    try:
        said = b""
        with open(ours, "rb", buffering=0) as file:
            while True:
                if not select.select([file], [], [], TICK)[0]:
                    tell(b"")
                    continue
                data = file.read(1 << 16)
                if not data:
                    break
                tell(data)
                said = (said + data)[-MOST_SAID:]
    except BaseException:
        os.kill(pid, signal.SIGKILL)        # the machine ends with its supervisor
        os.waitpid(pid, 0)
        raise
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode(errors="replace")
