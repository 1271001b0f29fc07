"""Puts the values of a Run into the window, where the guest can read but not write them."""

import struct

from apppot.platform.registers import ARGUMENTS
from apppot.platform.window import SAVE_AREA, SLOT_SIZE, VECTOR_SIZE
from apppot.syscalls.answer import Structure, Vector

_MASK = 0xFFFFFFFFFFFFFFFF


class NoRoom(Exception):
    """The window has no place for it."""


def place(window, task, args):
    """[(register, value)] for the arguments `args` of a Run; the task has a slot afterwards. NoRoom."""
    if task.slot is None:
        task.slot = window.new_slot()
        if task.slot is None:
            raise NoRoom
    area = _Area(window, task)
    return [(ARGUMENTS[index], area.place(value)) for index, value in args.items()]


class _Area:
    """What is left of a task's slot and, once the slot is full, of its vector area."""

    __slots__ = ("window", "task", "offset", "end")

    def __init__(self, window, task):
        self.window, self.task = window, task
        self.offset, self.end = task.slot + SAVE_AREA, task.slot + SLOT_SIZE

    def place(self, value):
        """The register's value: an int as it is, for anything else the guest address where it was put."""
        if value.__class__ is bytes:
            return self._put(value)
        if value.__class__ is Vector:
            return self._vector(value)
        if value.__class__ is Structure:
            return self._structure(value)
        return value & _MASK

    def _put(self, data):
        offset = self.offset
        if offset + len(data) + 1 > self.end:
            raise NoRoom
        self.offset += len(data) + 8 & ~7
        return self.window.put(offset, data)

    def _structure(self, value):
        data = bytearray(value.data)
        for offset, target in value.pointers.items():
            struct.pack_into("<Q", data, offset, self._put(target))
        return self._put(bytes(data))

    def _vector(self, words):
        size = sum(len(word) + 8 for word in words if word.__class__ is bytes) + 8 * len(words) + 16
        if self.offset + size > self.end:
            self._enlarge()
        pointers = [self._put(word) if word.__class__ is bytes else word for word in words]
        return self._put(struct.pack(f"<{len(pointers) + 1}Q", *pointers, 0))

    def _enlarge(self):
        """Go on in one of the few large areas; a task keeps it until its exec."""
        task = self.task
        if task.vector is None:
            task.vector = self.window.new_vector()
            if task.vector is None:
                raise NoRoom
        if not task.vector <= self.offset < task.vector + VECTOR_SIZE:
            self.offset, self.end = task.vector, task.vector + VECTOR_SIZE
