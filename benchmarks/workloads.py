"""The workloads: what is run, what it needs, and how to see that the work was done. `ALL` maps names to them."""

import textwrap
from dataclasses import dataclass
from enum import Enum

from .material import FILES, Material

IMPORTS = """argparse asyncio collections concurrent.futures csv ctypes dataclasses datetime decimal difflib email.message
    html.parser http.client inspect json logging.config multiprocessing pathlib pickle random shutil socket sqlite3 ssl
    statistics subprocess tarfile tempfile typing unittest urllib.request uuid xml.dom.minidom zipfile""".split()
SQLITE = textwrap.dedent("""
    import os, sqlite3
    if os.path.exists("db"): os.unlink("db")
    connection = sqlite3.connect("db", isolation_level=None)
    connection.execute("pragma synchronous = off")      # else it is the disk that is measured
    connection.execute("create table t (n integer primary key, text)")
    for n in range(1000):
        connection.execute("insert into t (text) values (?)", ("x" * 100,))
    print(connection.execute("select count(*) from t").fetchone())
""")
START = "start"


class Figure(Enum):
    """What a workload's figure is."""

    CALL = "call"        # µs, which the program prints: one call
    WHOLE = "whole"      # ms: the command from its start to its end, the start of the guest included
    PART = "part"        # ms, which the script prints: its measured part. The figure is that and the start of /bin/true
    MEMORY = "memory"    # MiB: the most that the process started by us held


@dataclass(frozen=True)
class Workload:
    """`prepare(material)` is called before each run; `proof(place, stdout)` must be the same in each way as natively."""

    name: str
    about: str
    words: tuple
    figure: Figure = Figure.WHOLE
    prepare: object = None
    proof: object = lambda place, stdout: sorted(stdout.splitlines())
    as_root: bool = False
    by_name: bool = True        # its work is calls that name files

    @property
    def unit(self):
        return {Figure.CALL: "µs", Figure.MEMORY: "MiB"}.get(self.figure, "ms")


def part(work, before=":", after=":"):
    """Words for a script of which `work` is measured."""
    return ("bash", "-ec", f"{before}\nb=$EPOCHREALTIME\n{work}\ne=$EPOCHREALTIME\n{after}\n"
            'echo "part $((${e/./} - ${b/./}))" >&2')


def call(name, about, by_name=True, processes=0, called=None):
    return Workload(name, about, ("./micro", called or name, "{milliseconds}", str(processes)), Figure.CALL, Material.micro,
                    by_name=by_name)


def at_once(name, about):
    """The call made by 1, 2 and 4 processes at once."""
    return [call(f"{name}-x{count}", f"{about}, {count} at once, time by number of calls", processes=count, called=name)
            for count in AT_ONCE]


def prepared(*steps):
    return lambda material: [step(material) for step in steps]


def repository(state):
    return lambda material: material.repository(state)


def removed(name):
    return lambda material: material.remove(name)


def files_in(name):
    """How many files are below a directory of the job directory, and their bytes."""

    def proof(place, stdout):
        files = [path for path in (place.job / name).rglob("*") if path.is_file() and path.suffix != ".pyc"]
        return len(files), sum(path.stat().st_size for path in files)

    return proof


def exists(name):
    return lambda place, stdout: (place.job / name).exists()


def indexed(place, stdout):
    """Number of entries in git's index: bytes 8 to 11 of the file (gitformat-index(5))."""
    return int.from_bytes((place.job / "repository/.git/index").read_bytes()[8:12], "big")


def committed(place, stdout):
    return len(list((place.job / "repository/.git/refs/heads").iterdir()))


AT_ONCE = (1, 2, 4)
# The index says who the files belong to, which is not the same in each way.
_REFRESH = "git -C repository update-index -q --refresh || true"

CALLS = [
    call("stat", "/etc/passwd, which AppPot has in the upper layer: it put the user in"),
    call("stat-image", "/usr/include/stdio.h, which is the image's"),
    call("stat-missing", "a name that is not there"),
    call("stat-relative", "a file in the job directory, by relative name"),
    call("access", "/etc/passwd"),
    call("access-image", "/usr/include/stdio.h"),
    call("open-close", "/etc/passwd, to read"),
    call("open-close-image", "/usr/include/stdio.h, to read"),
    call("create-unlink", "make, close and remove a file in the job directory"),
    call("mkdir-rmdir", "a directory in the job directory"),
    call("rename", "a file in the job directory, there and back"),
    call("getpid", "the cheapest call", by_name=False),
    call("read", "a byte of /dev/zero", by_name=False),
    call("signal", "a process sends itself one that it handles", by_name=False),
    call("thread", "start one and wait for it", by_name=False),
    call("fork", "and wait", by_name=False),
    call("fork-exec", "and wait"),
    call("vfork-exec", "and wait"),
    *at_once("stat", "cache hits"),
    *at_once("fork-exec", "stops"),
]

