"""Sites where nothing is installed: the job brings AppPot as one file, and its image."""

import os
import subprocess

import pytest

from .test_rte import new_mark, no_process, processes, script, words, xrsl


@pytest.fixture
def brought(job, images, apppot_of_the_site):
    """The job directory with apppot.pyz and img.squashfs."""
    subprocess.run([apppot_of_the_site, "bundle", "-o", job / "apppot.pyz"], check=True)
    os.link(images / "tools.squashfs", job / "img.squashfs")
    return job


def test_an_arc_job(arc, brought, tmp_path):
    (brought / "stdin").write_text("from stdin\n")
    arguments = words(["start", "--image", "img.squashfs", "/opt/only in the image/show", "two words"])
    done = arc.run(f'&(executable="apppot.pyz")(arguments={arguments})(inputFiles=("img.squashfs" "")("stdin" ""))'
                   '(stdin="stdin")(stdout="out")(stderr="err")(gmlog="gmlog")'
                   f'(environment=("TMPDIR" {words([tmp_path])}))', brought)
    assert done.state == "Finished", done.log()
    fetched = done.fetch()
    assert (fetched / "err").read_text() == "to-stderr\n"
    assert (fetched / "out").read_text() == "two words\0from stdin\ntools\n"


def test_the_sites_apppot_is_a_bundle(contained, brought):
    contained.set(APPPOT=brought / "apppot.pyz")
    done = contained.run(xrsl("/opt/only in the image/show", "a", inputs=["img.squashfs"], image=["img.squashfs"]), brought)
    assert done.state == "Finished", done.log()
    assert (done.fetch() / "out").read_text() == "a\0tools\n"


def test_an_sbatch_job_with_changes(cluster, brought, tmp_path):
    script(brought / "apppot-run", "cat /etc/image; echo result >result; exit 5\n")
    bundle, image = brought / "apppot.pyz", brought / "img.squashfs"
    subprocess.run([bundle, "start", "-q", "--image", image, "--cow", tmp_path / "cow", "--root", "sh", "-c",
                    "echo mine >/etc/image"], check=True, stdin=subprocess.DEVNULL, cwd=tmp_path)
    subprocess.run([bundle, "snap", "--cow", tmp_path / "cow", "changes", brought / "apppot-changes.tar.gz"], check=True)
    script(brought / "job.sh", "exec ./apppot.pyz start -q --image img.squashfs\n")
    assert cluster.run(brought / "job.sh", cwd=brought, environment={"TMPDIR": str(tmp_path)}) == 5
    assert (brought / "out").read_text() == "mine\n"
    assert (brought / "result").read_text() == "result\n"


def test_a_cancelled_sbatch_job_leaves_no_process(cluster, brought, tmp_path):
    mark = new_mark()
    script(brought / "apppot-run", f"trap '' TERM; setsid sleep {mark} & (sleep {mark} &) ; sleep {mark}\n")
    script(brought / "job.sh", f"TMPDIR={tmp_path} ./apppot.pyz start --end-with $$ --image img.squashfs; echo after\n")
    number = cluster.submit(brought / "job.sh", cwd=brought)
    cluster.wait_until(lambda: len(processes(mark)) == 3)
    cluster("scancel", number)
    assert no_process(mark)
