"""The list of operations that the supervisor leaves in the stub's mailbox; the encoding of stub/loader.c."""

import struct

from apppot.platform.layout import MAILBOX, MAILBOX_SIZE

(JUMP, OPEN, RESERVE, MAP, ANONYMOUS, ZERO, AUXV, CLOSE, COMM, WINDOW, FILTER, NO_NEW_PRIVS, LANDLOCK, EXEC_STACK,
 WRITE, EXIT, CHDIR, FAST) = range(18)

ABSOLUTE = 0                       # a base that is 0: offsets are addresses
PROGRAM, INTERPRETER = 1, 2

_WORD = struct.Struct("<Q")
_WORD_MASK = 0xFFFFFFFFFFFFFFFF


class Hint:
    """An operand that becomes an address when the mailbox is used: a multiple of `align`, a power of two."""

    def __init__(self, align):
        self.align = align


class Mailbox:
    """Collects operations; `bytes` operands become addresses of NUL-terminated strings, which follow the operations."""

    def __init__(self):
        self._words = []
        self._strings = bytearray()
        self._pointers = []            # indices of words that are offsets into the strings
        self._hint = None              # (index of the word, alignment)

    def add(self, operation, *operands):
        self._words.append(operation)
        for operand in operands:
            if isinstance(operand, bytes):
                self._pointers.append(len(self._words))
                self._words.append(len(self._strings))
                self._strings += operand + b"\0"
            elif isinstance(operand, Hint):
                self._hint = len(self._words), operand.align
                self._words.append(0)
            else:
                self._words.append(operand & _WORD_MASK)

    def encode(self):
        """The Encoded, or ValueError when it does not fit."""
        words = self._words
        start = MAILBOX + len(words) * 8
        if start + len(self._strings) > MAILBOX + MAILBOX_SIZE:
            raise ValueError("the program has too many segments for the stub's mailbox")
        for index in self._pointers:
            words[index] += start
        self._pointers = []
        return Encoded(struct.pack(f"{len(words)}Q", *words) + bytes(self._strings), self._hint)


class Encoded:
    """`data`: the bytes to write at MAILBOX."""

    def __init__(self, data, hint):
        self.data = data
        self._hint = hint

    def placed(self, address):
        """The bytes with the program's hint, if there is one, set to `address`."""
        if self._hint is None:
            return self.data
        index, align = self._hint
        data = bytearray(self.data)
        _WORD.pack_into(data, index * 8, address & -align)
        return data
