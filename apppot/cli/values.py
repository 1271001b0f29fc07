"""Values of options: each function turns text into a value or says, as ValueError, what would be right."""

import os

from apppot.quantities import count, duration, is_whole, size    # for option tables, as values.size


def niceness(text):
    if not is_whole(text) or int(text) > 19:
        raise ValueError(f"{text!r} is not a whole number from 0 to 19")
    return int(text)


def descriptor(text):
    if not is_whole(text) or not 3 <= int(text) < 1 << 20:
        raise ValueError(f"{text!r} is not a descriptor from 3 up (0, 1 and 2 are always passed on)")
    return int(text)


def name(text):
    allowed = text.replace("-", "").replace("_", "").replace(".", "")
    if not (text.isascii() and allowed.isalnum() and text[0].isalnum() and len(text) <= 64):
        raise ValueError(f"{text!r} is not a name; use up to 64 letters, digits, '.', '-' and '_'")
    return text


def one_of(*words):
    def choose(text):
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text
    return choose


def home(text):
    """The path with a "~/" that the shell has left, as behind --image= and in COW:IMAGE."""
    return os.path.expanduser(text) if text[:2] in ("~/", b"~/") else text


def path(text):
    if not text:
        raise ValueError("the path is empty")
    return os.fsencode(home(text))


def absolute(text):
    """A guest path without `.`, `..` and doubled slashes."""
    if not text.startswith("/"):
        raise ValueError(f"{text!r} must be an absolute path of the guest, like /data")
    return b"/" + os.path.normpath(os.fsencode(text)).lstrip(b"/")


def assignment(text):
    """(name, value) of K=V; the value is None for K alone, which passes the caller's own value on."""
    key, equals, value = text.partition("=")
    if not key:
        raise ValueError(f"{text!r} has no name; write NAME=VALUE")
    return os.fsencode(key), os.fsencode(value) if equals else None


def bind(text):
    """(host, guest, read only) of HOST[:GUEST[:ro]]; the host side is not looked at yet."""
    form = "write HOST, HOST:GUEST or HOST:GUEST:ro"
    host, *rest = text.split(":")
    guest, mode = (rest + ["", ""])[:2]
    if not host or len(rest) > 2:
        raise ValueError(f"{text!r}: {form}")
    if len(rest) == 2 and mode not in ("ro", "rw"):
        raise ValueError(f"{text!r}: {mode!r} is neither ro nor rw; {form}")
    host = os.path.abspath(os.fsencode(home(host)))
    return host, absolute(guest) if guest else host, mode == "ro"
