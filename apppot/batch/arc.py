"""ARC: one job of A-REX for each task. The job list of ARC's client is in the record's own directory."""

import json
import os
import shutil

from apppot.batch import clients, job as jobs, record as records, report, xrsl
from apppot.batch.clients import SiteDown
from apppot.batch.site import Site, write_bundle, write_task
from apppot.errors import STATUS_USAGE, AppPotError

# ARC's states, arcstat(1); all others have not begun to run.
STATES = {"Running": records.RUNNING, "Finishing": records.RUNNING, "Finished": records.DONE, "Failed": records.FAILED,
          "Killed": records.CANCELLED, "Deleted": records.LOST}


class Arc(Site):
    kind, programs = "arc", ("arcsub", "arcstat", "arcsync", "arcget", "arckill", "arcclean")

    # -- submitting

    def describe(self, record):
        shown = {}
        for number in sorted(record.tasks):
            image, changes, files = self._files(record, number)
            shown[f"{number}.xrsl"] = xrsl.write(record, number, files, image, changes)
            if record.place.apppot == "bundle":
                shown[f"{number}.{jobs.SCRIPT}"] = xrsl.job_script(record, number, image, changes)
        return shown

    def submit(self, record):
        texts = self.describe(record)
        self._prepare(record, texts)
        record.calling = True
        record.save()
        for number in record.numbers(records.SUBMITTING):
            path = os.path.join(record.path, "files", f"{number}.xrsl")
            done = self._run("arcsub", *self._where("-T", "arcrest", "-Q", "NONE"), "-j", self._list(record),
                             *self.place.options, path)
            found = [word for word in done.stdout.split() if word.startswith("https://")]
            if done.returncode or not found:
                raise AppPotError(f"arcsub: {clients.said(done)}")
            record.tasks[number].remote = found[-1]
            record.tasks[number].become(records.QUEUED)
            record.save()

    def _prepare(self, record, texts):
        directory = os.path.join(record.path, "files")
        os.makedirs(directory, exist_ok=True)
        for name, text in texts.items():
            with open(os.path.join(directory, name), "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
        for number in record.tasks:
            write_task(os.path.join(directory, f"{number}.{jobs.TASK}"), record, number)
        if record.place.apppot == "bundle":
            write_bundle(os.path.join(directory, jobs.BUNDLE))

    def _files(self, record, number):
        """(name of the image on the node or None, names of the changes there, xrsl.Files)"""
        job, directory = record.job, os.path.join(record.path, "files")
        given = [pair for source, name in job.files_of(number) for pair in _apart(source, name)]
        own = [(jobs.TASK, os.path.join(directory, f"{number}.{jobs.TASK}"))]
        if record.place.apppot == "bundle":
            own += [(jobs.SCRIPT, os.path.join(directory, f"{number}.{jobs.SCRIPT}")),
                    (jobs.BUNDLE, os.path.join(directory, jobs.BUNDLE))]
        taken = {name for name, _ in own + given}
        changes = []
        for path in job.changes:
            changes.append(_free(os.path.basename(path), taken))
            own.append((changes[-1], path))
        image = self.image_there(job)
        if image is None and job.image is not None:
            if os.path.isdir(job.image):
                raise AppPotError(f"image {job.image}: a directory can't be uploaded; apppot image convert makes a squashfs file "
                                  "of it", STATUS_USAGE)
            image = _free(os.path.basename(job.image), taken)
            own.append((image, job.image))
        xrsl.check_names([name for name, _ in own + given], job.outputs)
        return image, changes, xrsl.Files(given, own)

    def _where(self, *more):
        """Options that name the computing element."""
        return ["-C", self.place.endpoint, *more] if self.place.endpoint else []

    def search(self, record):
        """The site is asked for all jobs of the user; the name of standard output says which are this record's."""
        done = self._run("arcsync", "-f", *self._where(), "-j", self._list(record))
        if done.returncode or "ERROR" in done.stderr:
            raise SiteDown(f"arcsync: {clients.said(done)}")
        told = {entry["id"]: entry.get("stdout") for entry in self._ask(record, "-a")}
        listed = self._run("arcstat", "-p", "-j", self._list(record), "-a").stdout.split()
        tags = {xrsl.tag(record, number): record.tasks[number] for number in record.numbers(records.SUBMITTING)}
        for remote, stdout in told.items():
            if stdout in tags:
                tags[stdout].remote = remote
                tags[stdout].become(records.QUEUED)
        # In the first minute of a job the site knows little of it, and it may be ours.
        if all(told.get(remote) for remote in listed):
            for number in record.numbers(records.SUBMITTING):
                record.tasks[number].become(records.UNSENT)

    # -- looking

    def look(self, record):
        waiting = {record.tasks[number].remote: number for number in record.numbers(records.QUEUED, records.RUNNING)}
        if not waiting:
            return
        told = {entry["id"]: entry for entry in self._ask(record, *waiting)}
        for remote, number in waiting.items():
            if remote in told:          # what was submitted a moment ago may not be told of yet
                self._is(record.tasks[number], told[remote])

    @staticmethod
    def _is(task, told):
        state = STATES.get(told.get("state"), records.QUEUED)
        code = told.get("exitCode")
        status = int(code) if str(code).lstrip("-").isdecimal() else None
        errors = "; ".join(map(str, told.get("jobError", ()))) or "ARC says Failed"
        task.become(state, status, "" if state != records.FAILED else f"status {status}" if status else errors)

    def _ask(self, record, *words):
        """What arcstat tells, a dict for each job."""
        done = self._run("arcstat", "-J", "-l", "-j", self._list(record), *words)
        begin = done.stdout.find('"jobs"')
        if begin < 0:
            if "-a" in words and "ERROR" not in done.stderr:
                return []
            raise SiteDown(f"arcstat: {clients.said(done)}")
        try:
            found = json.loads("{" + done.stdout[begin:] + "}", strict=False)["jobs"]
        except ValueError:
            raise SiteDown("arcstat: what it prints is no JSON; AppPot knows that of ARC 6") from None
        if not found and "ERROR" in done.stderr:
            raise SiteDown(f"arcstat: {clients.said(done)}")
        return found

    # -- results

    def bring(self, record, number, directory):
        remote = record.tasks[number].remote
        below = directory + ".arc"
        shutil.rmtree(below, ignore_errors=True)        # of one who was killed
        try:
            done = self._run("arcget", "--keep", "-j", self._list(record), "-D", below, remote)
            entries = os.listdir(below) if os.path.isdir(below) else []
            if not entries:
                raise SiteDown(f"arcget: {clients.said(done)}")
            fetched = os.path.join(below, entries[0])
            for name in os.listdir(fetched):
                os.rename(os.path.join(fetched, name),
                          os.path.join(directory, jobs.STDOUT if name == xrsl.tag(record, number) else name))
        finally:
            shutil.rmtree(below, ignore_errors=True)

    def cancel(self, record, numbers):
        if remotes := [record.tasks[number].remote for number in numbers]:
            done = self._run("arckill", "--keep", "-j", self._list(record), *remotes)
            if done.returncode:
                raise SiteDown(f"arckill: {clients.said(done)}")
        for number in numbers:
            record.tasks[number].become(records.CANCELLED)

    def clean(self, record, numbers):
        """What the site does not take away now it does by itself, after some days."""
        if remotes := [record.tasks[number].remote for number in numbers]:
            self._run("arcclean", "-j", self._list(record), *remotes)

    # -- asking ARC

    @staticmethod
    def _list(record):
        return os.path.join(record.path, "jobs.db")

    def _run(self, program, *words):
        return clients.run(self.kind, program, *words)


def _apart(source, name):
    """[(name, source)] of an input; ARC takes no directories, and knows no links: what a link leads to is brought under its
    name."""
    if jobs.is_url(source) or not os.path.isdir(source):
        return [(name, source)]
    found = []
    for below, kind in report.walk(source, sorted(os.listdir(source))):
        path = os.path.join(source, below)
        if kind != "file" and kind != "directory" and not (kind == "link" and os.path.isfile(path) and os.access(path, os.R_OK)):
            raise AppPotError(f"input {path}: ARC's client brings files that can be read, and links to such, only; take it out of "
                              f"{source}, or bring that as an archive", STATUS_USAGE)
        if kind != "directory":
            found.append((f"{name}/{below}", path))
    return found


def _free(name, taken):
    """The name, with something before it when it is taken; it is taken then."""
    while name in taken or name in jobs.TAKEN:
        name = "apppot-" + name
    taken.add(name)
    return name
