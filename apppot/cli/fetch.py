"""apppot fetch: bring results."""

import os

from apppot.cli import values
from apppot.cli.batch import QUIET, records
from apppot.cli.command import Command
from apppot.cli.options import Option, UsageError


def run(command, chosen, words):
    from apppot.batch import fetching, record as states, submitting
    found = records(words)
    if chosen["output"] and len(found) > 1:
        raise UsageError("-o names the directory of one job; say them one by one")
    well = True
    for record in found:
        target = os.path.abspath(os.fsdecode(chosen["output"])) if chosen["output"] else os.path.abspath(record.id)
        before = {number for number, task in record.tasks.items() if task.fetched}
        submitting.update(record)
        results = list(_tell(command, chosen["quiet"], fetching.fetch(record, target)))
        waiting = record.numbers(states.SUBMITTING, states.QUEUED, states.RUNNING)
        if waiting and not chosen["quiet"]:
            command.note(f"{record.id}: {len(waiting)} of {len(record.tasks)} tasks have not ended; "
                         f"apppot status {record.id} --watch waits")
        for number in record.numbers(states.LOST, states.UNSENT):
            command.note(f"{record.id}, task {number}: {record.tasks[number].state}; apppot resubmit {record.id} submits it again")
        if before and not results and not waiting and not chosen["quiet"]:
            command.note(f"{record.id}: fetched already, to {record.tasks[min(before)].fetched}")
        well = well and not record.numbers(states.FAILED, states.CANCELLED, states.LOST, states.UNSENT) and not waiting
    return 0 if well else 1


def _tell(command, quiet, results):
    """Say what came, and the end of what a failed task said."""
    for result in results:
        if result.problem:
            command.note(f"task {result.number}: {result.problem}; what it left is in {result.directory}")
            for line in result.tail:
                command.note(f"  {line}")
        elif not quiet:
            print(result.directory)
        yield result


main = Command(
    "fetch", run, "[-o DIR] JOB...",
    "Bring what the tasks that have ended left, with standard output and error (files stdout and stderr), into a directory "
    "of the job's name; of an array each task has its own in it, named by its number. Each file is compared with the size "
    "and digest that the job wrote down on the node, and the directory appears when all is there. Of a failed task comes "
    "what there is, with the site's log, and its last words are shown. What was fetched is removed at the site. Ends with 0 "
    "when all tasks are done and fetched, with 1 when one failed or has not ended.",
    [Option("--output", "-o", metavar="DIR", convert=values.path, help="Directory to make. Default: ./JOB."), QUIET], (1, None))
