"""Two hundred tasks of an array share one image and one cache."""

import os

from .test_rte import script

TASKS = 200


def test_two_hundred_tasks(cluster, job, images, apppot_of_the_site, tmp_path):
    cache, scratch = tmp_path / "cache", tmp_path / "scratch"
    scratch.mkdir()
    image = images / "tools.squashfs"
    before = image.read_bytes()
    (job / "results").mkdir()
    script(job / "apppot-run", 'echo "$SLURM_ARRAY_TASK_ID of $(cat /etc/image)" >results/$SLURM_ARRAY_TASK_ID\n'
                               'echo mine >/etc/image; cat "/opt/only in the image/show" >/dev/null\n')
    script(job / "job.sh", f"export APPPOT_CACHE={cache} TMPDIR={scratch}\n"
                           f"{apppot_of_the_site} start -q --root --image {image}\n")
    status = cluster.run(job / "job.sh", f"--array=0-{TASKS - 1}", cwd=job, timeout=600)
    assert status == 0, (job / "out").read_text()
    assert sorted(os.listdir(job / "results"), key=int) == [str(number) for number in range(TASKS)]
    for number in range(TASKS):
        assert (job / "results" / str(number)).read_text() == f"{number} of tools\n"
    assert len(os.listdir(cache / "trees")) == 1
    assert os.listdir(scratch) == []
    assert image.read_bytes() == before
