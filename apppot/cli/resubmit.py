"""apppot resubmit: once more."""

from apppot.cli.batch import QUIET, records
from apppot.cli.command import Command
from apppot.cli.options import Option


def run(command, chosen, words):
    from apppot.batch import submitting
    for record in records(words):
        again = submitting.resubmit(record, chosen["all"])
        print(again.id)
        if not chosen["quiet"]:
            command.note(f"{len(again.tasks)} of {len(record.tasks)} tasks of {record.id} submitted again")


main = Command(
    "resubmit", run, "[--all] JOB...",
    "Submit the tasks of jobs again that failed, were cancelled, got lost or were never submitted, under a new identifier, "
    "which is printed. Tasks keep their numbers. Inputs, image and changes are taken from where they were, as they are now.",
    [Option("--all", "-a", help="Submit all tasks again."), QUIET], (1, None))
