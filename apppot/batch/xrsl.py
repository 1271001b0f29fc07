"""The job description that arcsub gets: one for each task."""

import os
import re

from apppot.batch import script
from apppot.batch.job import BUNDLE, LOG, REPORT, SCRIPT, STDERR, STDOUT
from apppot.errors import STATUS_USAGE, AppPotError

RTE = "ENV/APPPOT-1.0"
MEGABYTE = 1000 * 1000
MEBIBYTE = 1 << 20


class Files:
    """What a task brings. given: [(name, source)] of its inputs with directories taken apart; own: the same of AppPot's files."""

    def __init__(self, given, own):
        self.given, self.own = given, own


def write(record, number, files, image, changes):
    """The text. files: Files; image: its name on the node or at the site, or None; changes: names in the job directory."""
    job = record.job
    rte = record.place.apppot == "rte"
    pairs = files.own + files.given
    lines = [f"&(jobname={_string(record.id + '.' + str(number))})"]
    if rte:
        lines += _in_environment(job, number, files, image, changes)
    else:
        lines.append(f"(executable={_string(SCRIPT)})")
    # A URL stands as it is, a local file by its path; A-REX takes a source in its cache when it is a URL.
    lines.append(f"(inputFiles={_pairs(pairs)})")
    programs = [name for name, source in pairs
                if name in (SCRIPT, BUNDLE) or os.path.isfile(source) and os.access(source, os.X_OK)]
    if programs:
        lines.append(f"(executables={_strings(programs)})")
    lines.append(f"(outputFiles={_pairs((name, '') for name in [REPORT, *job.outputs])})")
    lines.append(f'(stdout={_string(tag(record, number))})(stderr="{STDERR}")(gmlog="{LOG}")')
    if job.processes > 1:
        lines.append(f"(count={job.processes})(countPerNode={job.processes})")
    if job.memory is not None:
        # ARC's memory is that of one slot, in MB of a million bytes.
        lines.append(f"(memory={-(-job.memory // MEGABYTE // job.processes)})")
    if job.time is not None:
        # Where AppPot is told of the limit itself, one more minute lets it end first and say why.
        lines.append(f'(wallTime="{-(-job.time // 60) + (not rte)} minutes")')
    return "\n".join(lines) + "\n"


def tag(record, number):
    """Name of the task's standard output at the site, by which it is found there: ARC tells it from the first moment on, and of
    jobs that were submitted elsewhere, too."""
    return f"{STDOUT}-{record.id}.{number}"


def job_script(record, number, image, changes):
    """What runs on the node of a site without our runtime environment. The machine ends with this script, the job's script above it
    (with GNU time between them at most sites) and what watches over that: the back end fork, asked to cancel a job, kills the
    last one alone. Those further up belong to the submission."""
    job = record.job
    words = script.start_options(job, number, image, changes) + ["--", *job.words_of(number)]
    return (f"#!/bin/sh\nset -- {script.quoted(words)}\nchmod +x ./{BUNDLE}\napppot=./{BUNDLE}\n"
            "process=$$ above=3\n"
            'while [ "$above" -gt 0 ] && [ -O "/proc/$process" ]; do\n'
            '    set -- --end-with "$process" "$@"\n'
            '    [ "$(cat "/proc/$process/comm")" = time ] || above=$((above - 1))\n'
            '    process=$(sed "s/.*) . \\([0-9]*\\) .*/\\1/" "/proc/$process/stat") || break\n'
            "done\n"
            f'{script.RECORD} "$apppot" start "$@"\n')


def _in_environment(job, number, files, image, changes):
    """Lines that let ENV/APPPOT-1.0 put the machine around the job's command."""
    words = job.words_of(number)
    if not words:
        raise AppPotError("the command is missing: with ENV/APPPOT-1.0 a job names its program", STATUS_USAGE)
    program = words[0].removeprefix("./")
    if not program.startswith("/") and program not in (name for name, _ in files.given):
        raise AppPotError(f"command {words[0]}: with ENV/APPPOT-1.0 the program is an input file, or is named by its absolute path "
                          "in the image", STATUS_USAGE)
    options = [word for name in changes for word in ("--changes", name)] + job.options
    lines = [f"(executable={_string(program)})"]
    if words[1:]:
        lines.append(f"(arguments={_strings(words[1:])})")
    lines.append(f"(runTimeEnvironment={_strings([RTE, image or '', *options])})" if image or options
                 else f"(runTimeEnvironment={_string(RTE)})")
    variables = job.variables_of(number)
    lines.append(f"(environment={_pairs(variables.items())})")
    return lines


def _string(text):
    """A word of xRSL: a quote in it is doubled. There is no way to write a line's end."""
    if "\n" in text or "\r" in text:
        raise AppPotError(f"{text!r}: a job description of ARC can't hold a line's end; write it into an input file", STATUS_USAGE)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise AppPotError(f"{text.encode(errors='surrogateescape')!r}: ARC's job descriptions hold UTF-8 text only; rename it",
                          STATUS_USAGE) from None
    return '"' + text.replace('"', '""') + '"'


def _strings(words):
    return " ".join(map(_string, words))


def _pairs(pairs):
    return "".join(f"({_strings(pair)})" for pair in pairs)


def check_names(inputs, outputs):
    """ARC loses newlines in the names of files, and then waits for them; arcget can't list directories with odd names, and asks the
    site for what stands before a question mark."""
    for name in outputs:
        if name.endswith("/") and not re.fullmatch(r"[A-Za-z0-9._/+-]+", name):
            raise AppPotError(f"output {name!r}: directories that ARC's client is to bring are named with letters, digits and ._+- "
                              "only; rename it", STATUS_USAGE)
        if "?" in name:
            raise AppPotError(f"output {name!r}: ARC's client can't bring files with a question mark in their names; rename it",
                              STATUS_USAGE)
    for name in inputs + outputs:
        if "\n" in name or "\r" in name:
            raise AppPotError(f"{name!r}: names of files can't have newlines at an ARC site; rename it", STATUS_USAGE)
