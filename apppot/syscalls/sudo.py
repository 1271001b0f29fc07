"""`sudo` without a password, in every image.

A file stands at /usr/bin/sudo so that shells find it; executing it comes here. The options are those of sudo(8) that
have a meaning in a machine with one user who may do everything.
"""

import os

from apppot.syscalls import programs
from apppot.vfs import users

SECURE_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = {b"TERM", b"COLORTERM", b"DISPLAY", b"XAUTHORITY", b"LANG", b"LANGUAGE", b"TZ", b"LS_COLORS", b"COLUMNS", b"LINES",
         b"http_proxy", b"https_proxy", b"ftp_proxy", b"no_proxy", b"HTTP_PROXY", b"HTTPS_PROXY", b"NO_PROXY",
         b"DEBIAN_FRONTEND"}
_WITH_VALUE = b"ugpCDrtTURh"
_LONG_WITH_VALUE = {b"user": b"u", b"group": b"g", b"prompt": b"p", b"close-from": b"C", b"chdir": b"D", b"host": b"h",
                    b"command-timeout": b"T"}
_LONG = {b"login": b"i", b"shell": b"s", b"set-home": b"H", b"preserve-env": b"E", b"non-interactive": b"n",
         b"stdin": b"S", b"validate": b"v", b"reset-timestamp": b"k", b"remove-timestamp": b"K", b"list": b"l",
         b"version": b"V", b"background": b"b", b"askpass": b"A", b"preserve-groups": b"P", b"help": b"H?"}
_USAGE = b"usage: sudo [-EHinskvlV] [-u user] [-g group] [VAR=value] command [argument ...]\n"


class _Message(Exception):
    """Ends sudo with a text on a descriptor and a status."""

    def __init__(self, text, status=1, fd=2):
        self.answer = (fd, text, status)


class _Request:
    __slots__ = ("user", "group", "flags", "keep", "assignments", "command", "directory")


def find(task, words, environment):
    """(Program, argv, envp) that a `sudo` with these words leads to. OSError as exec has it."""
    try:
        request = _parse(words)
        return _find(task, request, environment)
    except _Message as message:
        program = programs.Program()
        program.path, program.name, program.say = b"/usr/bin/sudo", b"sudo", message.answer
        program.directory = program.elf = program.creds = program.set_uid = program.set_gid = program.prefix = None
        return program, words, environment


def _parse(words):
    request = _Request()
    request.user, request.group, request.flags, request.keep, request.directory = b"root", None, set(), set(), None
    rest = list(words[1:])
    while rest and rest[0][:1] == b"-" and rest[0] != b"-":
        word = rest.pop(0)
        if word == b"--":
            break
        if word[:2] == b"--":
            _long_option(request, word[2:], rest)
        else:
            _short_options(request, word[1:], rest)
    request.assignments = []
    while rest and b"=" in rest[0] and not rest[0].startswith((b"=", b"/")):
        request.assignments.append(rest.pop(0))
    request.command = rest
    return request


def _long_option(request, option, rest):
    name, has_value, value = option.partition(b"=")
    if name == b"preserve-env" and has_value:
        request.keep.update(value.split(b","))
    elif name in _LONG_WITH_VALUE:
        if not has_value and not rest:
            raise _Message(b"sudo: option '--%s' requires an argument\n%s" % (name, _USAGE))
        _set(request, _LONG_WITH_VALUE[name], value if has_value else rest.pop(0))
    elif name == b"help":
        raise _Message(_USAGE, 0, 1)
    elif name in _LONG:
        request.flags.add(_LONG[name])
    else:
        raise _Message(b"sudo: unrecognized option '--%s'\n%s" % (name, _USAGE))


def _short_options(request, letters, rest):
    for at in range(len(letters)):
        letter = letters[at:at + 1]
        if letter in (b"u", b"g") or letter in _WITH_VALUE and letter != b"h":
            value = letters[at + 1:] or (rest.pop(0) if rest else None)
            if value is None:
                raise _Message(b"sudo: option requires an argument -- '%s'\n%s" % (letter, _USAGE))
            _set(request, letter, value)
            return
        if letter == b"h":
            raise _Message(_USAGE, 0, 1)
        if letter not in b"AbEHnPSkKvVlisB":
            raise _Message(b"sudo: invalid option -- '%s'\n%s" % (letter, _USAGE))
        request.flags.add(letter)


