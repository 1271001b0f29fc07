"""`apppot-snap` inside of every machine, also where nothing else is: a file stands for it, executing it comes here.

What takes long is done by a process beside the supervisor (answer.Later), which writes to the task's own standard output
and error. The task waits in its execve, and then becomes a program that ends with the status.
"""

import io
import os
from errno import EBADF

from apppot.errors import STATUS_FAILED, STATUS_USAGE, AppPotError
from apppot.machine import JOB
from apppot.syscalls import programs
from apppot.syscalls.answer import Later
from apppot.vfs.refresh import refresh

PATH = b"/usr/bin/apppot-snap"
_PROGRAM = b"apppot-snap"
_KILLED = b"apppot-snap: killed; everything is as it was before\n"


def answer(task, words, end):
    """The answer to the execve of apppot-snap. end(text, status, fd) → answer that ends the task as a program."""
    from apppot.snap import request as requests      # loads what most runs never need
    try:
        request = requests.parse(words[1:])
        if request.cow is not None or request.image is not None:
            raise requests.Wrong("inside of a machine there is no --cow and no --image: it is this machine")
    except requests.Wrong as wrong:
        return end(f"apppot-snap: {wrong.text}\n".encode("utf-8", "surrogateescape"), STATUS_USAGE)
    try:
        if request.command is None:
            return Later(lambda: _help(task, requests.HELP), lambda status: end(b"", 0))
        path, shown = _file(task, request, requests)
    except AppPotError as error:
        return end(f"apppot-snap: {error.message}\n".encode("utf-8", "surrogateescape"), STATUS_FAILED)
    except OSError as error:
        name = os.fsdecode(request.file or b"the file")
        return end(f"apppot-snap: {name}: {error.strerror}\n".encode("utf-8", "surrogateescape"), STATUS_FAILED)
    forget = _replaced(task, request, path)
    return Later(lambda: _work(task, request, path, shown), lambda status: _finish(task, request, status, forget, end))


def program(text, status, fd=2):
    """The Program of a task that says something and ends."""
    made = programs.Program()
    made.path, made.name, made.say = PATH, _PROGRAM, (fd, text[-4000:], status)
    return made


# -- before: names are the guest's, so the supervisor looks them up

def _file(task, request, requests):
    """(host path or None, name for messages) of the request's file, ready to be read or made."""
    if request.command == "base":
        return None, ""
    if request.file == b"-" and request.command == "changes":
        return 1, "-"
    place = JOB if task.machine.machine.job_dir != b"/" else task.caller.cwd
    if request.command == "merge":
        name = request.file
        if name is None:
            listed = task.ns.readdir(task.caller, task.ns.resolve(task.caller, place))
            name = place + b"/" + requests.default_merge([entry[0] for entry in listed])
        node = task.ns.resolve_open(task.caller, name, os.O_RDONLY)
        return task.ns.open(task.caller, node, os.O_RDONLY), os.fsdecode(name)
    name = request.file or place + b"/" + requests.default_changes()
    shown = os.fsdecode(name)
    if request.dry:
        return None, shown
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    node = task.ns.resolve_open(task.caller, name, flags)
    if node.kind not in (0, 0o100000):
        raise AppPotError(f"{shown} is no regular file; name another")
    return task.ns.open(task.caller, node, flags, 0o644), shown


def _replaced(task, request, path):
    """The os.stat_result of a file that changes will replace and whose owner is recorded."""
    if request.command != "changes" or not isinstance(path, bytes):
        return None
    try:
        st = os.lstat(path)
    except OSError:
        return None
    return st if task.machine.ownership.of(st) is not None else None


# -- the process beside the supervisor

def _work(task, request, path, shown):
    from apppot.snap import request as requests
    err = _stream(task, 2)
    out = err if path == 1 else _stream(task, 1)
    snapshots = task.machine.snapshots
    snapshots.warn = lambda line: print(f"apppot-snap: {line}", file=err)
    progress = task.machine.machine.progress
    if progress is not None and not request.quiet:
        snapshots.progress = progress.on("apppot-snap", err, request.verbose or request.dry)
    try:
        if path == 1:
            path = task.getfd(1)
        requests.first_half(request, snapshots, path, shown, out)
        out.flush()
        return 0
    except AppPotError as error:
        print(f"apppot-snap: {error.message}", file=err)
        return error.status
    except BrokenPipeError:
        return 141
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        print(f"apppot-snap: {where}{error.strerror or error}", file=err)
        return STATUS_FAILED
    finally:
        err.flush()


def _help(task, text):
    with _stream(task, 1) as out:
        out.write(text)
    return 0


def _stream(task, fd):
    """What the task's descriptor leads to, as a text stream; if that is nowhere, nowhere."""
    try:
        return open(_descriptor(task, fd), "w", encoding="utf-8", errors="surrogateescape")
    except OSError:
        return io.StringIO()


def _descriptor(task, fd):
    try:
        return task.getfd(fd)
    except OSError as error:
        if error.errno == EBADF and not os.path.lexists(f"/proc/{task.tid}/fd/{fd}"):
            raise
    return os.open(f"/proc/{task.tid}/fd/{fd}", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)    # before Linux 5.6


# -- after

def _finish(task, request, status, forget, end):
    machine = task.machine
    if status < 0:
        return end(_KILLED, 128 - status)
    if status == 0 and forget is not None:
        machine.ownership.forget(forget, machine.ownership.name_of(forget))
    if status == 0 and request.command == "merge" and not request.dry:
        with machine.ns.cache.links_moving():
            machine.snapshots.commit()
            refresh(machine.ns.root.fs)
        for other in machine.tasks.values():
            other.fs.forget_cwd()
        machine.set_up_user()
    return end(b"", status)
