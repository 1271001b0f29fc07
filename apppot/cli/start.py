"""apppot-start: run a program in a machine. DESIGN of the options: docs/man/apppot-start.1."""

import gc
import os
import sys

from apppot import __version__
from apppot.cli import imagefile, progress, report, values
from apppot.cli.options import Option, UsageError, help_text, parse
from apppot.errors import AppPotError
from apppot.machine import ISOLATIONS, NETWORKS, PROCESSES, Bind, Machine, run

PROGRAM = "apppot-start"
CHANGES_FILE = b"apppot-changes.tar.gz"

IMAGE = [
    Option("--image", "--apppot", metavar="PATH", convert=values.path,
           help="What to start: a directory that holds a root tree; an ext2/3/4, squashfs or SIF image or a disk image "
                "with such a partition (not unpacked: files are put into the cache when they are used); a tar archive, an "
                "OCI image layout or archive, a docker save archive (unpacked once, into the cache); or a name that "
                "apppot image import gave, or the digest that it printed (sha256:..., the beginning is enough). COW:IMAGE "
                "(COW,IMAGE) keeps the changes in the directory COW; a COW file of User-Mode Linux is read only. Default: "
                "$APPPOT_IMAGE, else ./apppot.img, else the host's own root. The image itself is never written."),
    Option("--cow", metavar="DIR", convert=values.path,
           help="Keep what the run changes in DIR and start from what is there. Without it, changes are thrown away."),
    Option("--discard", help="Throw the changes away at the end, without telling how to keep them."),
    Option("--changes", "--merge", metavar="FILE", convert=values.path, repeat=True,
           help="Put the changes in FILE (apppot-snap changes) over the image; repeatable, most recent last. A COW that "
                "is kept gets them once, for good. ./apppot-changes.tar.gz is found by itself."),
    Option("--force", help="Take changes that were made against another base, too."),
]
INSIDE = [
    Option("--bind", metavar="HOST[:GUEST[:ro]]", convert=values.bind, repeat=True,
           help="Show the file or directory HOST at GUEST (default: at the same path), read-only with :ro. "
                "Repeatable."),
    Option("--root", help="Start as virtual root: uid 0 inside, no more rights on the host."),
    Option("--user", metavar="NAME", convert=values.name, help="Start as the guest's user NAME."),
    Option("--env", metavar="K=V", convert=values.assignment, repeat=True,
           help="Set a variable in the guest; K alone passes the caller's value on. Repeatable."),
    Option("--fd", metavar="N", convert=values.descriptor, repeat=True,
           help="Pass the open descriptor N on; all others above 2 are closed. $PMI_FD is passed on by itself. Repeatable."),
    Option("--clean-env", help="Pass nothing else of the caller's environment on."),
    Option("--workdir", metavar="DIR", convert=values.absolute,
           help="Guest directory to start in. Default: /home/user/job, where the current directory is seen."),
    Option("--entrypoint", metavar="PROG",
           help="Run PROG instead of the image's own Entrypoint and Cmd; empty: run PROG ARGS as they are."),
    Option("--hostname", metavar="NAME", convert=values.name, help="Host name that the guest sees."),
    Option("--id", "--umid", metavar="NAME", convert=values.name, help="Name of the machine: $APPPOT_ID in the guest."),
]
LIMITS = [
    Option("--mem", metavar="NUM[M|G]", convert=values.size,
           help="Memory limit of the whole machine; a bare number counts MiB. One process that wants more gets ENOMEM; "
                "processes that together use more are ended with the machine. Default: $APPPOT_MEM, else none."),
    Option("--cpus", metavar="N", convert=values.count, help="Use at most N processors, the supervisor included."),
    Option("--timeout", metavar="T", convert=values.duration,
           help="End the machine after T: 90 (seconds), 10m, 2h or HH:MM:SS. The program gets SIGTERM and, 10 seconds "
                "later, all are killed; the status is 124."),
    Option("--end-with", metavar="PID", convert=values.count, repeat=True,
           help="End the machine when the host's process PID has ended: the script of a batch job, for instance, which some "
                "batch systems kill without its children. Repeatable."),
    Option("--pids", metavar="N", convert=values.count,
           help="Allow the machine N processes and threads; one more is refused with EAGAIN."),
    Option("--disk", metavar="NUM[M|G]", convert=values.size,
           help="End the machine when its changes take more of the disk than this; a file counts 4 KiB at least. The job "
                "directory and what --bind shows don't count."),
    Option("--nice", metavar="N", convert=values.niceness, help="Lower the priority by N, 0 to 19, as nice(1) does."),
    Option("--network", metavar="host|none", convert=values.one_of(*NETWORKS),
           help="The host's network (default) or none."),
    Option("--pid", metavar="host|private", convert=values.one_of(*PROCESSES),
           help="private (default): /proc shows the machine's processes only. host: of the host's others, too, what everybody "
                "may read, as ps does; MPI libraries want that where each rank has a machine of its own."),
    Option("--isolation", metavar="standard|strict|none", convert=values.one_of(*ISOLATIONS),
           help="standard (default): the kernel's Landlock confines the guest, and repeated path calls are answered "
                "without a stop; where there is no Landlock it is as strict. strict: the supervisor sees and makes safe "
                "every path call. none: names are translated, repeated ones without a stop on every kernel; nothing else "
                "confines the guest's files."),
    Option("--require-isolation",
           help="Don't start (status 125) where this host can't enforce all of the isolation that was asked for."),
]
REPORTS = [
    Option("--trace", metavar="[FILE]", convert=values.path,
           help="Log the intercepted calls to FILE, else to standard error."),
    Option("--stats", help="Print a summary at the end: time, memory, input and output; intercepted calls, those answered by "
                           "the fast path, patched files."),
    Option("--verbose", "-v", repeat=True, help="Say more; repeatable."),
    Option("--quiet", "-q", help="No warnings."),
    Option("--version", "-V", help="Print the version and end."),
    Option("--help", "-h", help="Print this text and end."),
]
OLD = [
    Option("--extra", "-X", metavar="ARGS", help="Accepted and ignored: no kernel is started any more.",
           repeat=True),
    Option("--slirp", metavar="PATH", help="Accepted and ignored."),
    Option("--kernel", "--linux", "--uml", metavar="PATH", help="Accepted and ignored."),
]
GROUPS = [("Image", IMAGE), ("Inside", INSIDE), ("Limits", LIMITS), ("Messages", REPORTS),
          ("Options of older versions", OLD)]
