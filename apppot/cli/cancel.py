"""apppot cancel: end jobs."""

from apppot.cli.batch import QUIET, records
from apppot.cli.command import Command


def run(command, chosen, words):
    from apppot.batch import record as states, submitting
    for record in records(words):
        count = submitting.cancel(record)
        if chosen["quiet"]:
            continue
        if len(record.numbers(states.UNSENT)) == len(record.tasks):
            command.note(f"{record.id}: the site does not have it; it is forgotten")
        else:
            command.note(f"{record.id}: {count} tasks cancelled" if count else f"{record.id}: it has ended")


main = Command(
    "cancel", run, "JOB...",
    "End the tasks of jobs that have not ended. What they left can be fetched. A job that the site does not have is forgotten.",
    [QUIET], (1, None))
