"""The site itself: jobs without AppPot go through it, so that a failure elsewhere is not the site's."""

import os


def test_a_bare_job(arc, job):
    (job / "run.sh").write_text('#!/bin/sh\nid -u; pwd; cat data.txt; echo to-stderr >&2; echo result >result.txt; exit 3\n')
    (job / "data.txt").write_text("input\n")
    done = arc.run('&(executable="run.sh")(inputFiles=("data.txt" ""))(outputFiles=("result.txt" ""))'
                   '(stdout="out")(stderr="err")(gmlog="gmlog")', job)
    assert (done.state, done.exit_status) == ("Failed", 3)
    where = done.session if arc.lrms == "slurm" else done.session.parents[1] / "node" / done.session.name
    fetched = done.fetch()
    assert (fetched / "out").read_text() == f"{os.getuid()}\n{where}\ninput\n"
    assert (fetched / "err").read_text() == "to-stderr\n"
    assert (fetched / "result.txt").read_text() == "result\n"


def test_a_bare_sbatch_job(cluster, job):
    script = job / "job.sh"
    script.write_text("#!/bin/sh\nid -u; exit 4\n")
    assert cluster.run(script, cwd=job) == 4
    assert (job / "out").read_text() == f"{os.getuid()}\n"
