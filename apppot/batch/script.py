"""What all scripts that run on nodes share: words quoted for sh, and the options of apppot-start."""

import shlex

from apppot.batch.job import TASK

SLURM_UNIT = 1 << 20


def quoted(words):
    """Words for sh, where no byte of them means anything."""
    return " ".join(shlex.quote(word) for word in words)


def start_options(job, number, image, changes):
    """Options of apppot-start for a task. image: its name on the node, or None; changes: names on the node."""
    options = []
    if image is not None:
        options += ["--image", image]
    for name in changes:
        options += ["--changes", name]
    if job.memory is not None:
        options += ["--mem", f"{-(-job.memory // SLURM_UNIT)}M"]
    if job.time is not None:
        options += ["--timeout", str(job.time)]
    for name, value in job.variables_of(number).items():
        options += ["--env", f"{name}={value}"]
    return options + job.options


# The last command of every script: with exec, since the guest may be able to write to the script and to the bundle, and nothing
# of them may be read once it runs.
RECORD = f'exec "$apppot" record {TASK}'
