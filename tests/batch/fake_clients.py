"""Stands in for the commands of Slurm and ARC, under whose names it is called: jobs are files in $FAKE_SITE.

Files there steer it: `down` (every command fails as when the site is), `refuse` (submissions fail), `kill` (the caller is killed
when the site has the job), `kill-before` (when it has it not yet), `new` (ARC knows little of its jobs yet), `run` (sbatch runs
the script at once, as a job of one task), `no-scontrol` (scontrol alone fails). What is in the queue no more, but in the accounts, is
in files *.cancelled.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

SITE = Path(os.environ["FAKE_SITE"])


def is_set(name):
    return (SITE / name).exists()


def jobs():
    return [json.loads(path.read_text()) for path in sorted(SITE.glob("*.job"))]


def store(**job):
    number = len(jobs()) + 1
    (SITE / f"{number:03}.job").write_text(json.dumps({"number": str(number)} | job))
    return number


def fail(message):
    sys.stderr.write(message + "\n")
    sys.exit(1)


def submission():
    if is_set("refuse"):
        fail("error: that is refused")
    if is_set("kill-before"):
        os.kill(os.getppid(), signal.SIGKILL)
        sys.exit(1)


def kill_caller():
    if is_set("kill"):
        os.kill(os.getppid(), signal.SIGKILL)


def sbatch(words):
    submission()
    path = Path(words[-1])
    text = path.read_text(errors="surrogateescape")
    array = re.search(r"^#SBATCH --array=(\S+)", text, re.MULTILINE)
    tasks = [part.split("-") for part in array[1].split(",")] if array else [["0"]]
    number = store(name=re.search(r"^#SBATCH --job-name=(\S+)", text, re.MULTILINE)[1], words=words,
                   tasks=[task for part in tasks for task in range(int(part[0]), int(part[-1]) + 1)], array=bool(array))
    kill_caller()
    if is_set("run"):
        subprocess.run(["sh", path], cwd=path.parent, env=os.environ | {"SLURM_JOB_ID": str(number)})
        (SITE / f"{number:03}.job").unlink()
    print(number)


def squeue(words):
    name = next(word.removeprefix("--name=") for word in words if word.startswith("--name="))
    for job in jobs():
        if job["name"] == name:
            for task in job["tasks"]:
                index = str(task) if job["array"] else "N/A"
                print(words[-1].replace("%F", job["number"]).replace("%K", index).replace("%T", job.get("state", "PENDING")))


def scancel(words):
    for path in SITE.glob("*.job"):
        if json.loads(path.read_text())["number"] in [word.split("_")[0] for word in words]:
            path.unlink()


def scontrol(words):
    if is_set("no-scontrol"):
        fail("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    if words[-1] != "job":
        fail("slurm_load_jobs error: Invalid job id specified")


def sacct(words):
    """Of an array, JobID is the array's number and the task's, JobIDRaw a number that each task has of its own."""
    ended = [json.loads(path.read_text()) for path in SITE.glob("*.cancelled")]
    if not ended:
        fail("Slurm accounting storage is disabled")
    for job in ended:
        for task in job["tasks"]:
            id = f"{job['number']}_{task}" if job["array"] else job["number"]
            if job["name"] in words or id in words:
                print({"JobID": id, "JobIDRaw": int(job["number"]) + 1 + task, "State": "CANCELLED by 0"}[words[-1]])


def arcsub(words):
    submission()
    text = Path(words[-1]).read_text()
    number = store(stdout=re.search(r'\(stdout="([^"]*)"\)', text)[1], text=text)
    kill_caller()
    print(f"Job submitted with jobid: https://fake/{number}")


def arcsync(words):
    pass


def arcstat(words):
    if "-p" in words:
        print(*(f"https://fake/{job['number']}" for job in jobs()), sep="\n")
        return
    shown = [{"id": f"https://fake/{job['number']}", "state": "Queuing", "stdout": job["stdout"]} for job in jobs()]
    if is_set("new"):
        shown = [{"id": job["id"], "state": "Accepted"} for job in shown]
    print('"jobs": ' + json.dumps([job for job in shown if "-a" in words or job["id"] in words]))


def arcget(words):
    pass


arckill = arcclean = arcget

if __name__ == "__main__":
    if is_set("down"):
        fail("error: Unable to contact slurm controller (connect failure)")
    globals()[os.path.basename(sys.argv[0])](sys.argv[1:])
