"""Progress on standard error: a bar on a terminal, a line at the begin and the end of long work otherwise."""

import sys
import time

from apppot.cli import report
from apppot.image.progress import BYTES, Progress

SLOW = 2        # seconds after which plain output tells that the work is done


def for_command(program, quiet=False, stream=None, plain=False):
    """The Progress that a command passes on. stream: instead of standard error; plain: no bar, as other lines are shown."""
    if quiet:
        return Progress()
    shown = stream or sys.stderr
    if not plain and shown is not None and shown.isatty():
        return Bar(program, stream)
    return Lines(program, stream)


class Lines(Progress):
    def __init__(self, program, stream=None):
        self.program, self.stream = program, stream

    def on(self, program, stream, plain=False):
        return for_command(program, False, stream, plain)

    def begin(self, label, total=None, unit=BYTES):
        self._label = label
        self._start = time.monotonic()
        report.say(self.program, f"{label}{_size(total, unit)}", self.stream)

    def end(self):
        took = time.monotonic() - self._start
        if took >= SLOW and sys.exc_info()[0] is None:
            report.say(self.program, f"{self._label}: done in {took:.0f} s", self.stream)


def _size(total, unit):
    return f" ({size_text(total) if unit == BYTES else total})" if total else ""


def size_text(count):
    """1536 → "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return None


class Bar(Lines):
    """A bar of rich's, which is imported when there is something to show."""

    _bar = None

    def begin(self, label, total=None, unit=BYTES):
        try:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Columns
        except ImportError:
            super().begin(label, total, unit)
            return
        self._label, self._start = label, time.monotonic()
        self._bar = Columns(TextColumn("{task.description}", markup=False), BarColumn(),
                            DownloadColumn() if unit == BYTES else MofNCompleteColumn(), TimeRemainingColumn(),
                            console=Console(stderr=True, file=self.stream), transient=True)
        self._bar.start()
        if self.stream is not None:
            self._bar.console.show_cursor(True)         # who shows it for a machine may be killed at any time
        self._task = self._bar.add_task(label, total=total)

    def expect(self, total):
        if self._bar is not None:
            self._bar.update(self._task, total=total)

    def advance(self, amount):
        if self._bar is not None:
            self._bar.advance(self._task, amount)

    def end(self):
        if self._bar is None:
            super().end()
            return
        self._bar.stop()
        self._bar = None
