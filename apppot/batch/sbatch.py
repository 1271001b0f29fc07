"""The script that sbatch gets: one for all tasks of a job."""

from apppot.batch import script
from apppot.batch.job import BUNDLE, INSIDE, LOG, STARTED, STDERR, STDOUT

MEBIBYTE = 1 << 20
RANKS = ("--bind", "/dev/shm")      # where the ranks of a node meet

# Where a node has AppPot that knows `record`, that is used.
FIND = f"""\
apppot=../{BUNDLE}
if apppot record --help >/dev/null 2>&1; then apppot=apppot; fi
"""
CARRIED = f"apppot=../{BUNDLE}\n"


def write(record, image, changes):
    """The text. image: its name on the nodes, or None; changes: names on the nodes.

    Nothing that a user named stands in an #SBATCH line, where there is no way to quote: directories are said on sbatch's command
    line, and the output of the tasks is redirected by the script.
    """
    job, place = record.job, record.place
    numbers = sorted(record.tasks)
    ranks = job.mpi != INSIDE
    lines = ["#!/bin/sh", f"#SBATCH --job-name={record.id}"]
    if len(numbers) > 1:
        lines.append(f"#SBATCH --array={ranges(numbers)}")
    lines += [f"#SBATCH --output={LOG}.%{'a' if len(numbers) > 1 else 'j'}",
              *([f"#SBATCH --ntasks={job.processes}"] if ranks else
                ["#SBATCH --nodes=1", "#SBATCH --ntasks=1", f"#SBATCH --cpus-per-task={job.processes}"])]
    if job.memory is not None:
        per_node = -(-job.memory // MEBIBYTE)
        lines.append(f"#SBATCH --mem-per-cpu={per_node}M" if ranks else f"#SBATCH --mem={per_node}M")
    if job.time is not None:
        # Slurm counts minutes. One more lets the machine end first and say why.
        lines.append(f"#SBATCH --time={-(-job.time // 60) + 1}")
    lines += [f"task=${{SLURM_ARRAY_TASK_ID:-{numbers[0]}}}", 'cd "$task" || exit 125',
              f'echo "${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}" >{STARTED}', 'case $task in']
    for number in numbers:
        words = [*(RANKS if ranks else ()), *script.start_options(job, number, image, changes), "--", *job.words_of(number)]
        lines.append(f"{number}) set -- {script.quoted(words)} ;;")
    lines.append("esac")
    text = "\n".join(lines) + "\n" + (FIND if place.apppot == "auto" else CARRIED)
    if ranks:
        # A machine for each rank; srun ends them all, on whatever node they are.
        return text + f'{script.RECORD} srun --mpi={job.mpi} "$apppot" start "$@" >{STDOUT} 2>{STDERR}\n'
    return text + f'{script.RECORD} "$apppot" start --end-with $$ "$@" >{STDOUT} 2>{STDERR}\n'


def ranges(numbers):
    """sbatch's form of a list of numbers: 0-3,7"""
    found = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