OPTIONS = [option for _, options in GROUPS for option in options]

USAGE = f"{PROGRAM} [options] [PROG ARGS...]"
SUMMARY = ("Run PROG in a machine: a root tree under a copy-on-write layer, seen by PROG as its whole file system. "
           "Options end at the first word that is none.")
FOOTER = """\
What runs, the first that exists: PROG ARGS, after the image's Entrypoint if it
has one; ./apppot-run in the current directory; /home/user/apppot-autorun in
the image; the image's Entrypoint and Cmd, in its WorkingDir; a shell.

Exit status: the program's own (128+N when signal N ended it); 2 wrong usage,
124 --timeout is over, 125 AppPot failed, 126 the program can't be executed,
127 it was not found.
"""


def warnings_of(given, cwd):
    """Lines that tell what was given and has no effect."""
    old = {name for option in OLD for name in option.names}
    ignored = list(dict.fromkeys(name for name in given if name in old))
    if ignored:
        yield f"{', '.join(ignored)} ignored: AppPot starts no kernel of its own any more; leave it out"


def archives(given, cwd):
    """(host paths of the archives of changes to put in, whether one was found in the current directory by itself)."""
    paths = [os.path.join(cwd, archive) for archive in given]
    for archive, path in zip(given, paths):
        if not os.path.exists(path):
            raise AppPotError(f"--changes {os.fsdecode(archive)}: no such file; name an existing archive of changes")
    found = os.path.join(cwd, CHANGES_FILE)
    alone = os.path.isfile(found) and not any(os.path.samefile(found, path) for path in paths)
    return [found] * alone + paths, alone


def descriptors(given, environ):
    """The descriptors to pass on: those given, and the one by which an MPI launcher talks to its processes."""
    for fd in given:
        if not is_open(fd):
            raise UsageError(f"--fd {fd}: not open")
    launcher = environ.get(b"PMI_FD", b"")
    found = [int(launcher)] if launcher.isdigit() and len(launcher) < 8 and int(launcher) > 2 and is_open(int(launcher)) else []
    return sorted(set(given + found))


def is_open(fd):
    try:
        os.fstat(fd)
    except (OSError, OverflowError):
        return False
    return True


