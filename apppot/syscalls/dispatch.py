"""From a number to its handler: made when the number is first seen, so that a start imports only what it uses."""

from apppot import syscalls
from apppot.syscalls import table
from apppot.syscalls.decode import decoders_of

_entries = {}


def entry(number):
    """(handler, decoders) of system call `number`, or None when nobody handles it."""
    try:
        return _entries[number]
    except KeyError:
        row = table.by_number.get(number)
        if row is None:
            return None                    # not kept: a guest can make up many numbers
        handler = syscalls.handler(row.name) if row.stops else None
        found = _entries[number] = None if handler is None else (handler, decoders_of(handler))
        return found


def name(number):
    row = table.by_number.get(number)
    return row.name if row is not None else "unknown"
