"""apppot status: what became of jobs."""

import sys
import time

from apppot import quantities
from apppot.cli.batch import records
from apppot.cli.command import JSON, Command
from apppot.cli.options import Option

SECONDS = 5


def _rows(found, detailed):
    """Rows of the table: a line for each job, or for each task."""
    for record in found:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
        if detailed:
            for number, task in sorted(record.tasks.items()):
                yield record.id, str(number), task.state + (", fetched" if task.fetched else ""), record.place.name, made, task.why
        else:
            counts = {}
            for task in record.tasks.values():
                counts[task.state] = counts.get(task.state, 0) + 1
            state = ", ".join(f"{count} {state}" for state, count in counts.items()) if len(record.tasks) > 1 else next(iter(counts))
            fetched = all(task.fetched for task in record.tasks.values())
            why = next((task.why for task in record.tasks.values() if task.why), "")
            yield record.id, str(len(record.tasks)), state + (", fetched" if fetched else ""), record.place.name, made, why


def _as_dict(record):
    return {"id": record.id, "site": record.place.name, "kind": record.place.kind, "created": record.created,
            "tasks": [{"number": number} | task.as_dict() for number, task in sorted(record.tasks.items())]}


def _look(command, found):
    """Bring records up to date; whether all sites could be asked. A site that is down is told once."""
    from apppot.batch import submitting
    from apppot.errors import AppPotError
    complaints = {}
    for record in found:
        try:
            submitting.update(record)
        except AppPotError as error:
            complaints.setdefault(error.message, record.id)
    for message, id in complaints.items():
        command.note(f"{id}: {message}; what is shown was known before")
    return not complaints


def _chosen(chosen, words):
    from apppot.batch import record
    if words:
        return records(words)
    return [entry for entry in record.known()
            if chosen["all"] or not all(task.fetched for task in entry.tasks.values())]


def _has_ended(found):
    from apppot.batch import record
    return not any(entry.numbers(record.SUBMITTING, record.QUEUED, record.RUNNING) for entry in found)


def run(command, chosen, words):
    from apppot.cli.image.command import print_json, print_table
    titles = ("JOB", "TASK" if words else "TASKS", "STATE", "SITE", "SUBMITTED", "WHY")
    shown = None
    while True:
        found = _chosen(chosen, words)
        known = _look(command, found)
        rows = list(_rows(found, bool(words)))
        if chosen["json"] and not chosen["watch"]:
            print_json([_as_dict(record) for record in found])
        elif rows != shown:
            if shown is not None and sys.stdout.isatty():
                sys.stdout.write("\033[H\033[2J")
            print_json([_as_dict(record) for record in found]) if chosen["json"] else print_table(titles, rows, (1,))
            sys.stdout.flush()
        if not chosen["watch"] or _has_ended(found):
            return 0 if known else 125
        shown = rows
        time.sleep(SECONDS if chosen["watch"] is True else chosen["watch"])


main = Command(
    "status", run, "[options] [JOB...]",
    "Show what became of the jobs (an identifier or its begin), task by task; without one, of all whose results were not fetched. "
    "A job whose submission was interrupted is looked for at its site. States: submitting, not submitted (the site does not have "
    "it), queued, running, done, failed, cancelled, lost (neither the site nor the job says how it ended). Ends with 125 when a "
    "site could not be asked.",
    [Option("--all", "-a", help="Also the jobs whose results were fetched."),
     Option("--watch", "-w", metavar="[SECONDS]", convert=quantities.count,
            help="Look again every 5 or so many seconds, print what changed, and end when all have ended."),
     JSON], (0, None), ("apppot status --json",))
