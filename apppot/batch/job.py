"""What a job is: pure data, and its tasks."""

import os

from apppot.errors import STATUS_USAGE, AppPotError

# Names in a task's directory that are ours.
SCRIPT, BUNDLE, TASK, REPORT = "apppot-job.sh", "apppot.pyz", "apppot-task.json", "apppot-report.json"
STDOUT, STDERR, LOG, STARTED = "stdout", "stderr", "apppot-log", "apppot-started"
TAKEN = frozenset((SCRIPT, BUNDLE, TASK, REPORT, STDOUT, STDERR, LOG, STARTED))
INPUT_WORD = "{input}"
INSIDE = "inside"
LAUNCHERS = (INSIDE, "pmi2")
SITE_IMAGE = "site:"
URLS = ("http://", "https://", "gsiftp://", "root://", "davs://", "srm://")


class Job:
    """What is to run. All of it can be written as JSON."""

    __slots__ = (
        "name",         # begin of the job's identifier
        "image",        # absolute host path, URL, "site:NAME" for one that the site has, or None: the site's own choice
        "changes",      # archives of changes, absolute host paths, most recent last
        "command",      # words; empty: ./apppot-run, else the image's apppot-autorun
        "inputs",       # list of [absolute host path or URL, name in the job directory]
        "each",         # the same: one task for each of them; empty: one task
        "outputs",      # names in the job directory; a final slash is a directory
        "env",          # {name: value}
        "memory",       # of one task, in bytes, or None
        "time",         # of one task, in seconds, or None
        "processes",    # how many processors a task gets
        "mpi",          # one of LAUNCHERS: who starts ranks: the command, in one machine, or srun, a machine each
        "options",      # more options of apppot-start
    )

    def __init__(self, **given):
        self.name, self.image, self.memory, self.time = "job", None, None, None
        self.processes, self.mpi = 1, INSIDE
        self.changes, self.command, self.inputs, self.each, self.outputs, self.options = [], [], [], [], [], []
        self.env = {}
        for name, value in given.items():
            setattr(self, name, value)

    def as_dict(self):
        return {name: getattr(self, name) for name in self.__slots__}

    def tasks(self):
        """The numbers of its tasks."""
        return list(range(len(self.each) or 1))

    def files_of(self, number):
        """[[source, name]] of a task's inputs."""
        return self.inputs + self.each[number:number + 1]

    def words_of(self, number):
        """The task's command; {input} as a word of its own is the name of the task's input."""
        if not self.each:
            return self.command
        return [self.each[number][1] if word == INPUT_WORD else word for word in self.command]

    def variables_of(self, number):
        own = {"APPPOT_TASK": str(number)}
        if self.each:
            own["APPPOT_INPUT"] = self.each[number][1]
        return own | self.env


def is_url(text):
    return text.startswith(URLS)


def check_name(name):
    """The name of a file in the job directory, normalised; ValueError. A final slash stays."""
    plain = os.path.normpath(name) if name else ""
    if not plain or plain.startswith(("/", "../")) or plain in (".", "..") or "\0" in name:
        raise ValueError(f"{name!r} is no name below the job directory")
    if plain.split("/")[0] in TAKEN:
        raise ValueError(f"{name!r} is AppPot's own name in the job directory; take another one")
    return plain + "/" if name.endswith("/") else plain


def input_pair(source, name=None):
    """[source, name] of an input; a relative source starts at the current directory. ValueError, AppPotError."""
    if is_url(source):
        return [source, check_name(name or source.rstrip("/").rsplit("/", 1)[1])]
    path = os.path.abspath(source)
    if not os.access(path, os.R_OK):
        raise AppPotError(f"input {source}: {'not readable' if os.path.exists(path) else 'no such file or directory'}",
                          STATUS_USAGE)
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise AppPotError(f"input {source}: neither a file nor a directory; write its content to a file", STATUS_USAGE)
    return [path, check_name(name or os.path.basename(path))]


def check(job):
    """What can't be, whatever the site: AppPotError."""
    for number in job.tasks():
        names = [name for _, name in job.files_of(number)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise AppPotError(f"input {twice}: there are two of this name; give one another with `to:`", STATUS_USAGE)
    if INPUT_WORD in job.command and not job.each:
        raise AppPotError(f"{INPUT_WORD} in the command: there is nothing under `each` (--each)", STATUS_USAGE)
    if job.mpi != INSIDE and not job.command:
        raise AppPotError(f"mpi: {job.mpi}: the command is missing", STATUS_USAGE)
    for path in [*job.changes, *([job.image] if is_local(job.image) else [])]:
        if not os.path.exists(path):
            raise AppPotError(f"{path}: no such file or directory", STATUS_USAGE)


def is_local(image):
    """Whether the image is a file or directory here."""
    return image is not None and not is_url(image) and not image.startswith(SITE_IMAGE)
