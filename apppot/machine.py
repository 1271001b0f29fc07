"""A machine: what one run consists of (data), and run(), which starts it.

Imported at every start: nothing is imported here that a start may not need.
"""

import os

from apppot.errors import STATUS_NOT_EXECUTABLE, AppPotError

JOB = b"/home/user/job"                     # where the job directory is seen in the guest
JOB_SCRIPT = JOB + b"/apppot-run"
IMAGE_SCRIPT = b"/home/user/apppot-autorun"
SHELLS = (b"/bin/bash", b"/bin/sh")

NETWORKS = ("host", "none")
PROCESSES = ("host", "private")
ISOLATIONS = ("standard", "strict", "none")


class Bind:
    """A hostfs mount: the host's file or directory `host`, seen at `guest`. Both are absolute bytes."""

    __slots__ = ("host", "guest", "read_only")

    def __init__(self, host, guest, read_only=False):
        self.host = host
        self.guest = guest
        self.read_only = read_only

    def __iter__(self):
        return iter((self.host, self.guest, self.read_only))

    def __eq__(self, other):
        return isinstance(other, Bind) and tuple(self) == tuple(other)

    def __repr__(self):
        return f"Bind{tuple(self)!r}"


class Machine:
    """Everything that was said about a run, with nothing decided that needs the image.

    Paths, arguments and environment are bytes; host paths are absolute. Words from a fixed list and names are str.
    """

    __slots__ = (
        "image",        # host path of the image, or the name of an import; b"/" is the host's own root
        "below",        # host path of the image below, when `image` is a User-Mode Linux COW file; None: as it says
        "lowers",       # read-only layers, topmost first; the last one is the image
        "trees",        # list of (guest directory, function from Ownership to a Filesystem): more trees to show
        "cow",          # host directory that keeps the copy-on-write layer; None: thrown away after the run
        "discard",      # True: the caller asked to throw it away, so don't tell how to keep it
        "changes",      # archives of changes to merge at start, host paths, most recent last
        "force",        # True: also those made against another base
        "mem",          # limits: bytes,
        "cpus",         #   processors,
        "timeout",      #   seconds,
        "pids",         #   tasks,
        "disk",         #   bytes that the COW may take; None is no limit
        "end_with",     # numbers of processes of the host; the end of one is the machine's, too
        "nice",         # what is added to the nice value of the caller
        "name",         # None: the supervisor makes one
        "binds",        # list of Bind, in the order they were given
        "descriptors",  # open descriptors above 2 that the guest gets, by their numbers
        "root",         # True: start as virtual root
        "user",         # name of another guest user to start as, or None
        "env",          # dict of variables set on the command line, bytes to bytes
        "clean_env",    # True: of the caller's environment nothing is passed on
        "workdir",      # guest directory to start in; None is JOB
        "hostname",     # what the guest sees; None is the host's own
        "network",      # one of NETWORKS
        "pid",          # one of PROCESSES: whose /proc shows
        "isolation",    # one of ISOLATIONS
        "require_isolation",  # True: rather not at all than with less than `isolation` promises
        "trace",        # None, b"-" for standard error, or the host file the log is written to
        "stats",        # True: a summary of intercepted calls at the end
        "verbose",      # 0, 1, 2...
        "quiet",        # True: no warnings
        "progress",     # an image.progress.Progress for what takes long at start, or None
        "job_dir",      # host directory seen at JOB
        "command",      # program and arguments; None: what_runs() decides
        "entrypoint",   # list of words before the command; None: the image's own
    )

    def __init__(self, image=b"/", **given):
        self.image = image
        self.below = None
        self.lowers = [image]
        self.trees = []
        self.cow = None
        self.discard = False
        self.changes = []
        self.force = False
        self.mem = None
        self.cpus = None
        self.timeout = None
        self.end_with = []
        self.pids = None
        self.disk = None
        self.nice = 0
        self.name = None
        self.binds = []
        self.descriptors = []
        self.root = False
        self.user = None
        self.env = {}
        self.clean_env = False
        self.workdir = None
        self.hostname = None
        self.network = "host"
        self.pid = "private"
        self.isolation = "standard"
        self.require_isolation = False
        self.trace = None
        self.stats = False
        self.verbose = 0
        self.quiet = False
        self.progress = None
        self.job_dir = os.getcwdb()
        self.command = None
        self.entrypoint = None
        for name, value in given.items():
            setattr(self, name, value)

    def __repr__(self):
        return "Machine(" + ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__) + ")"


def what_runs(machine, exists, shell=None, config=None):
    """(program and arguments of the machine's first task, guest directory to start in or None for the usual one).

    exists(guest path) says whether the machine has a file there; shell is what the user's passwd entry names; config is
    the image's own, or None. As with docker, arguments replace the image's Cmd and leave its Entrypoint.
    """
    entrypoint = machine.entrypoint
    workdir = config.workdir if config is not None else None
    if entrypoint is None and config is not None:
        entrypoint = list(config.entrypoint)
        if entrypoint and workdir and b"/" in entrypoint[0] and not entrypoint[0].startswith(b"/"):
            entrypoint[0] = os.path.normpath(workdir + b"/" + entrypoint[0])
    entrypoint = list(entrypoint or ())
    if machine.command:
        return entrypoint + list(machine.command), None
    for script in (JOB_SCRIPT, IMAGE_SCRIPT):
        if exists(script):
            return [script], None
    default = config.command if config is not None and machine.entrypoint is None else []
    if entrypoint or default:
        return entrypoint + default, workdir
    for candidate in (shell, *SHELLS):
        if candidate and exists(candidate):
            return [candidate], None
    raise AppPotError(f"{os.fsdecode(machine.image)}: the image has no shell; name the program to run",
                      STATUS_NOT_EXECUTABLE)


def run(machine):
    """Run the machine to its end and return the exit status of the guest's command."""
    architecture = os.uname().machine
    if architecture != "x86_64":
        raise AppPotError(f"this host is {architecture}; this version of AppPot runs on x86_64 Linux only")
    from apppot.kernel import boot
    return boot.run(machine)
