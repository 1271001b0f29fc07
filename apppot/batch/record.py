"""What was submitted, and what became of it: one directory a job, written before and after each thing that counts.

A record is complete before a client is called. Whoever is killed between a client's success and writing it down leaves a task
in the state `submitting`; since the job's identifier is its name at the site, `status` finds it there.
"""

import fcntl
import json
import os
import secrets
import shutil
import time
from contextlib import contextmanager

from apppot.batch.job import Job
from apppot.batch.sites import Place
from apppot.errors import STATUS_USAGE, AppPotError

SUBMITTING, UNSENT = "submitting", "not submitted"
QUEUED, RUNNING = "queued", "running"
DONE, FAILED, CANCELLED, LOST = "done", "failed", "cancelled", "lost"
ENDED = (DONE, FAILED, CANCELLED, LOST)
FORMAT = 1


def directory(environ=None):
    """Where records are."""
    environ = os.environ if environ is None else environ
    base = environ.get("XDG_STATE_HOME")
    if not base or not base.startswith("/"):
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "apppot", "jobs")


class Task:
    """state: one of the above; remote: its identifier at the site, or None; status: exit status, or None; why: a few words on a
    failure; fetched: host directory of its results, or None."""

    __slots__ = ("state", "remote", "status", "why", "fetched")

    def __init__(self, state=SUBMITTING, remote=None, status=None, why="", fetched=None):
        self.state, self.remote, self.status, self.why, self.fetched = state, remote, status, why, fetched

    def become(self, state, status=None, why=""):
        self.state, self.status, self.why = state, status, why

    def as_dict(self):
        return {name: getattr(self, name) for name in self.__slots__}


class Record:
    """id, created (seconds since 1970), place, job, workspace (host directory of the tasks' directories, or None),
    tasks ({number: Task}), calling (whether a client that submits may have been called); path: the record's own directory."""

    def __init__(self, id, created, place, job, tasks, workspace=None, calling=False):
        self.id, self.created, self.place, self.job, self.tasks = id, created, place, job, tasks
        self.workspace, self.calling = workspace, calling
        self.path = os.path.join(directory(), id)

    def save(self):
        """Write it, whole or not at all, also when the power fails."""
        data = {"format": FORMAT, "id": self.id, "created": self.created, "place": self.place.as_dict(),
                "job": self.job.as_dict(), "workspace": self.workspace, "calling": self.calling,
                "tasks": {str(number): task.as_dict() for number, task in self.tasks.items()}}
        scratch = os.path.join(self.path, f"record.{os.getpid()}")
        with open(scratch, "w", encoding="ascii") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, os.path.join(self.path, "record.json"))
        parent = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def locked(self, wait=True):
        """Held while the record is changed. The value is False when another process has it and wait is not set."""
        with open(os.path.join(self.path, "lock"), "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            if os.path.exists(os.path.join(self.path, "record.json")):
                self.__dict__.update(load(self.id).__dict__)        # another may have changed it meanwhile
            yield True

    def numbers(self, *states):
        return [number for number, task in self.tasks.items() if task.state in states]


def create(place, job, numbers):
    """A new Record, not saved yet, with a directory of its own."""
    os.makedirs(directory(), 0o700, exist_ok=True)
    while True:
        id = f"{job.name}-{secrets.token_hex(4)}"
        try:
            os.mkdir(os.path.join(directory(), id), 0o700)
        except FileExistsError:
            continue
        return Record(id, int(time.time()), place, job, {number: Task() for number in numbers})


def load(id):
    path = os.path.join(directory(), id, "record.json")
    try:
        with open(path, encoding="ascii") as file:
            data = json.load(file)
        if data["format"] != FORMAT:
            raise AppPotError(f"{path}: written by a newer version of AppPot")
        return Record(data["id"], data["created"], Place(**data["place"]), Job(**data["job"]),
                      {int(number): Task(**task) for number, task in data["tasks"].items()}, data["workspace"],
                      data["calling"])
    except FileNotFoundError:
        raise AppPotError(f"{id}: there is no such job; apppot status --all lists them", STATUS_USAGE) from None
    except (ValueError, KeyError, TypeError) as error:
        raise AppPotError(f"{path}: damaged ({error}); move it away to go on") from None


def known():
    """All records, oldest first."""
    try:
        names = os.listdir(directory())
    except FileNotFoundError:
        return []
    records = [load(name) for name in names if os.path.exists(os.path.join(directory(), name, "record.json"))]
    return sorted(records, key=lambda record: (record.created, record.id))


def find(word):
    """The Record that a word names: its identifier or the begin of it."""
    if os.path.sep not in word and os.path.exists(os.path.join(directory(), word, "record.json")):
        return load(word)
    matching = [record for record in known() if record.id.startswith(word)]
    if len(matching) > 1:
        raise AppPotError(f"{word}: several jobs begin so: {', '.join(record.id for record in matching)}", STATUS_USAGE)
    return matching[0] if matching and word else load(word)
