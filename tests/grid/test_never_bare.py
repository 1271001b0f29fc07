"""Each thing a machine needs is taken away in turn: the job fails, its log says why, and its program never runs."""

import os

import pytest

from .conftest import SOURCE
from .test_rte import script, xrsl

NO_PTRACE = """#!{python}
import ctypes, os, sys
sys.path.insert(0, {source!r})
from apppot.platform import probes
probes._install_filter(101, 0x00050000 | 1)         # ptrace(2): EPERM
os.execv({apppot!r}, [{apppot!r}, *sys.argv[1:]])
"""


def without_apppot(contained, job):
    contained.set(APPPOT="/nowhere/apppot")
    return ["tools"]


def with_an_apppot_that_fails(contained, job):
    script(job / "apppot", "echo no Python here >&2; exit 125\n")
    contained.set(APPPOT=job / "apppot")
    return ["tools"]


def without_ptrace(contained, job):
    script(job / "apppot", "")
    (job / "apppot").write_text(NO_PTRACE.format(python="/usr/bin/python3", source=str(SOURCE),
                                                 apppot=contained.parameters["APPPOT"]))
    contained.set(APPPOT=job / "apppot")
    return ["tools"]


def with_a_damaged_image(contained, job):
    (job / "damaged").write_bytes((contained.images / "tools.squashfs").read_bytes()[:5000])
    return ["damaged"]


def with_parameters(image, **parameters):
    def change(contained, job):
        contained.set(**parameters)
        return [image]
    return change


def with_a_full_scratch(contained, job):
    contained.set(APPPOT_SCRATCH=contained.small_scratch)
    with open(contained.small_scratch / "filler", "wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(1 << 16))
            except OSError:
                break
    return ["tools.squashfs"]


# What is taken away: (function that does it and gives image and options of the job, parts of the line in the log).
BROKEN = {
    "no AppPot": (without_apppot, ["/nowhere/apppot does not work on", "parameter APPPOT"]),
    "AppPot that fails": (with_an_apppot_that_fails, ["does not work on", "no Python here"]),
    "no ptrace": (without_ptrace, ["status 125", "no machine could be started"]),
    "no such image": (with_parameters("toolz"), ["image toolz:", "is not on"]),
    "damaged image": (with_a_damaged_image, ["status 125"]),
    "image that is not allowed": (with_parameters("tools", APPPOT_ALLOWED_IMAGES="debian*"),
                                  ["image tools:", "not allowed", "debian*"]),
    "images of jobs are not wanted": (with_parameters("damaged", APPPOT_JOB_IMAGES="no"),
                                      ["image damaged: this site takes no images from jobs"]),
    "no cache": (with_parameters("tools", APPPOT_CACHE="/proc/nowhere"), ["cache /proc/nowhere/", "APPPOT_CACHE"]),
    "no scratch": (with_parameters("tools", APPPOT_SCRATCH="/nowhere"), ["scratch /nowhere", "APPPOT_SCRATCH"]),
    "full scratch": (with_a_full_scratch, ["status 125"]),
    "an option that is the site's": (lambda contained, job: ["tools", "--bind", "/etc"],
                                     ["option --bind /etc: not for jobs to choose"]),
}


@pytest.fixture(scope="module")
def attempts(contained_client, tmp_path_factory):
    """{what: (ArcJob, the file that it would make on the bare host)}: all jobs are at the site side by side. What is broken counts
    until the batch system has the job, and is then as before for the next one."""
    top = tmp_path_factory.mktemp("attempts")
    contained = contained_client(top / "arc")
    found = {}
    try:
        for number, (what, (break_it, _)) in enumerate(BROKEN.items()):
            job = top / str(number)
            job.mkdir()
            (job / "damaged").touch()
            image = break_it(contained, job)
            mark = job / "ran"
            script(job / "run.sh", f"echo RAN; touch {mark}; exit 0\n")
            found[what] = contained.submit(xrsl("run.sh", image=image, inputs=["damaged"]), job), mark
            found[what][0].wait_until_handed_over()
            contained.take_back()
        yield found
    finally:
        contained.take_back()
        (contained.small_scratch / "filler").unlink(missing_ok=True)


@pytest.mark.parametrize("what", BROKEN)
def test_never_on_the_bare_host(attempts, what):
    done, mark = attempts[what]
    assert done.wait() == "Failed"
    log = done.log()
    line = next(line for line in log.splitlines() if line.startswith("ENV/APPPOT-1.0: "))
    for part in BROKEN[what][1]:
        assert part in line
    assert not os.path.exists(mark)
    assert "RAN" not in log
    out = done.session / "out"          # there is none where the job never came to a node
    assert not out.exists() or "RAN" not in out.read_text()
