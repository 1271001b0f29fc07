"""Slurm: one sbatch job, an array where there are several tasks, with a directory for each in a shared file system."""

import os
import re
import shutil

from apppot.batch import clients, job as jobs, record as records, report, sbatch
from apppot.batch.clients import SiteDown
from apppot.batch.site import Site, copy, remove, write_bundle, write_task
from apppot.errors import STATUS_USAGE, AppPotError

WORKSPACE = ".apppot-jobs"       # in the current directory, which nodes see as they do for every sbatch job
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
ENDS = {"COMPLETED": records.LOST, "CANCELLED": records.CANCELLED}      # others, as TIMEOUT or OUT_OF_MEMORY, are failures


class Slurm(Site):
    kind, programs = "slurm", ("sbatch", "squeue", "scancel")

    # -- submitting

    def describe(self, record):
        return {"job.sh": sbatch.write(record, self._image(record.job), self._changes(record.job))}

    def submit(self, record):
        self._prepare(record)
        record.calling = True
        record.save()
        done = self._run("sbatch", "--parsable", f"--chdir={record.workspace}", *self.place.options,
                         os.path.join(record.workspace, jobs.SCRIPT))
        number = done.stdout.strip().split(";")[0]
        if done.returncode or not number.isdecimal():
            raise AppPotError(f"sbatch: {clients.said(done)}")
        self._sent(record, number)
        record.save()

    def _prepare(self, record):
        """The job's directory, with one for each task. Copies: a guest may write to its inputs."""
        job = record.job
        script = self.describe(record)["job.sh"]
        record.workspace = os.path.join(os.path.abspath(self.place.workspace or WORKSPACE), record.id)
        record.save()           # who is killed from here on leaves a directory, and it is known which one
        os.makedirs(record.workspace, 0o700)
        for path, name in zip(job.changes, self._changes(job)):
            copy(path, os.path.join(record.workspace, os.path.basename(name)))
        for number in record.tasks:
            directory = self._directory(record, number)
            os.mkdir(directory, 0o700)
            for source, name in job.files_of(number):
                copy(source, os.path.join(directory, name))
            write_task(os.path.join(directory, jobs.TASK), record, number)
        write_bundle(os.path.join(record.workspace, jobs.BUNDLE))
        with open(os.path.join(record.workspace, jobs.SCRIPT), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(script)

    def _image(self, job):
        """A file of a shared file system is used where it is: it is brought by nobody."""
        if job.image is not None and jobs.is_url(job.image):
            raise AppPotError(f"image {job.image}: Slurm fetches no URLs; name a file that the nodes see", STATUS_USAGE)
        for source, _ in job.inputs + job.each:
            if jobs.is_url(source):
                raise AppPotError(f"input {source}: Slurm fetches no URLs; name a file", STATUS_USAGE)
        return self.image_there(job) or job.image

    @staticmethod
    def _changes(job):
        return [f"../changes.{number}" for number in range(len(job.changes))]

    @staticmethod
    def _sent(record, number):
        for task, entry in record.tasks.items():
            if entry.state == records.SUBMITTING:
                entry.remote = f"{number}_{task}" if len(record.tasks) > 1 else number
                entry.become(records.QUEUED)

    def search(self, record):
        number = self._queued_number(record) or self._started_number(record) or self._remembered_number(record)
        if number is not None:
            self._sent(record, number)
            return
        for entry in record.tasks.values():
            if entry.state == records.SUBMITTING:
                entry.become(records.UNSENT)

    def _queued_number(self, record):
        lines = self._squeue(record, "%F").split()
        return lines[0] if lines else None

    def _started_number(self, record):
        """What the script wrote down, if it ran."""
        for number in record.tasks if record.workspace else ():
            try:
                with open(os.path.join(self._directory(record, number), jobs.STARTED), encoding="ascii") as file:
                    found = file.read().strip()
            except (OSError, UnicodeDecodeError):
                continue
            if found.isdecimal():           # the guest may have written to it
                return found
        return None

    def _remembered_number(self, record):
        """Jobs that ended before they ran are known to the controller for some minutes, and to the accounting if there is one."""
        for line in self._controllers_jobs():
            if line.get("JobName") == record.id:
                return line.get("ArrayJobId") or line["JobId"]
        done = self._accounting("--name", record.id, "--starttime", "now-30days", "-o", "JobID")
        return done[0].split("_")[0] if done else None

    # -- looking

    def look(self, record):
        waiting = record.numbers(records.QUEUED, records.RUNNING)
        present = {}
        for line in self._squeue(record, "%K %T").splitlines():
            index, state = line.split()
            present[int(index) if index.isdecimal() else min(record.tasks)] = state
        for number in waiting:
            task = record.tasks[number]
            if number in present:
                task.become(records.QUEUED if present[number] in WAITING else records.RUNNING)
            else:
                self._ended(record, number, task)

    def _ended(self, record, number, task):
        try:
            found = report.read(self._directory(record, number))
        except AppPotError:
            task.become(records.FAILED, None, report.DAMAGED)
            return
        if found is not None:
            why = found.complaint()
            task.become(records.FAILED if why else records.DONE, found.status, why or "")
            return
        state = self._last_state(task.remote)
        task.become(ENDS.get(state, records.FAILED) if state else records.LOST, None,
                    f"Slurm says {state}" if state else "it ended, and left no report")

    def _last_state(self, remote):
        for line in self._controllers_jobs(remote):
            return line.get("JobState")
        for state in self._accounting("-j", remote, "-o", "State"):
            return state.split()[0]
        return None

    # -- results

    def bring(self, record, number, directory):
        source = self._directory(record, number)
        outputs = [jobs.STDOUT, jobs.STDERR, jobs.REPORT, *record.job.outputs]
        for name, kind in report.walk(source, outputs):
            target = os.path.join(directory, name)
            if kind in ("directory", "link", "file"):
                os.makedirs(target if kind == "directory" else os.path.dirname(target), exist_ok=True)
            if kind == "link" and not os.path.lexists(target):
                os.symlink(os.readlink(os.path.join(source, name)), target)
            elif kind == "file" and not os.path.lexists(target):
                copy(os.path.join(source, name), target)
        for entry in os.listdir(record.workspace):
            # One task has the log LOG.JOB, a task of an array LOG.TASK.
            if entry.startswith(jobs.LOG + ".") and (len(record.tasks) == 1 or entry == f"{jobs.LOG}.{number}"):
                copy(os.path.join(record.workspace, entry), os.path.join(directory, jobs.LOG))

    def cancel(self, record, numbers):
        if remotes := [record.tasks[number].remote for number in numbers]:
            done = self._run("scancel", *remotes)
            if done.returncode and "Invalid job id" not in done.stderr:
                raise SiteDown(f"scancel: {clients.said(done)}")
        for number in numbers:
            record.tasks[number].become(records.CANCELLED)

    def clean(self, record, numbers):
        for number in numbers:
            remove(self._directory(record, number))
        if all(task.fetched or task.state == records.UNSENT for task in record.tasks.values()):
            remove(record.workspace)

    # -- asking Slurm

    @staticmethod
    def _directory(record, number):
        return os.path.join(record.workspace, str(number))

    def _run(self, program, *words):
        return clients.run(self.kind, program, *words)

    def _squeue(self, record, form):
        done = self._run("squeue", "-h", "-r", f"--name={record.id}", "-o", form)
        if done.returncode:
            raise SiteDown(f"squeue: {clients.said(done)}; is the controller up? scontrol ping tells")
        return done.stdout

    def _controllers_jobs(self, remote=None):
        """[{field: value}] of what the controller still knows; fields have no blanks where we look."""
        done = self._run("scontrol", "-o", "show", "job", *([remote] if remote else []))
        if done.returncode and "Invalid job id" not in done.stderr:         # which it says of jobs that it has forgotten
            raise SiteDown(f"scontrol: {clients.said(done)}; is the controller up? scontrol ping tells")
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in done.stdout.splitlines() if "JobId=" in line]

    def _accounting(self, *words):
        """Lines of sacct; none where the cluster keeps no accounts."""
        if shutil.which("sacct") is None:
            return []
        done = self._run("sacct", "-n", "-X", "-P", *words)
        return done.stdout.split("\n")[:-1] if done.returncode == 0 else []
