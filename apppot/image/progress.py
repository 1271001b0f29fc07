"""How long work is told about. The commands show it; a library user may pass an object of their own, or nothing."""

import io

BYTES, ITEMS = "bytes", "items"         # what work is counted in


class Progress:
    """Says nothing. `begin` one piece of work, `advance` it, `end` it; pieces don't overlap."""

    def begin(self, label, total=None, unit=BYTES):
        """label: one line, like "unpacking debian.tar"; total: how much there is to do, None as long as that isn't known."""

    def expect(self, total):
        """How much there is to do is known now."""

    def advance(self, amount):
        pass

    def end(self):
        pass

    def on(self, program, stream, plain=False):
        """A Progress like this one for a text stream of another program, also when this one is in use. plain: no bar."""
        return self


SILENT = Progress()


class Watched(io.RawIOBase):
    """A stream that tells how much was read of it."""

    def __init__(self, file, advance):
        super().__init__()
        self._file, self._advance = file, advance

    def readable(self):
        return True

    def read(self, size=-1):
        data = self._file.read(size)
        self._advance(len(data))
        return data

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[:len(data)] = data
        return len(data)
