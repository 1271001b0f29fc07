"""Make the Debian 12 root tree the guest tests run in, and keep it in a cache.

    python3 -m tests.guest.make_tree [--tar-only]

As root this makes a tar that every user of the computer can unpack; an ordinary user's test run finds it, or makes
its own if mmdebstrap can work without root. The last line printed is the path of the tree (or of the tar).
"""

import argparse
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = "bookworm"
RECIPE = 4  # to be raised when this file makes something else from the same packages
PACKAGES = """
    bsdextrautils bsdutils busybox-static ca-certificates dpkg-dev file gcc git libc6-dev libopenmpi-dev
    libpython3.11-testsuite make musl-tools netbase openmpi-bin perl procps psmisc python3 python3-pip python3-venv
    sqlite3 tmux tzdata xz-utils
""".split()
SOURCE_PACKAGE = "hello"
PROGRAMS = Path(__file__).parent / "programs"
SHARED_BY_ROOT = Path("/var/tmp/apppot-tests-0")
LEFT_OUT = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"]
# Settings of the computer's own apt that are needed to reach its archive, and so are copied into the tree.
APT_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Check", "Acquire::Languages", "Acquire::Retries",
                "Acquire::ForceIPv", "Acquire::GzipIndexes")


def key() -> str:
    """Name of the tree in the cache: changes with everything that goes into it."""
    recipe = [SUITE, str(RECIPE), SOURCE_PACKAGE, *sorted(PACKAGES), (PROGRAMS / "hello.go").read_text()]
    return hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]


def cache_dir() -> Path:
    """Where this user keeps trees."""
    if given := os.environ.get("APPPOT_TEST_CACHE"):
        return Path(given)
    if os.getuid() == 0:
        return SHARED_BY_ROOT  # not below /root: the tar is for everybody
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "apppot-tests"
    return Path(f"/var/tmp/apppot-tests-{os.getuid()}")


def private(directory: Path) -> Path:
    """The directory, made if need be; refused if somebody else could have put something into it."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    if directory.stat().st_uid not in (os.getuid(), 0):
        raise SystemExit(f"{directory} belongs to somebody else: set APPPOT_TEST_CACHE to a directory of your own")
    return directory


def tar_path() -> Path:
    """The tar of the tree: root's if there is one, else this user's (which may not exist yet)."""
    shared = SHARED_BY_ROOT / f"{key()}.tar"
    if not os.environ.get("APPPOT_TEST_CACHE") and shared.exists() and shared.stat().st_uid == 0:
        return shared
    return cache_dir() / f"{key()}.tar"


def sources() -> str:
    """The computer's own apt sources of the suite, with sources of packages."""
    wanted = {SUITE, f"{SUITE}-updates", f"{SUITE}-security"}
    found = []  # (uri, suites)
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for paragraph in path.read_text().split("\n\n"):
            fields = dict(line.split(":", 1) for line in paragraph.splitlines() if ":" in line and line[0] not in "# ")
            suites = [suite for suite in fields.get("Suites", "").split() if suite in wanted]
            if suites and fields.get("Enabled", "yes").strip() != "no":
                found += [(uri, suites) for uri in fields["URIs"].split()]
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else []:
            words = [word for word in line.split("#")[0].split() if not word.startswith("[") and not word.endswith("]")]
            if words[:1] == ["deb"] and len(words) > 3 and words[2] in wanted and "main" in words[3:]:
                found.append((words[1], [words[2]]))
    if SUITE not in {suite for _, suites in found for suite in suites}:
        sys.exit(f"apt on this computer knows no archive of Debian {SUITE}: add one to /etc/apt/sources.list.d")
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return "\n".join(f"Types: deb deb-src\nURIs: {uri}\nSuites: {' '.join(suites)}\nComponents: main\n"
                     f"Signed-By: {keyring}\n" for uri, suites in found)


