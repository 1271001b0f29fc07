"""From the name given to execve to the program that will run: `#!` chains, ELF checks, interpreter, set-uid bits.

All of it happens before the old program is gone, so whatever is wrong is the errno that execve(2) documents.
"""

import os
import stat
import time
from errno import EACCES, ELIBBAD, ELOOP, ENOENT, ENOEXEC, ETXTBSY

from apppot.syscalls import elf
from apppot.syscalls.waiting import long_work

_SCRIPT_LINE = 256                 # BINPRM_BUF_SIZE, <linux/binfmts.h>
_MAX_REWRITES = 5                  # exec_binprm() in fs/exec.c
_X_OK = 1
_SETTLED = 60                      # seconds after which nobody is expected to be still writing a program

_parsed = {}                       # (host path, dev, ino, mtime, size) -> Elf or script line
_PARSED_LIMIT = 512


class Program:
    """A program ready to be mapped.

    `path`: guest path of the ELF file (/proc/self/exe); `host`: where it is on the host; `elf`: its Elf;
    `interpreter`: (host path, Elf) of its ld.so or None; `name`: the file name of the exec call (AT_EXECFN, comm);
    `prefix`: words that replace argv[0] when a script was named, else None; `set_uid`, `set_gid`: new effective
    ids, or None; `directory`: host directory that the process goes to first, or None.
    """

    __slots__ = ("path", "host", "elf", "interpreter", "name", "prefix", "set_uid", "set_gid", "say", "creds", "directory")

    def __init__(self):
        self.path = self.host = self.elf = self.interpreter = self.name = self.prefix = self.set_uid = self.set_gid = None
        self.say = self.creds = self.directory = None


class _Content:
    """What is in a file that can be executed: `content`, an Elf or a script line, and its `mode` bits.

    `allowed`: who may execute it, for a file of the image; kept with the file's node. See _who().
    """

    __slots__ = ("content", "mode", "allowed")

    def __init__(self, content, mode):
        self.content, self.mode = content, mode
        self.allowed = set()


class Unfilled(Exception):
    """A large file of a lazy image has to be made first: `work()` does it. See Namespace.long_work."""

    def __init__(self, work):
        super().__init__()
        self.work = work


def find(task, node, name, wait=False):
    """The Program for `node`, which execve named `name`. wait: raise Unfilled rather than make a large file here."""
    prefix = None
    script_name = name
    for _ in range(_MAX_REWRITES + 1):
        found = _executable(task, node, wait)
        content = found.content
        if isinstance(content, elf.Elf):
            return _program(task, node, name, found, prefix, wait)
        interpreter, argument = content
        words = [interpreter] + ([argument] if argument else []) + [script_name]
        prefix = words if prefix is None else words + prefix[1:]
        node = task.ns.resolve(task.caller, interpreter)
        script_name = interpreter
    raise OSError(ELOOP, os.strerror(ELOOP))


def _executable(task, node, wait):
    """The _Content of the node."""
    known = node.program
    if known is not None and _who(task) in known.allowed:
        return known
    if not node.kind:
        raise OSError(ENOENT, os.strerror(ENOENT))
    if node.kind != stat.S_IFREG:
        raise OSError(EACCES, os.strerror(EACCES))
    if node.mount is not None:         # a file without a name was opened already
        task.ns.access(task.caller, node, _X_OK)
    work = long_work(task, node, os.O_RDONLY) if wait else None
    if work is not None:
        raise Unfilled(work)
    try:
        host = task.ns.content(node)
        status = node.st if node.st is not None else os.stat(host)
        content = _read(host, status)
    except elf.WrongMachine as error:
        task.machine.warn_once(node.path, f"{os.fsdecode(node.path)}: {error.kind} can't be run here")
        raise
    if node.upper or node.mount is None:                    # files of the image are written by nobody but who fills them
        if status.st_ctime > time.time() - _SETTLED and task.machine.being_written(host):
            raise OSError(ETXTBSY, os.strerror(ETXTBSY))
        return _Content(content, status.st_mode)
    if known is None:
        known = _Content(content, status.st_mode)
        if node.mount.fs.cached:       # a lower file: when it is changed it is copied up, and has another node
            node.program = known
    known.allowed.add(_who(task))
    return known


def _who(task):
    """What decides what a caller may execute: for the host user the host, which does not change its mind."""
    caller = task.caller
    return (caller.uid, caller.gid, tuple(caller.groups)) if caller.virtual else None


def _read(host, status):
    """The content of the host file, whose os.stat_result is `status`."""
    key = (host, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    content = _parsed.get(key)
    if content is None:
        fd = os.open(host, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            start = os.pread(fd, elf.HEADER_SIZE, 0)
            content = _script(start) if start[:2] == b"#!" else elf.parse(fd, start)
        finally:
            os.close(fd)
        if len(_parsed) >= _PARSED_LIMIT:
            _parsed.clear()
        _parsed[key] = content
    return content


def _script(start):
    """(interpreter, argument or b"") of a `#!` line, by the rules of load_script() in fs/binfmt_script.c."""
    line = start[2:_SCRIPT_LINE]
    end = line.find(b"\n")
    if end >= 0:
        line = line[:end]
    elif len(start) >= _SCRIPT_LINE:
        stripped = line.lstrip(b" \t")
        if b" " not in stripped and b"\t" not in stripped:
            raise OSError(ENOEXEC, os.strerror(ENOEXEC))   # the interpreter's name may be cut
        line = line[:-1]               # the kernel keeps the buffer's last byte for a NUL
    line = line.split(b"\0", 1)[0].strip(b" \t")
    cut = min((at for at in (line.find(b" "), line.find(b"\t")) if at >= 0), default=len(line))
    interpreter, argument = line[:cut], line[cut:].lstrip(b" \t")
    if not interpreter:
        raise OSError(ENOEXEC, os.strerror(ENOEXEC))
    return interpreter, argument


def _program(task, node, name, found, prefix, wait):
    program = Program()
    program.path, program.host, program.elf = node.path, node.host, found.content
    program.name, program.prefix = name, prefix
    if found.content.interpreter is not None:
        loader = task.ns.resolve(task.caller, found.content.interpreter)
        loader_content = _executable(task, loader, wait).content
        if not isinstance(loader_content, elf.Elf):
            raise OSError(ELIBBAD, os.strerror(ELIBBAD))
        program.interpreter = loader.host, loader_content
    program.set_uid, program.set_gid = _set_ids(task, node, found.mode)
    return program


def _set_ids(task, node, mode):
    """The effective ids that the file's set-uid and set-gid bits give.

    In an image that the host user unpacked every file is that user's; a set-uid file there was root's.
    """
    if node.mount is None or task.creds.no_new_privs:
        return None, None
    if not mode & (stat.S_ISUID | stat.S_ISGID) and not task.machine.has_records:
        return None, None
    attributes = task.ns.stat(task.caller, node)
    mode = attributes.st_mode
    set_uid = set_gid = None
    if mode & stat.S_ISUID:
        set_uid = 0 if attributes.st_uid == task.caller.uid else attributes.st_uid
    if mode & stat.S_ISGID and mode & stat.S_IXGRP:
        set_gid = 0 if attributes.st_gid == task.caller.gid else attributes.st_gid
    return set_uid, set_gid
