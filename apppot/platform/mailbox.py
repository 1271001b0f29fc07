"""The list of operations that the supervisor leaves in the stub's mailbox; the encoding of stub/loader.c."""

import struct

from apppot.platform.layout import MAILBOX, MAILBOX_SIZE

(JUMP, OPEN, RESERVE, MAP, ANONYMOUS, ZERO, AUXV, CLOSE, COMM, WINDOW, FILTER, NO_NEW_PRIVS, LANDLOCK, EXEC_STACK,
 WRITE, EXIT) = range(16)

ABSOLUTE = 0                       # a base that is 0: offsets are addresses
PROGRAM, INTERPRETER = 1, 2

_STRINGS = MAILBOX_SIZE // 2       # words in the first half, strings in the second


class Mailbox:
    """Collects operations; `bytes` operands become addresses of NUL-terminated strings in the mailbox."""

    def __init__(self):
        self._words = []
        self._strings = bytearray()

    def text(self, data):
        """Address of a copy of `data` followed by a NUL."""
        address = MAILBOX + _STRINGS + len(self._strings)
        self._strings += data + b"\0"
        return address

    def add(self, operation, *operands):
        self._words.append(operation)
        self._words += [self.text(operand) if isinstance(operand, bytes) else operand & 0xFFFFFFFFFFFFFFFF
                        for operand in operands]

    def encode(self):
        """The bytes to write at MAILBOX, or ValueError when they don't fit."""
        words = struct.pack(f"{len(self._words)}Q", *self._words)
        if len(words) > _STRINGS or len(self._strings) > MAILBOX_SIZE - _STRINGS:
            raise ValueError("the program has too many segments for the stub's mailbox")
        return words.ljust(_STRINGS, b"\0") + bytes(self._strings) if self._strings else words
