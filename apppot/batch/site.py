"""What the two kinds of sites have in common; `of` gives the one of a Place."""

import fcntl
import json
import os
import shutil
import stat

from apppot.batch import job as jobs
from apppot.batch import report
from apppot.errors import STATUS_USAGE, AppPotError

FICLONE = 0x40049409        # linux/fs.h


class Site:
    """kind and programs: the client's commands that must be there.

    Methods, all with a Record whose tasks they change:
        describe(record) -> {name: text}    what a dry run shows
        submit(record)      each task that is `submitting`: submitted and written down; AppPotError
        search(record)      tasks that are `submitting` and nobody is at it: found at the site, else `not submitted`, or left
                            as they are when the site can't tell yet; SiteDown
        look(record)        states of tasks that have not ended; SiteDown
        bring(record, number, directory)    what the task left at the site, into an empty host directory
        cancel(record, numbers)
        clean(record, numbers)              what was fetched may go
    """

    kind = programs = None

    def __init__(self, place):
        self.place = place

    def image_there(self, job):
        """Name of the image at the site, if it needn't be brought; None: it must, or there is none."""
        if job.image is None or jobs.is_url(job.image):
            return None
        if job.image.startswith(jobs.SITE_IMAGE):
            return job.image.removeprefix(jobs.SITE_IMAGE)
        if not self.place.images or not os.path.isfile(job.image):
            return None
        digest = report.digest(os.path.realpath(job.image))[1]
        return next((name for name, known in self.place.images.items() if known == digest), None)


def of(place):
    """The Site of a Place."""
    from apppot.batch.arc import Arc
    from apppot.batch.slurm import Slurm
    return {"arc": Arc, "slurm": Slurm}[place.kind](place)


def write_task(path, record, number):
    """The file by which `apppot record` knows what the task is to leave."""
    with open(path, "w", encoding="ascii") as file:
        json.dump({"job": record.id, "task": number, "outputs": record.job.outputs}, file)


def read_task(path):
    """Outputs that the file of write_task names; AppPotError."""
    try:
        with open(path, encoding="ascii") as file:
            outputs = json.load(file)["outputs"]
        return [jobs.check_name(name) for name in outputs]
    except OSError as error:
        raise AppPotError(f"{path}: {error.strerror}", STATUS_USAGE) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AppPotError(f"{path}: it is no task that apppot submit has written", STATUS_USAGE) from None


def write_bundle(path):
    """AppPot in one file."""
    from apppot.bundle import write
    write.write(path)


def copy(source, target):
    """Copy a file or directory with its modes; where the file system can share blocks, it does."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.isdir(source):
        _copy_file(source, target)
        return
    try:
        shutil.copytree(source, target, symlinks=True, copy_function=_copy_file)
    except shutil.Error as error:           # it holds (source, target, text) of all that failed, and no words of its own
        path, _, why = error.args[0][0]
        raise AppPotError(f"{path}: it can't be copied ({why.partition('] ')[2] or why})") from None


def remove(directory):
    """Remove a directory with all that is in it, also below directories that a guest has made read-only."""
    shutil.rmtree(directory, ignore_errors=True)
    if not os.path.isdir(directory) or os.path.islink(directory):
        return
    os.chmod(directory, 0o700)
    for top, names, _ in os.walk(directory):
        for path in (os.path.join(top, name) for name in names):
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(directory, ignore_errors=True)


def _copy_file(source, target, follow_symlinks=True):
    if not follow_symlinks and os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    if not stat.S_ISREG(os.stat(source).st_mode):
        raise AppPotError(f"{source}: neither a file nor a directory nor a link; take it out of what the job brings", STATUS_USAGE)
    with open(source, "rb") as old, open(target, "xb") as new:
        try:
            fcntl.ioctl(new, FICLONE, old.fileno())
        except OSError:
            shutil.copyfileobj(old, new, 1 << 20)
    shutil.copymode(source, target)
