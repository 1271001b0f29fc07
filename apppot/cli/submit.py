"""apppot submit: hand a job to ARC or Slurm."""

import os
import sys

from apppot import quantities
from apppot.batch import job as jobs
from apppot.batch import jobfile
from apppot.cli import values
from apppot.cli.batch import QUIET
from apppot.cli.command import Command
from apppot.cli.options import Option, UsageError

OPTIONS = [
    Option("--file", "-f", metavar="JOB.yaml", convert=values.home,
           help="Take what is not said here from this job file; apppot-submit(1) lists its keys."),
    Option("--to", metavar="SITE",
           help="Where to: arc, slurm, or a name in ~/.config/apppot/sites.yaml. Default: the one site that this file names."),
    Option("--endpoint", metavar="URL", help="ARC: the computing element. Default: what ARC's own configuration says."),
    Option("--apppot", metavar="bundle|rte|auto", convert=values.one_of("bundle", "rte", "auto"),
           help="How AppPot comes to the node. bundle: the job brings it. rte: the ARC site has ENV/APPPOT-1.0. auto: the "
                "node's own, else the bundle. Default: bundle for ARC, auto for Slurm."),
    Option("--name", metavar="NAME", convert=jobfile.job_name, help="Begin of the job's identifier."),
    Option("--image", metavar="PATH|URL|site:NAME", convert=values.home,
           help="Image: a file here, which is brought unless sites.yaml says that the site has it; a URL that the site fetches; "
                "or an image of the site."),
    Option("--changes", metavar="FILE", convert=values.home, repeat=True,
           help="Bring this archive of changes and put it over the image. Repeatable."),
    Option("--input", "-i", metavar="FILE[=NAME]", convert=values.home, repeat=True,
           help="Bring this file, directory or URL, under its own name or NAME. Repeatable."),
    Option("--each", metavar="FILE", convert=values.home, repeat=True,
           help="Bring this file to a task of its own: as many tasks as there are. The word {input} in the command is its name. "
                "Repeatable."),
    Option("--output", "-o", metavar="NAME", convert=jobs.check_name, repeat=True,
           help="File, or directory with a final slash, that the job leaves and apppot fetch brings. Repeatable."),
    Option("--env", metavar="K=V", convert=values.assignment, repeat=True, help="Set a variable in the machine. Repeatable."),
    Option("--mem", metavar="NUM[M|G]", convert=quantities.size, help="Memory of a task."),
    Option("--time", metavar="T", convert=quantities.duration, help="Time of a task: 90 (seconds), 10m, 2h or HH:MM:SS."),
    Option("--processes", "-n", metavar="N", convert=quantities.count, help="Processors of a task, all on one node."),
    Option("--mpi", metavar="inside|pmi2", convert=values.one_of(*jobs.LAUNCHERS),
           help="inside (default): the command starts its ranks itself, in one machine. pmi2: srun of Slurm starts N machines, "
                "one for each rank, on as many nodes as it likes; those of a node share /dev/shm."),
    Option("--option", metavar="WORD", repeat=True, help="One more word for apppot-start, as --option=--root. Repeatable."),
    Option("--dry-run", help="Print what would be submitted, and submit nothing."),
    QUIET,
]


def described(chosen, words):
    """(Place, Job) of the options and the job file."""
    from apppot.batch import sites
    job, to = jobfile.read(chosen["file"]) if chosen["file"] else (jobs.Job(), None)
    place = sites.place(chosen["to"] or to)
    if chosen["endpoint"] is not None:
        if place.kind != "arc":
            raise UsageError("--endpoint goes with ARC")
        place.endpoint = chosen["endpoint"]
    if chosen["apppot"] is not None:
        if chosen["apppot"] not in sites.ORIGINS[place.kind]:
            raise UsageError(f"--apppot {chosen['apppot']}: for {place.kind} there are {', '.join(sites.ORIGINS[place.kind])}")
        place.apppot = chosen["apppot"]
    _change(job, chosen, words)
    if job.mpi != jobs.INSIDE and place.kind == "arc":
        raise UsageError(f"--mpi {job.mpi} goes with Slurm; at an ARC site one machine has all ranks (inside)")
    return place, job


def _change(job, chosen, words):
    """Put what the command line says over what the job file says."""
    for option, key in (("name", "name"), ("mem", "memory"), ("time", "time"), ("processes", "processes"), ("mpi", "mpi")):
        if chosen[option] is not None:
            setattr(job, key, chosen[option])
    if chosen["image"] is not None:
        image = chosen["image"]
        job.image = image if jobs.is_url(image) or image.startswith(jobs.SITE_IMAGE) else os.path.abspath(image)
    job.changes = job.changes + [os.path.abspath(path) for path in chosen["changes"]]
    try:
        job.inputs = job.inputs + [_input(text) for text in chosen["input"]]
        job.each = job.each + [jobs.input_pair(path) for path in chosen["each"]]
    except ValueError as error:
        raise UsageError(str(error)) from None
    job.outputs = job.outputs + chosen["output"]
    job.options = job.options + chosen["option"]
    job.env = job.env | {os.fsdecode(name): os.fsdecode(value) if value is not None else os.environ.get(os.fsdecode(name), "")
                         for name, value in chosen["env"]}
    job.command = words or job.command


def _input(text):
    """FILE[=NAME]; a file whose own name has an equals sign is taken as it is when it is there."""
    source, equals, name = text.rpartition("=")
    if not equals or os.path.lexists(text):
        return jobs.input_pair(text)
    return jobs.input_pair(source, name)


def run(command, chosen, words):
    from apppot.batch import submitting
    place, job = described(chosen, words)
    if chosen["dry_run"]:
        for name, text in submitting.dry_run(place, job).items():
            sys.stdout.buffer.write(f"# {name}\n{text}".encode(errors="surrogateescape"))
        return
    record = submitting.submit(place, job)
    print(record.id)
    if not chosen["quiet"]:
        tasks = f"{len(record.tasks)} tasks" if len(record.tasks) > 1 else "1 task"
        command.note(f"{tasks} submitted to {place.name}; apppot status {record.id} shows what becomes of it, "
                     f"apppot fetch {record.id} brings the results")


main = Command(
    "submit", run, "[options] [PROG ARGS...]",
    "Hand a job to a site through the clients that are installed here (arcsub, sbatch), and write down what was handed over. "
    "PROG is run in a machine at the site; without it ./apppot-run among the inputs, else the image's apppot-autorun. The job's "
    "identifier is printed. Options end at the first word that is none.", OPTIONS, (0, None),
    ("apppot submit --to slurm --image tools.squashfs --output result.txt sh -c 'echo done >result.txt'",), mixed=False)
