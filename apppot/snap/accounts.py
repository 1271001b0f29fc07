"""The lines that AppPot puts into the guest's passwd and group are no changes: taken out of what is archived."""

import re

_OURS = {b"etc/passwd": re.compile(rb"user:x:\d+:\d+:AppPot user:/home/user:.*"),
         b"etc/group": re.compile(rb"user:x:\d+:")}
_ROOT = b"root:x:0:0:root:/root:/bin/sh"
FILES = frozenset(_OURS)


def without_ours(name, text, below):
    """What the file says without AppPot's line, as lines; `below`: text of the same file in the base."""
    ours = _OURS[name]
    lines, below = text.splitlines(), below.splitlines()
    kept = [line for line in lines if not ours.fullmatch(line)]
    if len(kept) == len(lines):
        return kept
    for at, line in enumerate(below):             # the image's own `user`, for which AppPot's stands
        if line.startswith(b"user:") and line not in kept and not any(old.startswith(b"user:") for old in kept):
            kept.insert(at, line)
    if name == b"etc/passwd" and kept[:1] == [_ROOT] and not any(line.startswith(b"root:") for line in below):
        kept.pop(0)
    return kept


def edited(name, text, below):
    """The contents to archive, or None when nothing but AppPot's line differs."""
    lines = without_ours(name, text, below)
    if lines == below.splitlines():
        return None
    return b"\n".join(lines) + b"\n" if lines else b""
