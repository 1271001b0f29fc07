"""What the workloads work on, made when the first of them needs it: programs, files, a repository, packages."""

import functools
import io
import platform
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile

from .ways import FAST, SOURCE

PROGRAMS = SOURCE / "benchmarks" / "programs"
FILES = 5000
REPOSITORY_FILES = 3000
IN_A_DIRECTORY = 50
SEED = 2012
GUEST_PYTHON = "3.11"       # of Debian 12, which the tree is


class Missing(Exception):
    """It can't be had here; the text says why."""


class Material:
    """Makes things in `directory`, with commands run by the ways in `place`; `cache` is kept between runs.

    Each method leaves what it names where workloads find it and does so once.
    """

    def __init__(self, directory, cache, ways, place):
        self.directory = directory
        self.cache = cache
        self.place = place
        self.native = ways[0]
        self.apppot = next(way for way in ways if way.name == FAST)

    def _run(self, way, *words):
        done = way.run(words, self.place, timeout=600)
        if done.returncode:
            raise Missing(f"{' '.join(words)[:80]}: {done.stderr.strip()[-200:] or done.returncode}")

    @functools.cache
    def micro(self):
        """`micro` and `job-file` in the job directory; compiled in the tree, for the tree's C library."""
        shutil.copy(PROGRAMS / "micro.c", self.place.job)
        self._run(self.apppot, "gcc", "-O2", "-pthread", "-o", "micro", "micro.c")
        (self.place.job / "job-file").touch()

    @functools.cache
    def archive(self):
        """`files.tar` in the job directory: 5,000 small files below `files`."""
        dice = random.Random(SEED)
        with tarfile.open(self.place.job / "files.tar", "w") as tar:
            for name in ("files", *(f"files/{number:03}" for number in range(FILES // IN_A_DIRECTORY))):
                member = tarfile.TarInfo(name)
                member.type, member.mtime, member.mode = tarfile.DIRTYPE, 1_000_000_000, 0o755
                tar.addfile(member)
            for number in range(FILES):
                member = tarfile.TarInfo(f"files/{number // IN_A_DIRECTORY:03}/{number:05}")
                member.size, member.mtime, member.mode = dice.randrange(100, 4000), 1_000_000_000, 0o644
                tar.addfile(member, io.BytesIO(dice.randbytes(member.size)))

    def unpacked_files(self):
        """`files` in the job directory, as in the archive."""
        self.archive()
        self.remove("files")
        subprocess.run(["tar", "-xf", "files.tar"], cwd=self.place.job, check=True)

    @functools.cache
    def _repositories(self):
        """{state: the `.git` of `repository` in the job directory}: new, all added, all committed; 30 files are changed since.

        The files stay and objects are packed, so that to bring back a state takes little time.
        """
        top = self.place.job / "repository"
        dice = random.Random(SEED)
        for number in range(REPOSITORY_FILES):
            path = top / f"{number // IN_A_DIRECTORY:03}" / f"{number:05}.c"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(f"int v{dice.randrange(10 ** 6)};" for _ in range(dice.randrange(5, 60))))
        states = {"new": [["init", "-q", "--template="], ["config", "user.name", "b"],
                          ["config", "user.email", "b@example.org"], ["config", "gc.auto", "0"]],
                  "added": [["add", "."], ["repack", "-adq"], ["prune-packed", "-q"]],
                  "committed": [["commit", "-qm", "all"]]}
        for state, commands in states.items():
            for words in commands:
                self._run(self.native, "git", "-C", "repository", *words)
            subprocess.run(["cp", "-a", top / ".git", self.directory / state], check=True)
        for number in range(0, REPOSITORY_FILES, 100):
            with open(top / f"{number // IN_A_DIRECTORY:03}" / f"{number:05}.c", "a") as file:
                file.write("int more;\n")
        return {state: self.directory / state for state in states}

    def repository(self, state):
        """`repository` in the job directory, in that state."""
        self._put(self._repositories()[state], "repository/.git")

    @functools.cache
    def _configured_package(self):
        """The source package of the tests' tree, unpacked and configured where it will be built."""
        self.remove("package")
        self._run(self.native, "sh", "-ec", "dpkg-source --no-check -x {root}/usr/src/packages/hello_*.dsc package; "
                  "cd package; ./configure --quiet")
        target = self.directory / "package"
        subprocess.run(["cp", "-a", self.place.job / "package", target], check=True)
        return target

    def package(self):
        """`package` in the job directory: configured sources, nothing built."""
        self._put(self._configured_package(), "package")

    @functools.cache
    def numpy(self):
        """`numpy` can be imported from `site` in the job directory. Got from the package registry once, then kept."""
        wheels = self.cache / "wheels"
        if not list(wheels.glob("numpy-*.whl")):
            platforms = [f"--platform=manylinux_2_{minor}_{platform.machine()}" for minor in (17, 27, 28)]
            words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                     "--only-binary=:all:", f"--python-version={GUEST_PYTHON}", "--implementation=cp", *platforms,
                     "--dest", wheels, "numpy"]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise Missing("numpy can't be got: " + (done.stderr.strip().splitlines() or ["?"])[-1])
        with zipfile.ZipFile(next(wheels.glob("numpy-*.whl"))) as wheel:
            wheel.extractall(self.place.job / "site")
        self._run(self.native, "python3", "-m", "compileall", "-q", "site")

    def remove(self, name):
        """Nothing of that name is in the job directory and the scratch directory."""
        subprocess.run(["rm", "-rf", self.place.job / name, self.place.scratch / name], check=True)

    def _put(self, source, name):
        self.remove(name)
        subprocess.run(["cp", "-a", source, self.place.job / name], check=True)
