"""What a probe has found out about the host: a line of `apppot doctor`."""

OK, DEGRADED, MISSING = "ok", "degraded", "missing"


class Finding:
    """One line of `apppot doctor`. needed: without it no machine runs."""

    __slots__ = ("name", "state", "detail", "remedy", "needed")

    def __init__(self, name, state, detail, remedy="", needed=False):
        self.name = name
        self.state = state
        self.detail = detail
        self.remedy = remedy
        self.needed = needed

    def as_dict(self):
        return {name: getattr(self, name) for name in self.__slots__}


def read_text(path):
    """What is in a file of /proc or /sys, less blanks at its ends; None where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None