def _set(request, letter, value):
    if letter == b"u":
        request.user = value
    elif letter == b"g":
        request.group = value
    elif letter == b"D":
        request.directory = value


def _find(task, request, environment):
    ns, caller, flags = task.ns, task.caller, request.flags
    if task.creds.no_new_privs:
        raise _Message(b"sudo: the \"no new privileges\" flag is set, which prevents sudo from running as root\n")
    if b"V" in flags:
        raise _Message(b"sudo of AppPot: no password, no policy\n", 0, 1)
    if b"l" in flags and not request.command:
        raise _Message(b"user may run the following commands:\n    (ALL : ALL) NOPASSWD: ALL\n", 0, 1)
    target = users.user_by_name(ns, caller, request.user)
    if target is None:
        if request.user != b"root":
            raise _Message(b"sudo: unknown user %s\n" % request.user)
        target = users.User(b"root", 0, 0, b"/root", b"/bin/sh")
    gid = target.gid
    if request.group is not None:
        gid = users.group_by_name(ns, caller, request.group)
        if gid is None:
            raise _Message(b"sudo: unknown group %s\n" % request.group)
    interactive = flags & {b"i", b"s"}
    if not request.command and not interactive:
        if flags & {b"v", b"k", b"K"}:
            raise _Message(b"", 0)
        raise _Message(_USAGE)
    new_environment = _environment(task, request, environment, target)
    words = _words(request, target, new_environment, interactive)
    path = users.command_path(ns, caller, words[0].lstrip(b"-") if interactive else words[0],
                              new_environment[b"PATH"])
    if path is None:
        raise _Message(b"sudo: %s: command not found\n" % words[0])
    if interactive:
        path = new_environment[b"SHELL"]
    node = ns.resolve(caller, path)
    if not node.kind:
        raise _Message(b"sudo: %s: command not found\n" % words[0])
    program = programs.find(task, node, path)
    program.creds = task.creds.become(target.uid, gid, users.groups_of(ns, caller, target))
    program.set_uid = program.set_gid = None
    program.directory = _go_to(task, request.directory, target.home if b"i" in flags else None)
    if program.prefix is not None:
        words = program.prefix + words[1:]
    return program, words, [b"%s=%s" % item for item in new_environment.items()]


def _go_to(task, directory, home):
    """The host directory of -D's directory or -i's home; None: stay. The task's own current directory is forgotten."""
    path = directory or home
    if path is None:
        return None
    try:
        node = task.ns.resolve(task.caller, path)
        host = task.ns.open(task.caller, node, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        if directory is None:
            return None                # a home that isn't there is none
        raise _Message(b"sudo: %s: %s\n" % (path, error.strerror.encode())) from None
    task.fs.forget_cwd()
    return host


def _environment(task, request, environment, target):
    old = dict(item.split(b"=", 1) for item in environment if b"=" in item)
    keep_all = b"E" in request.flags and b"i" not in request.flags
    new = {name: value for name, value in old.items()
           if keep_all or name in _KEPT or name in request.keep or name.startswith(b"LC_")}
    shell = target.shell if b"i" in request.flags else old.get(b"SHELL", target.shell)
    caller = users.user_by_id(task.ns, task.caller, task.caller.uid)
    new.update({b"PATH": SECURE_PATH, b"LOGNAME": target.name, b"USER": target.name, b"SHELL": shell,
                b"SUDO_USER": caller.name if caller else b"%d" % task.caller.uid,
                b"SUDO_UID": b"%d" % task.caller.uid, b"SUDO_GID": b"%d" % task.caller.gid,
                b"SUDO_COMMAND": b" ".join(request.command) or shell})
    if not keep_all or b"H" in request.flags or b"HOME" not in old:
        new[b"HOME"] = target.home
    new.update(item.split(b"=", 1) for item in request.assignments)
    return new


def _words(request, target, environment, interactive):
    if not interactive:
        return request.command
    shell = environment[b"SHELL"]
    name = shell.rsplit(b"/", 1)[-1]
    words = [b"-" + name if b"i" in request.flags else shell]
    if request.command:
        quoted = b" ".join(b"".join(bytes([c]) if chr(c).isalnum() or c in b"_-$" else b"\\" + bytes([c])
                                    for c in word) for word in request.command)
        words += [b"-c", quoted]
    return words
