"""--trace: a strace-like line for every intercepted call; --stats: how many there were."""

import errno
import os
import sys
import time

from apppot.syscalls import dispatch
from apppot.syscalls.answer import Run, RunHere
from apppot.syscalls.decode import Fd, Int, Long, MaybePath, Path

_SHOWN = 200                               # characters of a name


class Trace:
    """Writes to `path`, or to standard error for b"-"."""

    def __init__(self, path):
        # Unbuffered by lines, so that a killed run's log is complete.
        self._file = sys.stderr if path == b"-" else open(path, "w", buffering=1, errors="backslashreplace")

    def call(self, task, number, arguments, answer):
        """A call was answered with `answer`; a result that is not known yet is written by result()."""
        text = f"{task.tid} {dispatch.name(number)}({', '.join(_arguments(task, number, arguments))})"
        if answer.__class__ is int:
            self._file.write(f"{text} = {_result(answer)}\n")
        else:
            if isinstance(answer, Run):
                values = ", ".join(_value(value) for value in answer.args.values())
                text += f" [{'here' if answer.__class__ is RunHere else 'run'}: {values}]"
            task.traced = text

    def result(self, task, result):
        if task.traced is not None:
            self._file.write(f"{task.traced} = {_result(result)}\n")
            task.traced = None

    def close(self):
        if self._file is not sys.stderr:
            self._file.close()


def _arguments(task, number, arguments):
    entry = dispatch.entry(number)
    if entry is None:
        return [hex(value) for value in arguments]
    return [_argument(task, decode, arguments[index]) for index, decode in entry[1]]


def _argument(task, decode, value):
    if decode in (Path, MaybePath):
        try:
            return _value(task.read_path(value)) if value else "NULL"
        except OSError:
            return hex(value)
    if decode in (Fd, Int, Long):
        number = decode(task, value)
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


class Stats:
    """Counts of intercepted calls by number."""

    def __init__(self):
        self.counts = {}
        self._start = time.monotonic()

    def count(self, number):
        self.counts[number] = self.counts.get(number, 0) + 1

    def write(self, processes):
        """The summary, to standard error: the caller's standard output is the guest's."""
        total = sum(self.counts.values())
        seconds = time.monotonic() - self._start
        lines = [f"apppot-start: {total} calls intercepted in {seconds:.2f} s, {processes} processes"]
        for number, count in sorted(self.counts.items(), key=lambda item: -item[1]):
            lines.append(f"{count:10}  {dispatch.name(number)}")
        sys.stderr.write("\n".join(lines) + "\n")
