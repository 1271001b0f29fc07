"""Standard error of a run: it may be closed, full, or a terminal that is gone, and the run goes on all the same."""

import os
import sys


# What a terminal would obey (ISO 6429): names of files and texts of images are shown, not obeyed.
_SHOWN = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {ord("\n"): "\\n", ord("\t"): "\\t"}


def shown(text):
    """`text` in one line, with its control characters written out."""
    return text.translate(_SHOWN)


def tell(text):
    """Write `text` as a line or several; what can't be written is dropped, and so is all that follows."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = None                      # the interpreter would try it again at its end, and exit with 120
    except AttributeError:                     # it was closed at the start
        pass


def occupy_standard_streams():
    """Open what the caller has closed of the descriptors 0, 1 and 2, so that no file of ours gets their numbers.

    exec closes them again: the guest finds them as the caller had them.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
