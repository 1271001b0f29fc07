"""--trace: a strace-like line for every intercepted call. Imported only for that."""

import errno
import os

from ptrace.syscall.prototypes import SYSCALL_PROTOTYPES

from apppot import messages
from apppot.syscalls import dispatch
from apppot.syscalls.answer import Run, RunHere
from apppot.syscalls.decode import Fd, Int, Long, MaybePath, Path

_SHOWN = 200                               # characters of a name


class Trace:
    """Writes to `path`, or to standard error for b"-"."""

    def __init__(self, path):
        # Unbuffered by lines, so that a killed run's log is complete.
        self._file = None if path == b"-" else open(path, "w", buffering=1, errors="backslashreplace")
        self._name = path

    def _write(self, line):
        if self._name == b"-":
            messages.tell(line)
        elif self._file is not None:
            try:
                self._file.write(line + "\n")
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error):
        messages.tell(f"apppot-start: --trace {os.fsdecode(self._name)}: {error.strerror}; the rest of the log is lost")
        file, self._file = self._file, None
        _close(file)

    def call(self, task, number, arguments, answer):
        """A call was answered with `answer`; a result that is not known yet is written by result()."""
        text = f"{task.tid} {dispatch.name(number)}({', '.join(_arguments(task, number, arguments))})"
        if answer.__class__ is int:
            self._write(f"{text} = {_result(answer)}")
        else:
            if isinstance(answer, Run):
                values = ", ".join(_value(value) for value in answer.args.values())
                text += f" [{'here' if answer.__class__ is RunHere else 'run'}: {values}]"
            task.traced = text

    def result(self, task, result):
        if task.traced is not None:
            self._write(f"{task.traced} = {_result(result)}")
            task.traced = None

    def close(self):
        if self._file is not None:
            _close(self._file)


def _close(file):
    try:
        file.close()
    except OSError:                            # what is buffered can't be written
        return


def _arguments(task, number, values):
    """`name=value` of a call's arguments, as python-ptrace's prototypes have them, else as our handler does."""
    name = dispatch.name(number)
    if name in SYSCALL_PROTOTYPES:
        return [f"{argument}={_argument(task, kind, value)}"
                for (kind, argument), value in zip(SYSCALL_PROTOTYPES[name][1], values)]
    entry = dispatch.entry(number)
    if entry is None:
        return [hex(value) for value in values]
    kinds = {Path: "const char *", MaybePath: "const char *", Fd: "int", Int: "int", Long: "long"}
    return [_argument(task, kinds.get(decode, ""), values[index]) for index, decode in entry[1]]


def _argument(task, kind, value):
    if kind == "const char *":
        try:
            return _value(task.read_path(value)) if value else "NULL"
        except OSError:
            return hex(value)
    if kind in ("int", "long"):
        number = Int(task, value) if kind == "int" else Long(task, value)
        return "AT_FDCWD" if number == -100 else str(number)
    return hex(value)


def _value(value):
    if isinstance(value, bytes):
        text = os.fsdecode(value)
        return '"' + text.encode("unicode_escape").decode()[:_SHOWN].replace('"', '\\"') + '"'
    if isinstance(value, list):
        return f"[{len(value)} words]"
    return str(value)


def _result(value):
    if -4096 < value < 0:
        return f"-1 {errno.errorcode.get(-value, -value)} ({os.strerror(-value)})"
    return str(value)
