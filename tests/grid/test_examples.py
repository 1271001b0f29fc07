"""The jobs in examples/ on a real site: what their READMEs say to type is typed, and gives what they promise."""

import os
import shutil
import subprocess

import pytest

from .building import EXAMPLES, commands_of
from .submitting import User


class Reader:
    """Types what a README says, in a copy of the example. `directory`: that copy; images are linked there when they are built."""

    def __init__(self, name, user, images):
        self.name, self.user, self.images, self.directory = name, user, images, user.directory

    def type(self, *without):
        """Run all commands but those that begin with the words in `without`; what the last one printed."""
        said = None
        for words in commands_of(self.name):
            if not any(words[:len(some)] == some for some in without):
                said = self.run(words)
        return said

    def run(self, words):
        if words[:3] == ["apppot", "image", "build"]:
            os.link(self.images(self.directory / words[3]), self.directory / words[5])
            return ""
        if words[:2] == ["apppot", "status"]:
            words = ["apppot", "status", "--watch=1"]
        if words[0] == "apppot":
            return self.user(*words[1:], timeout=600).stdout
        done = subprocess.run(words, cwd=self.directory, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout


def copy_of(name, job):
    """The example in a directory of the same name, beside the one it refers to."""
    shutil.copytree(EXAMPLES / name, job / name)
    shutil.copytree(EXAMPLES / "validate", job / "validate", dirs_exist_ok=True)
    return job / name


@pytest.fixture
def reader(cluster, apppot_of_the_site, built, job):
    """reader("chemistry") → Reader whose jobs go to Slurm."""
    return lambda name: Reader(name, User(apppot_of_the_site, cluster.variables, copy_of(name, job)), built)


def energies(text):
    return {name: float(value) for name, value in (line.split() for line in text.splitlines())}


def test_chemistry(reader, cluster):
    chemistry = reader("chemistry")
    told = energies(chemistry.type())
    expected = energies((EXAMPLES / "chemistry" / "expected.txt").read_text())
    assert told == pytest.approx(expected, abs=1e-3)
    assert told["water"] == pytest.approx(-57.8, abs=0.1)
    for path in chemistry.directory.glob("*.out"):
        path.unlink()
    (chemistry.directory / "energies.txt").unlink()
    path = f"{chemistry.user.program.parent}:{chemistry.user.variables['PATH']}"
    assert cluster.run("job.sh", cwd=chemistry.directory, environment=chemistry.user.variables | {"PATH": path}) == 0
    assert energies((chemistry.directory / "energies.txt").read_text()) == pytest.approx(expected, abs=1e-3)


def test_chemistry_at_an_arc_site(contained, built, job):
    """The xRSL as a user has it, at a site with the runtime environment."""
    directory = copy_of("chemistry", job)
    os.link(built(directory / "recipe.yaml"), directory / "mopac.squashfs")
    done = contained.run((directory / "job.xrsl").read_text(), directory)
    assert done.state == "Finished", done.log()
    expected = energies((EXAMPLES / "chemistry" / "expected.txt").read_text())
    assert energies((done.fetch() / "energies.txt").read_text()) == pytest.approx(expected, abs=1e-3)


def test_validate(reader):
    validate = reader("validate")
    lines = validate.type().splitlines()
    assert len(lines) == 3 and all(line.endswith(": passed") for line in lines)
    source = validate.directory / "model" / "heat.c"
    right = source.read_text()
    source.write_text(right.replace("- 2 * old[i]", "- 1.99 * old[i]"))
    id = validate.user.submit("--to", "slurm", "-f", "job.yaml")
    assert set(validate.user.wait(id)) == {"failed"}
    validate.user("fetch", id, "-o", "wrong", status=1)
    assert (validate.directory / "wrong" / "0" / "report.txt").read_text().endswith("FAILED\n")
    source.write_text(right.replace("int cells;", "int cells"))
    id = validate.user.submit("--to", "slurm", "-f", "job.yaml")
    validate.user.wait(id)
    assert "heat.c" in validate.user("fetch", id, "-o", "broken", status=1).stderr


def test_develop(reader):
    develop = reader("develop")
    assert develop.type().splitlines()[0] == "t 6"
    assert (develop.directory / "tool.changes.tar.gz").stat().st_size < 1 << 17


def test_mpi(reader):
    mpi = reader("mpi")
    mpi.type()
    for name in ("one-machine", "two-machines"):
        assert (mpi.directory / name / "stdout").read_text() == "pi is 3.1415926536, by 2 ranks\n"
    typed = (mpi.directory / "README.md").read_text().split("```\n")[1]
    path = f"{mpi.user.program.parent}:{mpi.user.variables['PATH']}"
    done = subprocess.run(["sh", "-c", typed], cwd=mpi.directory, env=mpi.user.variables | {"PATH": path}, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=300)
    assert done.stdout == "pi is 3.1415926536, by 2 ranks\n", done.stderr
    mpi.user("start", "--image", "mpi.squashfs", "mpicc.openmpi", "-O2", "-o", "pi", "pi.c")
    done = mpi.user("start", "--image", "mpi.squashfs", "mpirun.openmpi", "-n", "2", "./pi")
    assert done.stdout == "pi is 3.1415926536, by 2 ranks\n"
