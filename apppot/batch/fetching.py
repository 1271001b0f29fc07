"""Results: brought, compared with what the task itself wrote down, and put in place as a whole."""

import os
import shutil

from apppot.batch import job as jobs, record as records, report, site as sites
from apppot.errors import STATUS_USAGE, AppPotError

TAIL_LINES, TAIL_BYTES = 5, 1 << 14


class Result:
    """number: the task's; directory: where its results are; problem: what went wrong, or None; tail: last lines of its messages."""

    def __init__(self, number, directory, problem, tail):
        self.number, self.directory, self.problem, self.tail = number, directory, problem, tail


def fetch(record, target):
    """Yield a Result for each task that has ended and was not fetched before. target: host directory; of an array's tasks each has
    its own in it, named by its number. AppPotError, SiteDown."""
    site = sites.of(record.place)
    for number in sorted(record.numbers(records.DONE, records.FAILED, records.CANCELLED)):
        # Held all the time: who fetches the same task beside us would find it half removed.
        with record.locked():
            task = record.tasks[number]
            if task.fetched:
                continue
            place = os.path.join(target, str(number)) if len(record.job.tasks()) > 1 else target
            if os.path.lexists(place):
                raise AppPotError(f"{place}: it exists; move it away, or name another directory with -o", STATUS_USAGE)
            result = _fetch_one(site, record, number, place)
            if result.problem and task.state == records.DONE:
                task.become(records.FAILED, task.status, result.problem)
            task.fetched = place
            record.save()
            site.clean(record, [number])
        yield result


def _fetch_one(site, record, number, place):
    """Bring a task's results beside their place, compare, rename."""
    task = record.tasks[number]
    os.makedirs(os.path.dirname(place) or "/", exist_ok=True)
    staged = os.path.join(os.path.dirname(place), f".{record.id}.{number}")
    sites.remove(staged)            # of one who was killed
    os.mkdir(staged)
    try:
        found, problem, tail = None, None, []
        if task.remote is not None:
            site.bring(record, number, staged)
            try:
                found = report.read(staged)
            except AppPotError:
                problem = report.DAMAGED
        problem = problem or _problem(task, found)
        if found is not None and (damaged := report.damaged(staged, found)):
            # A failed task's outputs need not all arrive; what did must be right.
            there = [name for name in damaged if os.path.lexists(os.path.join(staged, name))]
            if there or not problem:
                raise AppPotError(f"{record.id}, task {number}: {(there or damaged)[0]} is not as the task left it; the transfer "
                                  f"failed: apppot fetch {record.id} tries again")
        if problem:
            tail = _tail(staged)
        else:
            _remove_own(staged)
        os.rename(staged, place)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Result(number, place, problem, tail)


def _problem(task, found):
    """What went wrong with a task, or None."""
    if task.state == records.CANCELLED:
        return "cancelled"
    if found is None:
        return task.why or "it left no report"
    return found.complaint() or (task.why or "it failed" if task.state == records.FAILED else None)


def _tail(directory):
    """Last lines of what the task said, else of what the site said about it."""
    log = os.path.join(directory, jobs.LOG)
    for path in (os.path.join(directory, jobs.STDERR), os.path.join(log, "errors"), log):
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            continue
        if shown := [line for line in lines if line.strip()]:
            return shown[-TAIL_LINES:]
    return []


def _remove_own(directory):
    """Where all went well, nobody needs our own files."""
    os.unlink(os.path.join(directory, jobs.REPORT))
    log = os.path.join(directory, jobs.LOG)
    if os.path.isdir(log):
        shutil.rmtree(log)
    elif os.path.lexists(log):
        os.unlink(log)