def apt_settings() -> list[str]:
    """The lines of `apt-config dump` that say how this computer reaches its archive."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
    return [line for line in dump.splitlines() if line.startswith(APT_SETTINGS) and not line.endswith('"";')]


def hooks() -> list[str]:
    """What is done in the tree after the packages are there; "$1" is the tree.

    apt and dpkg are always the tree's own, in a chroot: nothing here may touch the computer's packages.
    """
    inside = 'chroot "$1" env HOME=/root DEBIAN_FRONTEND=noninteractive'
    apt = f"{inside} apt-get -y --no-install-recommends -o APT::Sandbox::User=root"
    packages = f"{inside} dpkg-query -W -f '${{Package}}\\n'"
    lines = [
        'mkdir -p "$1/opt/programs" "$1/usr/src/packages" "$1/home"',
        'if [ -f /etc/ssl/certs/ca-certificates.crt ]; then'
        ' cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"; fi',
        f'{inside} sh -c "cd /usr/src/packages && apt-get source --download-only {SOURCE_PACKAGE}'
        f' && apt-get download {SOURCE_PACKAGE}"',
        # Debian's Go is 480 MB, so it is only there while the one program is built: static, and for the dynamic loader.
        f'cp {shlex.quote(str(PROGRAMS / "hello.go"))} "$1/opt/programs/"',
        f'{packages} | sort >"$1/opt/before"',
        f"{apt} install golang-go",
        *(f"{inside} CGO_ENABLED=0 GO111MODULE=off go build -buildmode={mode} -o /opt/programs/{name} /opt/programs/hello.go"
          for mode, name in (("exe", "hello-go"), ("pie", "hello-go-pie"))),
        f'{packages} | sort >"$1/opt/after"',
        f'{apt} purge $(comm -13 "$1/opt/before" "$1/opt/after")',
        'rm -rf "$1/opt/before" "$1/opt/after" "$1/root/.cache"',
        'rm -f "$1/etc/resolv.conf" "$1/etc/hostname"; touch "$1/etc/resolv.conf"; echo image >"$1/etc/hostname"',
    ]
    return [f"--customize-hook={line}" for line in lines]


def make_tar(target: Path) -> None:
    """Make the tar with mmdebstrap: as root, or in a user namespace. Its other modes fake what Go, a static program, does not see."""
    if not shutil.which("mmdebstrap"):
        raise SystemExit("no root tree to test in: apt-get install mmdebstrap")
    mode = "root" if os.getuid() == 0 else "unshare"
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        listing = Path(scratch) / "debian.sources"
        listing.write_text(sources())
        made = Path(scratch) / "tree.tar"
        command = ["mmdebstrap", f"--mode={mode}", "--variant=minbase", f"--include={','.join(PACKAGES)}",
                   *(f"--aptopt={line}" for line in apt_settings()),
                   *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
                   "--dpkgopt=path-include=/usr/share/doc/*/copyright", "--aptopt=APT::Install-Recommends false",
                   *hooks(), SUITE, str(made), str(listing)]
        done = subprocess.run(command, stdout=sys.stderr)
        if done.returncode:
            raise SystemExit(f"mmdebstrap --mode={mode} could not make the root tree (status {done.returncode}): run"
                             " `python3 -m tests.guest.make_tree --tar-only` as root")
        made.chmod(0o644)
        made.rename(target)


def unpack(tar: Path, target: Path) -> None:
    """Unpack as the current user, who then owns every file; modes are kept, set-user-id bits too."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir(mode=0o755)
        subprocess.run(["tar", "-x", "-p", "--no-same-owner", "-f", str(tar), "-C", str(tree), "--exclude=./dev/*",
                        "--exclude=./proc/*", "--exclude=./sys/*"], check=True)
        tree.chmod(0o755)
        tree.rename(target)


def tar(directory: Path) -> Path:
    """The tar, made if it isn't there; two test runs at once make it once."""
    path = tar_path()
    if not path.exists():
        with open(directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                make_tar(path)
    return path


def tree() -> Path:
    """The unpacked tree of this user."""
    directory = private(cache_dir())
    target = directory / f"{key()}-{os.getuid()}"
    if not target.exists():
        path = tar(directory)
        with open(directory / f"lock-{os.getuid()}", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                unpack(path, target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the Debian root tree of the guest tests.")
    parser.add_argument("--tar-only", action="store_true", help="make the tar, don't unpack it")
    given = parser.parse_args()
    print(tar(private(cache_dir())) if given.tar_only else tree())


if __name__ == "__main__":
    main()
