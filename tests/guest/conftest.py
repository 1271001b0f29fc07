"""Running machines from tests: the Debian root tree, `run_guest`, and the same command natively for comparison."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from . import make_tree

SOURCE = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
# With APPPOT_TEST_NATIVE=1 the commands run in the tree without AppPot: whether the tests expect the right thing.
CHECK_TESTS = bool(os.environ.get("APPPOT_TEST_NATIVE"))
CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TERM": "dumb"}


OLD_LANDLOCK = """
import sys
from apppot.platform import landlock
landlock.abi = lambda: %d
from apppot.cli.start import main
sys.exit(main())
"""

#: --isolation, and the version of Landlock's ABI at most: before the third one files are opened in known ways only.
LEVELS = {"standard": ("standard", None), "landlock-1": ("standard", 1), "none": ("none", None), "strict": ("strict", None)}


def start_command(*words, image, options=(), landlock=None):
    """The command line that starts a machine. `landlock`: as if the kernel had no later version of Landlock's ABI."""
    start = ["-m", "apppot.cli.start"] if landlock is None else ["-c", OLD_LANDLOCK % landlock]
    return [sys.executable, *start, "--image", str(image), *map(str, options), *map(str, words)]


def environment(**more):
    """What the caller of AppPot has in its environment in these tests."""
    return CLEAN | {"PYTHONPATH": str(SOURCE), "HOME": os.environ.get("HOME", "/"),
                    "PYTHONPYCACHEPREFIX": str(make_tree.cache_dir() / f"bytecode-{os.getuid()}")} | more


# Who the caller is inside: the host's root stays root.
USER, HOME = ("root", "/root") if os.getuid() == 0 else ("user", "/home/user")

# nohup and background jobs of scripts ignore these, and machines would inherit that.
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def debian_tree():
    """A Debian 12 root tree owned by this user. Machines never write to it."""
    return make_tree.tree()


@pytest.fixture
def run_guest(debian_tree, job, tmp_path):
    """run_guest(*command, options=..., image=..., cwd=..., input=..., env=...) -> CompletedProcess, as text."""

    def run(*command, options=(), image=debian_tree, cwd=job, input=None, env=None, timeout=120, check=False, landlock=None, **more):
        if CHECK_TESTS:
            if options or image != debian_tree or cwd != job or landlock or more:
                pytest.skip("this test is about AppPot's own options")
            done = native_run(debian_tree, tmp_path / "native", job, command, timeout, env, input)
        else:
            done = subprocess.run(
                start_command(*command, image=image, options=options, landlock=landlock), cwd=cwd, env=environment(**(env or {})),
                input=input, stdin=subprocess.DEVNULL if input is None else None, capture_output=True,
                timeout=timeout, text=True, errors="surrogateescape", **more)
        if check and done.returncode != 0:
            pytest.fail(f"{shlex.join(map(str, command))}: status {done.returncode}\n{done.stdout}\n{done.stderr}",
                        pytrace=False)
        return done

    return run


@pytest.fixture
def shell(run_guest):
    """shell(script) -> standard output of `bash -c script` in a machine; the test fails if the script does."""

    def run(script, *words, **more):
        return run_guest("bash", "-c", script, "bash", *words, check=True, **more).stdout

    return run


@pytest.fixture
def start_guest(debian_tree, job):
    """start_guest(*command, ...) -> Popen, ended with its machine at the end of the test."""
    started = []
    if CHECK_TESTS:
        pytest.skip("this test is about AppPot's own behaviour")

    def start(*command, options=(), image=debian_tree, cwd=job, env=None, **more):
        more = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
        process = subprocess.Popen(start_command(*command, image=image, options=options), cwd=cwd,
                                   env=environment(**(env or {})), **more)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


# --- the same natively ------------------------------------------------------------------------------------------------

NATIVE = r"""
tree=$1 scratch=$2 job=$3; shift 3
rm -rf "$scratch"; mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root"
root=$scratch/root
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$scratch/upper,workdir=$scratch/work" "$root" || exit 125
mount --rbind /dev "$root/dev" || exit 125
mount -t tmpfs tmpfs "$root/dev/shm" || exit 125
mount -t proc proc "$root/proc" || mount --rbind /proc "$root/proc" || exit 125
mount --rbind /sys "$root/sys" || exit 125
mkdir -p "$root/home/user/job"
if [ "$(id -u)" != 0 ]; then
    echo "user:x:$(id -u):$(id -g)::/home/user:/bin/bash" >>"$root/etc/passwd"
    echo "user:x:$(id -g):" >>"$root/etc/group"
fi
mount --bind "$job" "$root/home/user/job" || exit 125
drop=
[ "$(id -u)" = 0 ] || drop="/usr/bin/setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all --"
chroot "$root" $drop /usr/bin/env -C /home/user/job -- "$@"
exit $?  # this shell stays as process 1, which signals don't kill
"""


@pytest.fixture(scope="session")
def native_works(debian_tree, tmp_path_factory):
    """Can this user run programs in the tree without AppPot? It takes root, or user namespaces."""
    job = tmp_path_factory.mktemp("native")
    return native_run(debian_tree, job / "scratch", job, ["/bin/true"], 30).returncode == 0


def native_run(tree, scratch, job, command, timeout, env=None, input=None):
    """Run in the tree under an overlay of the kernel's, in namespaces."""
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    if os.getuid() != 0:
        namespaces += ["--user", "--map-current-user", "--keep-caps"]
    return subprocess.run([*namespaces, "sh", "-c", NATIVE, "sh", str(tree), str(scratch), str(job),
                           *map(str, command)], env=CLEAN | {"HOME": "/home/user"} | (env or {}),
                          input=input, stdin=subprocess.DEVNULL if input is None else None, capture_output=True,
                          timeout=timeout, text=True, errors="surrogateescape")


@pytest.fixture
def native(debian_tree, native_works, tmp_path):
    """native(*command) -> the same command in the same tree under the host's kernel alone."""
    if not native_works:
        pytest.skip("nothing to compare with: running in the tree natively takes root or user namespaces")
    used = []

    def run(*command, timeout=600, env=None):
        base = tmp_path / f"native{len(used)}"
        directory = tmp_path / f"native{len(used)}-job"
        directory.mkdir()
        used.append(base)
        return native_run(debian_tree, base, directory, command, timeout, env)

    yield run
    for base in used:
        subprocess.run(["chmod", "-R", "u+rwX", str(base)], check=False)


# --- C programs -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """program("paths") -> static executable of programs/paths.c, made by the host's compiler."""
    directory = tmp_path_factory.mktemp("programs")

    def build(name, *flags):
        target = directory / (name + "".join(flags).replace("/", "_"))
        if not target.exists():
            compiler = shutil.which("gcc") or shutil.which("cc")
            if compiler is None:
                pytest.fail("no C compiler: apt-get install gcc libc6-dev", pytrace=False)
            subprocess.run([compiler, "-O1", "-w", "-pthread", *(flags or ["-static"]), "-o", str(target),
                            str(PROGRAMS / f"{name}.c")], check=True)
        return target

    return build