def machine_from(chosen, command, environ, cwd):
    """The Machine that the parsed options describe. environ and cwd are bytes."""
    if chosen["quiet"] and chosen["verbose"]:
        raise UsageError("--quiet and --verbose exclude each other")
    if chosen["root"] and chosen["user"] not in (None, "root"):
        raise UsageError(f"--root and --user {chosen['user']} exclude each other")
    if chosen["require_isolation"] and chosen["isolation"] == "none":
        raise UsageError("--require-isolation and --isolation none exclude each other")
    changes, _ = archives(chosen["changes"], cwd)

    image, cow = imagefile.choose(chosen["image"], environ, cwd)
    source, below = "--image", None
    if cow is not None and imagefile.is_uml_cow(cow):
        image, below, cow = cow, image, None
    if chosen["cow"] is not None:
        if cow is not None:
            raise UsageError(f"--cow and the COW {os.fsdecode(cow)} before the image's name exclude each other")
        cow, source = os.path.normpath(os.path.join(cwd, chosen["cow"])), "--cow"
    if cow is not None:
        if chosen["discard"]:
            raise UsageError(f"--discard and the COW {os.fsdecode(cow)} exclude each other")
        imagefile.check_cow(cow, source)

    return Machine(
        image=image, below=below, lowers=[image], cow=cow, discard=chosen["discard"],
        changes=changes, force=chosen["force"],
        mem=memory(chosen["mem"], environ), cpus=chosen["cpus"], timeout=chosen["timeout"],
        end_with=chosen["end_with"],
        pids=chosen["pids"], disk=chosen["disk"], nice=chosen["nice"] or 0,
        name=chosen["id"], binds=[existing_bind(*bind) for bind in chosen["bind"]],
        root=chosen["root"] or chosen["user"] == "root",
        user=None if chosen["user"] == "root" else chosen["user"],
        descriptors=descriptors(chosen["fd"], environ),
        env=environment(chosen["env"], environ), clean_env=chosen["clean_env"],
        workdir=chosen["workdir"], hostname=chosen["hostname"],
        network=chosen["network"] or "host", pid=chosen["pid"] or "private",
        isolation=chosen["isolation"] or "standard", require_isolation=chosen["require_isolation"],
        trace=trace_file(chosen["trace"], cwd), stats=chosen["stats"],
        verbose=chosen["verbose"], quiet=chosen["quiet"],
        job_dir=cwd, command=[os.fsencode(word) for word in command] or None,
        entrypoint=None if chosen["entrypoint"] is None else list(filter(None, [os.fsencode(chosen["entrypoint"])])),
        progress=progress.for_command(PROGRAM, chosen["quiet"]))


def memory(given, environ):
    if given is not None or not environ.get(b"APPPOT_MEM"):
        return given
    try:
        return values.size(os.fsdecode(environ[b"APPPOT_MEM"]))
    except ValueError as error:
        raise UsageError(f"$APPPOT_MEM: {error}") from None


def existing_bind(host, guest, read_only):
    try:
        os.stat(host)
    except OSError as error:
        raise AppPotError(f"--bind {os.fsdecode(host)}: {error.strerror}; the host's side must be there before the "
                          "start") from None
    if guest == b"/":
        raise UsageError("--bind: nothing can be put on / itself; name the directory with --image")
    return Bind(host, guest, read_only)


def environment(assignments, environ):
    """The variables that --env sets; K alone takes the caller's value, if there is one."""
    chosen = {}
    for key, value in assignments:
        if value is None:
            value = environ.get(key)
        if value is not None:
            chosen[key] = value
    return chosen


def trace_file(given, cwd):
    if given is None or given is True:
        return b"-" if given else None
    if given == b"-":
        return given
    path = os.path.join(cwd, given)
    if os.path.isdir(path) or not os.access(os.path.dirname(path), os.W_OK):
        raise AppPotError(f"--trace {os.fsdecode(given)}: can't be written; name a file in a directory of yours")
    return path


def _elsewhere():
    from apppot.cli import elsewhere
    return elsewhere.OPTIONS


def start(argv):
    gc.disable()                           # nothing of what is made until the guest runs is garbage; boot._supervise goes on
    chosen, given, command = parse(OPTIONS, argv, elsewhere=_elsewhere)
    if chosen["help"]:
        sys.stdout.write(help_text(USAGE, SUMMARY, GROUPS, FOOTER))
        return 0
    if chosen["version"]:
        print(f"{PROGRAM} {__version__}")
        return 0
    if command and given[-1:] == ["-v"] and ":/" in command[0]:
        raise UsageError(f"-v is --verbose; say --bind {command[0]}")
    try:
        cwd = os.getcwdb()
    except OSError as error:
        raise AppPotError(f"the current directory: {error.strerror}; change to one that exists") from None
    machine = machine_from(chosen, command, os.environb, cwd)
    if not machine.quiet:
        for line in warnings_of(given, cwd):
            report.say(PROGRAM, line)
        if archives(chosen["changes"], cwd)[1]:
            report.say(PROGRAM, f"{os.fsdecode(CHANGES_FILE)} in the current directory is put over the image")
    return run(machine)


def main(argv=None):
    return report.guard(PROGRAM, start, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
