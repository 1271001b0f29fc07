"""apppot record: what job scripts run on the node, around the machine."""

import os
import subprocess

from apppot.cli.command import Command
from apppot.cli.options import Option, UsageError
from apppot.errors import STATUS_NOT_FOUND, AppPotError


def exit_status(text):
    if not text.isdecimal() or not text.isascii() or int(text) > 255:
        raise ValueError(f"{text!r} is no exit status")
    return int(text)


def run(command, chosen, words):
    # All that is used afterwards is read before the guest runs.
    from apppot.batch import report, site
    task, *program = words
    if bool(program) == (chosen["status"] is not None):
        raise UsageError("name the command to run, or the --status of one that has ended")
    outputs = site.read_task(task)
    status = chosen["status"]
    if status is None:
        try:
            status = subprocess.call(program)
        except OSError as error:
            raise AppPotError(f"{program[0]}: {error.strerror}", STATUS_NOT_FOUND) from None
        status = status if status >= 0 else 128 - status
    report.write(os.path.dirname(os.path.abspath(task)), outputs, status)
    return status if chosen["status"] is None else 0


main = Command(
    "record", run, "[--status N] TASK [PROG ARGS...]",
    "Run PROG, which starts a machine, and then write down sizes and digests of what the task left, in apppot-report.json "
    "beside its file TASK. The exit status is PROG's. Job scripts of apppot submit run this on the node.",
    [Option("--status", metavar="N", convert=exit_status, help="Run nothing: a machine has ended with the status N.")],
    (1, None), mixed=False)
