"""Where messages go: one line each on standard error, under the command's name."""

import os
import sys

from apppot import messages
from apppot.errors import STATUS_FAILED, AppPotError


def say(program, message, stream=None):
    """`stream`: instead of standard error. Where it can't be written the exit status still tells."""
    line = messages.shown(f"{program}: {message}")
    if stream is None:
        messages.tell(line)
        return
    try:
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError):
        pass


def guard(program, function, *arguments):
    """Return function's exit status; turn what goes wrong into one line and a status."""
    messages.occupy_standard_streams()
    if sys.stdout is None:                  # the caller has closed it: what is written is dropped, as by print()
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    try:
        status = function(*arguments)
        sys.stdout.flush()
        return status
    except AppPotError as error:
        say(program, error.message)
        for line in error.lines:
            messages.tell(f"  {messages.shown(line)}")
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _spare_output()
        return 141
    except OSError as error:
        if os.environ.get("APPPOT_DEBUG"):
            raise
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        say(program, f"{where}{error.strerror or error}")
        _spare_output()
        return STATUS_FAILED
    except Exception as error:
        if os.environ.get("APPPOT_DEBUG"):
            raise
        say(program, _told(error))
        return STATUS_FAILED


def _told(error):
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != "apppot":
        return f"{sys.executable} has no module {error.name}; install AppPot with pip, which brings what it needs"
    return f"internal error: {type(error).__name__}: {error}; set APPPOT_DEBUG=1 for the place, and please report it"


def _spare_output():
    """What can't be written any more is dropped, without the interpreter's own complaint at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
