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


def broken(contained, job, what):
    """Break it: (image and options of the job, words of the line in the log)."""
    if what == "no AppPot":
        contained.set(APPPOT="/nowhere/apppot")
        return ["tools"], ["/nowhere/apppot does not work on", "parameter APPPOT"]
    if what == "AppPot that fails":
        script(job / "apppot", "echo no Python here >&2; exit 125\n")
        contained.set(APPPOT=job / "apppot")
        return ["tools"], ["does not work on", "no Python here"]
    if what == "no ptrace":
        script(job / "apppot", "")
        (job / "apppot").write_text(NO_PTRACE.format(python="/usr/bin/python3", source=str(SOURCE),
                                                     apppot=contained.parameters["APPPOT"]))
        contained.set(APPPOT=job / "apppot")
        return ["tools"], ["status 125", "no machine could be started"]
    if what == "no such image":
        return ["toolz"], ["image toolz:", "is not on"]
    if what == "damaged image":
        (job / "damaged").write_bytes((contained.images / "tools.squashfs").read_bytes()[:5000])
        return ["damaged"], ["status 125"]
    if what == "image that is not allowed":
        contained.set(APPPOT_ALLOWED_IMAGES="debian*")
        return ["tools"], ["image tools:", "not allowed", "debian*"]
    if what == "images of jobs are not wanted":
        contained.set(APPPOT_JOB_IMAGES="no")
        return ["damaged"], ["image damaged: this site takes no images from jobs"]
    if what == "no cache":
        contained.set(APPPOT_CACHE="/proc/nowhere")
        return ["tools"], ["cache /proc/nowhere/", "APPPOT_CACHE"]
    if what == "no scratch":
        contained.set(APPPOT_SCRATCH="/nowhere")
        return ["tools"], ["scratch /nowhere", "APPPOT_SCRATCH"]
    if what == "full scratch":
        contained.set(APPPOT_SCRATCH=contained.small_scratch)
        with open(contained.small_scratch / "filler", "wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(1 << 16))
                except OSError:
                    break
        return ["tools.squashfs"], ["status 125"]
    assert what == "an option that is the site's"
    return ["tools", "--bind", "/etc"], ["option --bind /etc: not for jobs to choose"]


@pytest.mark.parametrize("what", [
    "no AppPot", "AppPot that fails", "no ptrace", "no such image", "damaged image", "image that is not allowed",
    "images of jobs are not wanted", "no cache", "no scratch", "full scratch", "an option that is the site's"])
def test_never_on_the_bare_host(contained, job, what):
    image, parts = broken(contained, job, what)
    (job / "damaged").touch()
    mark = job / "ran"
    script(job / "run.sh", f"echo RAN; touch {mark}; exit 0\n")
    try:
        done = contained.run(xrsl("run.sh", image=image, inputs=["damaged"]), job)
    finally:
        (contained.small_scratch / "filler").unlink(missing_ok=True)
    assert done.state == "Failed"
    log = done.log()
    line = next(line for line in log.splitlines() if line.startswith("ENV/APPPOT-1.0: "))
    for part in parts:
        assert part in line
    assert not os.path.exists(mark)
    assert "RAN" not in log
    out = done.session / "out"          # there is none where the job never came to a node
    assert not out.exists() or "RAN" not in out.read_text()
