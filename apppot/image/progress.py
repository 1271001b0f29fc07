"""How long work is told about. The commands show it; a library user may pass an object of their own, or nothing."""


class Progress:
    """Says nothing. `begin` one piece of work, `advance` it, `end` it; pieces don't overlap."""

    def begin(self, label, total=None):
        """label: one line, like "unpacking debian.tar"; total: how much there is to do, in bytes."""

    def advance(self, amount):
        pass

    def end(self):
        pass


SILENT = Progress()
