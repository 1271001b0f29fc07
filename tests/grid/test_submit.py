"""apppot submit, status, fetch, cancel and resubmit on a real ARC site and a real Slurm."""

import os
import shlex
import shutil

import pytest

from apppot.cli import submit as submit_command

from .submitting import User
from .test_rte import new_mark, no_process, processes, script

ODD = ["two words", "it's", 'say "x"', "$HOME", "$(id)", "`id`", "back\\slash", "a\nb\n", "", "*", "~", "-n", "é"]


@pytest.fixture
def slurm_user(cluster, apppot_of_the_site, job):
    """Where jobs go to Slurm. The nodes have no AppPot: the bundle runs them."""
    return User(apppot_of_the_site, cluster.variables, job)


@pytest.fixture
def arc_user(arc, apppot_of_the_site, job):
    user = User(apppot_of_the_site, arc.variables, job)
    user.to = ["--to", "arc", "--endpoint", arc.url]
    return user


@pytest.fixture
def arc_user_with_rte(contained, apppot_of_the_site, job):
    user = User(apppot_of_the_site, contained.variables, job)
    user.to = ["--to", "arc", "--endpoint", contained.url, "--apppot", "rte"]
    return user


def test_the_example_of_help(slurm_user, images, job):
    os.link(images / "tools.squashfs", job / "tools.squashfs")
    words = shlex.split(submit_command.main.examples[0])
    assert words[:2] == ["apppot", "submit"]
    id = slurm_user.submit(*words[2:])
    assert slurm_user.wait(id) == ["done"]
    assert slurm_user("fetch", id).stdout == f"{job / id}\n"
    assert (job / id / "result.txt").read_text() == "done\n"
    assert sorted(os.listdir(job / id)) == ["result.txt", "stderr", "stdout"]
    assert list((job / ".apppot-jobs").iterdir()) == []


def test_every_byte_of_arguments_and_names(slurm_user, images, job):
    name = "in 'q\" $x\nnl"
    (job / name).write_text("input\n")
    id = slurm_user.submit("--to", "slurm", "--image", images / "tools", "-i", name, "-o", "out 'q\" $x\nnl/",
                           "--env", "V=a\n'b' $c", "sh", "-c", 'mkdir "$1"; cp "$2" "$1/copy"; shift 2; printf "%s\\0" "$V" "$@"', "sh",
                           "out 'q\" $x\nnl", name, *ODD)
    assert slurm_user.wait(id) == ["done"]
    slurm_user("fetch", id)
    assert (job / id / "stdout").read_text() == "".join(word + "\0" for word in ["a\n'b' $c", *ODD])
    assert (job / id / "out 'q\" $x\nnl" / "copy").read_text() == "input\n"


def test_an_array_with_a_task_that_fails(slurm_user, images, job):
    """Partial results and last words of the one, results of the others; then the one again."""
    for number in range(3):
        (job / f"data{number}").write_text(f"{number}\n")
    (job / "scan.yaml").write_text(
        f"to: slurm\nimage: {images}/tools\neach: data*\noutputs: [result]\nmemory: 200M\n"
        "command: [sh, -c, 'cat $1 >result; echo about $1 >&2; [ $1 != data1 ] || exit 3', sh, '{input}']\n")
    id = slurm_user.submit("-f", "scan.yaml")
    assert slurm_user.wait(id) == ["done", "failed", "done"]
    done = slurm_user("fetch", id, status=1)
    assert "task 1: status 3" in done.stderr and "about data1" in done.stderr
    assert [(job / id / str(number) / "result").read_text() for number in range(3)] == ["0\n", "1\n", "2\n"]
    (job / "data1").rename(job / "other")
    (job / "data1").write_text("better\n")
    again = slurm_user("resubmit", "-q", id).stdout.strip()
    slurm_user.wait(again)
    assert [(task["number"], task["status"]) for task in slurm_user.tasks(again)] == [(1, 3)]
    slurm_user("fetch", again, status=1)
    assert (job / again / "1" / "result").read_text() == "better\n"


def test_a_job_that_is_cancelled(slurm_user, images, job):
    mark = new_mark()
    id = slurm_user.submit("--to", "slurm", "--image", images / "tools", "-o", "part", "sh", "-c", f"echo x >part; sleep {mark}")
    while not processes(mark):
        assert slurm_user.tasks(id)[0]["state"] in ("queued", "running")
    assert "have not ended" in slurm_user("fetch", id, status=1).stderr
    slurm_user("cancel", id)
    assert no_process(mark)
    assert [task["state"] for task in slurm_user.tasks(id)] == ["cancelled"]
    slurm_user("fetch", id, status=1)
    assert (job / id / "part").read_text() == "x\n"


def test_limits_of_a_job(slurm_user, images):
    """Time and memory are the machine's, which says so."""
    ids = [slurm_user.submit("--to", "slurm", "--image", images / "tools", *words) for words in (
        ["--time", "3", "sleep", "1000"], ["--mem", "64M", "awk", 'BEGIN { s = "x"; while (1) s = s s }'])]
    for id in ids:
        assert slurm_user.wait(id) == ["failed"]
        assert slurm_user("fetch", id, status=1).stderr.count("\n") > 1