COMMANDS = [
    Workload(START, "/bin/true", ("/bin/true",)),
    Workload("shell-loop", "200 times /bin/true from a shell",
             ("sh", "-c", "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done; echo $i")),
    Workload("python-start", f"Python importing {len(IMPORTS)} modules", ("python3", "-c", f"import {', '.join(IMPORTS)}")),
    Workload("numpy", "Python importing numpy",
             ("python3", "-c", "import sys; sys.path.insert(0, 'site'); import numpy; print(numpy.arange(5).sum())"),
             prepare=Material.numpy),
    Workload("find", "files of some size below /usr", ("find", "{root}/usr", "-type", "f", "-size", "+200k")),
    Workload("du", "of /usr", ("du", "{root}/usr"),
             proof=lambda place, stdout: sorted(line.partition("\t")[2] for line in stdout.splitlines())),
    Workload("grep", "-r in /usr/include and in Python's library",
             ("grep", "-rlF", "EINTR", "{root}/usr/include", "{root}/usr/lib/python3.11")),
    Workload("tar-c", "/usr/include and /usr/share", ("sh", "-c", "tar -C {root}/ -cf - usr/include usr/share | wc -c")),
    Workload("tar-x-job", f"{FILES} files into the job directory", ("tar", "-xf", "files.tar"),
             prepare=prepared(Material.archive, removed("files")), proof=files_in("files")),
    Workload("tar-x-tmp", f"{FILES} files into the guest's /tmp",
             part("tar -xf files.tar -C {tmp}", after="find {tmp}/files -type f | wc -l"), Figure.PART,
             prepare=prepared(Material.archive, removed("files"))),
    Workload("rm-job", f"rm -rf of {FILES} files in the job directory", ("rm", "-rf", "files"), prepare=Material.unpacked_files,
             proof=exists("files")),
    Workload("rm-tmp", f"rm -rf of {FILES} files in the guest's /tmp",
             part("rm -rf {tmp}/files", before="tar -xf files.tar -C {tmp}", after="test ! -e {tmp}/files"), Figure.PART,
             prepare=prepared(Material.archive, removed("files"))),
    Workload("cp-a", f"cp -a of {FILES} files in the job directory", ("cp", "-a", "files", "copy"),
             prepare=prepared(Material.unpacked_files, removed("copy")), proof=files_in("copy")),
    Workload("gcc", "-O2 -c of one program", ("gcc", "-O2", "-c", "-o", "micro.o", "micro.c"), prepare=Material.micro,
             proof=exists("micro.o")),
    Workload("make", "-j2 of GNU hello, configured", ("make", "-s", "-j2", "-C", "package"), prepare=Material.package,
             proof=lambda place, stdout: (place.job / "package/hello").stat().st_size),
    Workload("git-add", "of 3000 files", ("git", "-C", "repository", "add", "."), prepare=repository("new"), proof=indexed),
    Workload("git-commit", "of 3000 files", part("git -C repository commit -qm all", before=_REFRESH), Figure.PART,
             prepare=repository("added"), proof=committed),
    Workload("git-status", "of 3000 files, 30 of them changed",
             part("git -C repository status --porcelain", before=_REFRESH), Figure.PART,
             prepare=repository("committed")),
    Workload("pip", "install of setuptools from a wheel, offline",
             ("python3", "-m", "pip", "install", "--quiet", "--no-index", "--no-cache-dir", "--disable-pip-version-check",
              "--find-links", "{root}/usr/share/python-wheels", "--target", "installed", "setuptools"),
             prepare=removed("installed"), proof=files_in("installed")),
    Workload("apt", "apt-get install of one package, offline",
             part("apt-get -qq -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 install -y {root}/usr/src/packages/hello_*.deb",
                  before="export DEBIAN_FRONTEND=noninteractive", after="hello --greeting=installed; dpkg -P hello"),
             Figure.PART, proof=lambda place, stdout: "installed" in stdout.splitlines(), as_root=True),
    Workload("sqlite", "1000 transactions of one row", ("python3", "-c", SQLITE)),
    Workload("cpu", "a loop in perl", ("perl", "-e", "my $x = 0; $x += $_ % 7 for 1 .. 5_000_000; print $x"), by_name=False),
    Workload("io", "1 GiB written and read", ("sh", "-c", "dd if=/dev/zero of=big bs=64k count=16384 status=none; "
                                              "dd if=big bs=64k status=none | wc -c; rm big"), by_name=False),
    Workload("memory", "most memory of the supervisor while find runs", ("sh", "-c", "find /usr >/dev/null; echo done; read x"),
             Figure.MEMORY, by_name=False),
]

ALL = {workload.name: workload for workload in [*CALLS, *COMMANDS]}
