"""Patterns of names that snapshots leave out.

One a line, `#` begins a comment. As with tar's --exclude-from: `*` and `?` match "/" too, a pattern may begin to match
behind any "/" of a name unless it begins with "/" itself, and what is below a directory that matches is left out too.
"""

import fnmatch
import os
import re

FILE = b"/var/lib/apppot/apppot-snap.exclude"


def matcher(text):
    """A function: name relative to the root (bytes) → whether the file's patterns (bytes) leave it out."""
    parts = []
    for line in text.splitlines():
        pattern = os.fsdecode(line.strip().rstrip(b"/"))
        if not pattern or pattern.startswith("#"):
            continue
        anchored = pattern.startswith(("/", "./"))
        pattern = pattern.removeprefix(".").lstrip("/") if anchored else pattern
        parts.append(("" if anchored else "(?:.*/)?") + fnmatch.translate(pattern))
    if not parts:
        return lambda name: False
    found = re.compile("|".join(parts), re.DOTALL).match
    return lambda name: found(os.fsdecode(name)) is not None
