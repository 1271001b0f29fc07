"""execve and execveat: every guest program starts as an exec of the stub, which maps the program that is meant."""

import os
from errno import E2BIG, EINVAL, ELOOP, ENOENT

from apppot.syscalls import programs
from apppot.syscalls.answer import Later, Run, Vector
from apppot.syscalls.decode import Fd, Int, Path, Ptr
from apppot.syscalls.paths import node_of_descriptor
from apppot.vfs.node import Node

_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = -100, 0x100, 0x1000
_MAX_TEXT = 6 << 20                        # bytes of words and their pointers: bprm_stack_limits() in fs/exec.c
_MAX_WORDS = _MAX_TEXT // 9                # pointers to words that are empty


def execve(task, path: Path, argv: Ptr, envp: Ptr):
    return _exec(task, task.ns.resolve(task.caller, path), path, argv, envp, 0)


def execveat(task, dirfd: Fd, path: Path, argv: Ptr, envp: Ptr, flags: Int):
    if flags & ~(_AT_SYMLINK_NOFOLLOW | _AT_EMPTY_PATH):
        raise OSError(EINVAL, os.strerror(EINVAL))
    if not path:
        if not flags & _AT_EMPTY_PATH:
            raise OSError(ENOENT, os.strerror(ENOENT))
        node, name = _of_descriptor(task, dirfd), b"/dev/fd/%d" % dirfd
    else:
        start = None if path[:1] == b"/" else task.directory(dirfd)
        node = task.ns.resolve(task.caller, path, start, not flags & _AT_SYMLINK_NOFOLLOW)
        if node.kind == 0o120000:
            raise OSError(ELOOP, os.strerror(ELOOP))
        name = path if start is None or dirfd == _AT_FDCWD else b"/dev/fd/%d/%s" % (dirfd, path)
    return _exec(task, node, name, argv, envp, 1, None if name is path else dirfd)


def _closes(task, fd):
    """Whether exec closes the descriptor, from the octal flags in /proc/PID/fdinfo (proc(5))."""
    with open(b"/proc/%d/fdinfo/%d" % (task.tid, fd), "rb") as file:
        flags = next(line for line in file if line.startswith(b"flags:"))
    return bool(int(flags.split()[1], 8) & os.O_CLOEXEC)


def _of_descriptor(task, fd):
    """The node of an open file; a file without a name (memfd, deleted) is copied to where the stub can open it."""
    node = node_of_descriptor(task, fd)
    if node is not None:
        return node
    return Node.at(task.fd_link(fd), task.machine.copy_of_descriptor(task, b"/proc/%d/fd/%d" % (task.tid, fd)), 0o100000, None)


def _exec(task, node, name, argv, envp, index, fd=None, waited=False):
    """Answer for the call whose path is argument `index`; argv and envp are the two after it.

    `fd`: the descriptor that `name` goes through, or None; `waited`: a large file was made by a process beside us.
    """
    if node.kind == 0o100000 and node.mount is not None and node.mount.fs is task.machine.procfs and node.mount.fs.through(node):
        node = Node.at(os.readlink(node.host), task.machine.copy_of_descriptor(task, node.host), 0o100000, None)
    if node.host == task.machine.sudo_file:
        return _sudo(task, argv, envp, index)
    if node.host == task.machine.snap_file:
        return _snap(task, argv, index)
    try:
        program = programs.find(task, node, name, not waited)
    except programs.Unfilled as unfilled:
        return Later(unfilled.work, lambda status: _exec(task, node if node.mount is None else task.ns.at(node.path), name, argv,
                                                         envp, index, fd, True))
    except OSError:
        if node.mount is None:
            task.group.remove_temporary(node.host)
        raise
    if fd is not None and program.prefix is not None and _closes(task, fd):
        raise OSError(ENOENT, os.strerror(ENOENT))         # the interpreter could not open the script
    args = {index: task.machine.stub}
    if program.prefix is not None:
        args[index + 1] = Vector(program.prefix + read_vector(task, argv)[1:])
    if index:
        args[4] = 0
    task.program = program
    return Run(args)


def _sudo(task, argv, envp, index):
    """sudo is played here, by the supervisor, so that it works in any image, also in one without a C library."""
    from apppot.syscalls import sudo

    words, environment = read_words(task, argv), read_words(task, envp)
    program, words, environment = sudo.find(task, words, environment)
    args = {index: task.machine.stub, index + 1: Vector(words), index + 2: Vector(environment)}
    if index:
        args[4] = 0
    task.program = program
    return Run(args)


def _snap(task, argv, index):
    """apppot-snap is played here as well."""
    from apppot.syscalls import snap

    args = {index: task.machine.stub}
    if index:
        args[4] = 0

    def end(text, status, fd=2):
        task.program = snap.program(text, status, fd)
        return Run(args)

    return snap.answer(task, read_words(task, argv), end)


def read_words(task, address):
    """The words of an argv or envp in the guest; E2BIG when they are more than the kernel takes."""
    words, room = [], _MAX_TEXT
    for pointer in read_vector(task, address):
        words.append(task.read_string(pointer))
        room -= len(words[-1]) + 9
        if room < 0:
            raise OSError(E2BIG, os.strerror(E2BIG))
    return words


def read_vector(task, address):
    """The pointers of an argv or envp in the guest, without the final null."""
    pointers = []
    while address:
        chunk = task.read_some(address, 4096 - address % 4096 or 4096)
        if len(chunk) < 8:
            chunk = task.read(address, 8)
        words = memoryview(chunk[:len(chunk) & ~7]).cast("Q").tolist()
        if 0 in words:
            return pointers + words[:words.index(0)]
        pointers += words
        address += len(words) * 8
        if len(pointers) > _MAX_WORDS:
            raise OSError(E2BIG, os.strerror(E2BIG))
    return pointers
