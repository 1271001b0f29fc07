"""Submitting, and finding out what became of it: the order in which things are written down."""

from apppot.batch import clients, job as jobs, record as records, site as sites
from apppot.errors import AppPotError


def dry_run(place, job):
    """{name: text} of what would be submitted."""
    jobs.check(job)
    record = records.Record(f"{job.name}-XXXXXXXX", 0, place, job, {number: records.Task() for number in job.tasks()})
    return sites.of(place).describe(record)


def submit(place, job, numbers=None):
    """Submit a job, or the tasks `numbers` of it: its Record. AppPotError: nothing, or not all, was submitted; it says so."""
    jobs.check(job)
    site = sites.of(place)
    for program in site.programs:
        clients.require(site.kind, program)
    record = records.create(place, job, job.tasks() if numbers is None else numbers)
    try:
        with record.locked():
            record.save()
            site.submit(record)
    except (AppPotError, OSError) as error:
        raise _not_submitted(site, record, error) from None
    return record


def _not_submitted(site, record, error):
    """What to say; the record is removed when it is sure that the site has nothing."""
    message = error.message if isinstance(error, AppPotError) else ": ".join(filter(None, (error.filename, error.strerror)))
    status = getattr(error, "status", AppPotError("").status)
    if not record.calling:
        forget(record)
        return AppPotError(message, status)
    try:
        with record.locked():
            site.search(record)
            record.save()
    except AppPotError:
        return AppPotError(f"{message}; the site can't be asked whether it has the job: apppot status {record.id} finds out "
                           "when it can")
    if record.numbers(records.SUBMITTING):
        return AppPotError(f"{message}; the site can't tell yet whether it has the job: apppot status {record.id}")
    sent = len(record.tasks) - len(record.numbers(records.UNSENT))
    if not sent:
        forget(record)
        return AppPotError(f"{message}; nothing was submitted", status)
    if sent == len(record.tasks):
        return AppPotError(f"{message}; but the site has it: apppot status {record.id}")
    return AppPotError(f"{message}; {sent} of {len(record.tasks)} tasks were submitted as {record.id}: apppot resubmit {record.id} "
                       "submits the others")


def forget(record):
    """Remove what a job that the site does not have has left here."""
    if record.workspace:
        sites.remove(record.workspace)
    record.remove()


def update(record):
    """Bring the record up to date; SiteDown. A record that is being submitted by another process is left alone."""
    with record.locked(wait=False) as held:
        if not held:
            return
        site = sites.of(record.place)
        if record.numbers(records.SUBMITTING):
            site.search(record)
            record.save()
        if record.numbers(records.QUEUED, records.RUNNING):
            site.look(record)
            record.save()


def cancel(record, numbers=None):
    """Cancel the tasks (default: all) that have not ended; how many there were. A job that the site does not have is forgotten."""
    update(record)
    if record.numbers(records.SUBMITTING):
        raise AppPotError(f"{record.id}: it is being submitted, or the site can't tell yet whether it has it; try again in a "
                          "minute")
    with record.locked():
        chosen = [number for number in record.numbers(records.QUEUED, records.RUNNING)
                  if numbers is None or number in numbers]
        if chosen:
            sites.of(record.place).cancel(record, chosen)
            record.save()
    if len(record.numbers(records.UNSENT)) == len(record.tasks):
        forget(record)
    return len(chosen)


def resubmit(record, everything=False):
    """The Record of a new job with the tasks of `record` that failed, got lost or were never submitted; SiteDown, AppPotError."""
    update(record)
    chosen = sorted(record.tasks) if everything else record.numbers(records.FAILED, records.LOST, records.UNSENT, records.CANCELLED)
    if not chosen:
        states = ", ".join(sorted({task.state for task in record.tasks.values()}))
        raise AppPotError(f"{record.id}: no task of it failed ({states}); --all submits all of them again")
    return submit(record.place, record.job, sorted(chosen))