def test_killed_by_others_and_found_by_name(slurm_user, cluster, images):
    """A record that was never completed; the site then loses the job to its administrator."""
    mark = new_mark()
    id = slurm_user.submit("--to", "slurm", "--image", images / "tools", "sleep", mark)
    number = slurm_user.tasks(id)[0]["remote"]
    slurm_user.forget_submission(id)
    told = slurm_user.tasks(id)[0]
    assert told["remote"] == number and told["state"] in ("queued", "running")
    cluster("scancel", number)
    assert slurm_user.wait(id) == ["cancelled"]
    slurm_user.forget_submission(id)
    assert slurm_user.tasks(id)[0]["remote"] == number
    assert no_process(mark)


def test_a_machine_for_each_rank_is_started_by_srun(slurm_user, images, job):
    id = slurm_user.submit("--to", "slurm", "--image", images / "tools", "-n", "2", "--mpi", "pmi2", "-o", "0", "-o", "1",
                           "sh", "-c", 'echo "$PMI_RANK of $PMI_SIZE" >$PMI_RANK; ls /proc/self/fd | grep -qx "$PMI_FD"')
    assert slurm_user.wait(id) == ["done"]
    slurm_user("fetch", id)
    assert [(job / id / rank).read_text() for rank in "01"] == ["0 of 2\n", "1 of 2\n"]


def test_an_arc_site_that_has_nothing(arc_user, images, job):
    """AppPot, image, changes of nothing: all is brought; arguments byte for byte."""
    name = "in 'q\" $x"
    (job / "dir" / "deep").mkdir(parents=True)
    (job / "dir" / "deep" / name).write_text("input\n")
    shutil.copy(images / "tools.squashfs", job / "my image's.squashfs")
    commands = 'mkdir outdir; cp "d/deep/$1" "outdir/the copy"; echo 1 >"a b"; shift; cat /etc/image; printf "%s\\0" "$@"'
    id = arc_user.submit(*arc_user.to, "--image", "my image's.squashfs", "-i", "dir=d", "-o", "outdir/", "-o", "a b",
                         "--mem", "300M", "--time", "5m", "sh", "-c", commands, "sh", name, *ODD)
    arc_user.forget_submission(id)
    assert arc_user.wait(id) == ["done"]
    arc_user("fetch", id)
    assert (job / id / "stdout").read_text() == "tools\n" + "".join(word + "\0" for word in ODD)
    assert (job / id / "outdir" / "the copy").read_text() == "input\n"
    assert sorted(os.listdir(job / id)) == ["a b", "outdir", "stderr", "stdout"]


def test_names_that_mean_something_in_a_url(arc_user, images, job):
    """Inputs and outputs of an ARC job are URLs to its client: a name must not be taken apart or decoded. Its arcget takes apart
    those with a question mark, so outputs have none."""
    names = ["a%20b", "a;b=c", "a?b", "a#b", "a:b", "a=b", "a,b", "[a]", "a*b", "a@b", "a&b", "a+b", "\\a", "file:x"]
    for name in names:
        (job / name).write_text(f"{name}\n")
    outputs = [f"out {name}".replace("?", " ") for name in names]
    words = [word for name, output in zip(names, outputs) for word in ("-i", job / name, "-o", output)]
    id = arc_user.submit(*arc_user.to, "--image", images / "tools.squashfs", *words,
                         "sh", "-c", 'while [ $# -gt 0 ]; do cp "$1" "$2" || exit; shift 2; done', "sh",
                         *(word for pair in zip(names, outputs) for word in pair))
    assert arc_user.wait(id) == ["done"]
    arc_user("fetch", id)
    assert [(job / id / output).read_text() for output in outputs] == [f"{name}\n" for name in names]


def test_an_arc_job_that_is_cancelled_leaves_no_process(arc_user, images):
    mark = new_mark()
    id = arc_user.submit(*arc_user.to, "--image", images / "tools.squashfs", "sleep", mark)
    while not processes(mark):
        assert arc_user.tasks(id)[0]["state"] in ("queued", "running")
    arc_user("cancel", id)
    assert no_process(mark, 90)         # A-REX cancels a job that it still submits when that is done
    assert arc_user.tasks(id)[0]["state"] == "cancelled"


def test_an_arc_site_that_is_not_there(arc_user):
    done = arc_user("submit", "--to", "arc", "--endpoint", "https://localhost:1/arex", "true", status=125)
    assert done.stderr.count("\n") == 1 and "connect" in done.stderr and "apppot status job-" in done.stderr


def test_an_array_with_the_runtime_environment(arc_user_with_rte, job):
    """The site's image; one task fails and its partial results come with its last words."""
    script(job / "run.sh", """cat /etc/image "$1" >result; echo "about $1" >&2; [ "$1" != 'b $x' ] || exit 3\n""")
    for name in ("a", "b $x"):
        (job / name).write_text(f"{name}\n")
    user = arc_user_with_rte
    id = user.submit(*user.to, "--image", "site:tools", "-i", "run.sh", "--each", "a", "--each", "b $x", "-o", "result", "./run.sh",
                     "{input}")
    assert user.wait(id) == ["done", "failed"]
    done = user("fetch", id, status=1)
    assert "task 1: status 3" in done.stderr and "about b $x" in done.stderr
    assert [(job / id / number / "result").read_text() for number in "01"] == ["tools\na\n", "tools\nb $x\n"]
    assert (job / id / "1" / "apppot-report.json").exists()
