"""The __main__ of a bundle: puts AppPot's files into a private directory, once, and runs the command from there.

It runs before AppPot is there and under whatever Python the node has, so it imports nothing of AppPot, and its syntax is
that of Python 3.6. The directory is named by the bundle's digest and is whole when it has that name: it is made beside and
renamed. Who comes second at the same time finds it and drops its own. Files that somebody's cleaning of temporary files
has taken are noticed by the list of sizes, and the directory is made again.
"""

import os
import stat
import sys

LEAST = (3, 11)
MANIFEST = "manifest"           # first line: digest; then SIZE and NAME of each file
STATUS_FAILED = 125


def fail(message):
    sys.stderr.write("apppot: %s\n" % message)
    sys.exit(STATUS_FAILED)


def newer_python(bundle, arguments):
    """Go on under a Python that is new enough, if there is one."""
    for minor in range(19, LEAST[1] - 1, -1):
        for directory in os.environ.get("PATH", "").split(os.pathsep):
            program = os.path.join(directory or ".", "python3.%d" % minor)
            if os.access(program, os.X_OK) and os.path.isfile(program):
                os.execv(program, [program, "-I", bundle] + arguments)
    fail("this Python is %d.%d (%s); put python3.11 or newer on PATH" % (sys.version_info[:2] + (sys.executable,)))


def places():
    """Directories that the files may be put below, best first, as bytes.

    Never the job's directory or one in it, as a job's HOME often is: the guest may write there, and would change what runs
    outside of the machine.
    """
    environ = os.environb
    home = environ.get(b"HOME") or os.path.expanduser(b"~")
    base = environ.get(b"XDG_CACHE_HOME") or home + b"/.cache"
    temporary = environ.get(b"TMPDIR") or b"/tmp"
    own = b"apppot-bundles-%d" % os.getuid()
    job = os.path.realpath(os.getcwdb()) + b"/"
    for place in (environ.get(b"APPPOT_CACHE"), base + b"/apppot", temporary + b"/" + own, b"/var/tmp/" + own, b"/tmp/" + own):
        if place and place.startswith(b"/") and not (os.path.realpath(place) + b"/").startswith(job):
            yield place + b"/bundles"


def private(directory):
    """Make the directory and check that nobody else can write there; OSError if not."""
    os.makedirs(os.path.dirname(directory), 0o700, exist_ok=True)
    for path in (os.path.dirname(directory), directory):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError("%s is not a directory of your own" % os.fsdecode(path))


def is_whole(directory, files):
    try:
        return all(os.stat(directory + b"/" + name).st_size == size for size, name in files)
    except OSError:
        return False


def unpack(bundle, directory, files):
    """Make the directory; it may be there by then, made by others, or damaged."""
    import shutil
    import zipfile
    new = b"%s.%d.%s" % (directory, os.getpid(), os.urandom(4).hex().encode())
    try:
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(os.fsdecode(new), [os.fsdecode(name) for _, name in files])
        os.chmod(new + b"/apppot/stub/apppot-stub", 0o755)
        try:
            os.rename(new, directory)
        except OSError:                     # it is there
            if not is_whole(directory, files):
                os.rename(directory, new + b".gone")
                os.rename(new, directory)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(new + b".gone", ignore_errors=True)


def find(bundle, digest, files):
    """The directory with AppPot's files (str)."""
    problems = []
    for place in places():
        directory = place + b"/" + digest
        try:
            private(place)
            if not is_whole(directory, files):
                unpack(bundle, directory, files)
            return os.fsdecode(directory)
        except OSError as error:
            problems.append("%s: %s" % (os.fsdecode(place), error.strerror or error))
    return fail("no place for AppPot's files: %s; set TMPDIR to a directory of yours outside of the current one"
                % "; ".join(problems or ["none is outside of the current directory"]))


def main():
    bundle, arguments = sys.argv[0], sys.argv[1:]
    if sys.version_info < LEAST:
        newer_python(bundle, arguments)
    digest, *lines = __loader__.get_data(os.path.join(__loader__.archive, MANIFEST)).splitlines()
    files = [(int(size), name) for size, name in (line.split(b" ", 1) for line in lines)]
    sys.path[0] = find(bundle, digest, files)
    from importlib import import_module
    command = {"apppot-start": "start", "apppot-snap": "snap"}.get(os.path.basename(bundle), "main")
    sys.exit(import_module("apppot.cli." + command).main(arguments))


main()
