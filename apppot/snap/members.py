"""What a member of an archive says, as far as tarfile's own words don't do."""

import os

from apppot.errors import AppPotError
from apppot.image import tarstream

_LONGEST = 3500                       # bytes of a name; the host's path before it must fit in PATH_MAX too


class Refused(Exception):
    """Why a member can't be carried out."""


def clean(name):
    """A member's name as one relative to the root; refused when it could mean something outside."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    shown = os.fsdecode(name[:200])
    if b".." in parts:
        raise AppPotError(f"{shown!r}: the archive has a name with '..'; it is not merged")
    if b"\0" in name or sum(map(len, parts)) + len(parts) > _LONGEST:
        raise AppPotError(f"{shown!r}...: the archive has a name that can't be; it is not merged")
    return b"/".join(parts)


def mtime_ns(member):
    text = member.pax_headers.get("mtime")
    if text is None or not text.startswith("-") or "." not in text:
        return tarstream.mtime_ns(member)
    whole, _, fraction = text[1:].partition(".")
    if not (whole.isdecimal() and fraction.isdecimal()):
        return 0
    when = -(int(whole[:12]) * 10**9 + int((fraction + "0" * 9)[:9]))
    return when if when >= -(1 << 31) * 10**9 else 0


def device(member):
    try:
        return os.makedev(member.devmajor & 0xFFF, member.devminor & 0xFFFFF)
    except (OverflowError, ValueError):
        return 0
