"""Values of a Run in the window."""

import struct

import pytest

from apppot.kernel.placing import NoRoom, place
from apppot.platform.layout import WINDOW_BASE
from apppot.platform.registers import ARGUMENTS, RDI, RDX, RSI
from apppot.platform.window import SLOT_SIZE, VECTOR_SIZE, VECTORS, Window
from apppot.syscalls.answer import Structure, Vector


class Task:
    slot = vector = None


@pytest.fixture
def window(tmp_path):
    window = Window(bytes(tmp_path / "window"))
    yield window
    window.close()


def at(window, address, length):
    offset = address - WINDOW_BASE
    return bytes(window._map[offset:offset + length])


def test_a_string_is_put_with_its_nul(window):
    task = Task()
    ((register, address),) = place(window, task, {1: b"/host/name"})
    assert register == RSI
    assert at(window, address, 11) == b"/host/name\0"


def test_numbers_become_register_values(window):
    assert place(window, Task(), {0: -1, 2: 7}) == [(RDI, 0xFFFFFFFFFFFFFFFF), (RDX, 7)]


def test_values_do_not_overlap_the_save_area(window):
    task = Task()
    window.save(window.new_slot(), *range(8))
    window.free_slot(window._free_slots[-1] if window._free_slots else 0x2000000)
    addresses = [address for _, address in place(window, task, {0: b"a" * 100, 1: b"b" * 100})]
    assert addresses[1] - addresses[0] > 100
    assert addresses[0] - WINDOW_BASE >= task.slot + 64


def test_a_vector_holds_strings_and_the_guests_own_pointers(window):
    ((_, address),) = place(window, Task(), {1: Vector([b"/bin/sh", b"-e", 0x1234])})
    words = struct.unpack("4Q", at(window, address, 32))
    assert at(window, words[0], 8) == b"/bin/sh\0"
    assert at(window, words[1], 3) == b"-e\0"
    assert words[2:] == (0x1234, 0)


def test_a_long_vector_gets_an_area_of_its_own(window):
    task = Task()
    ((_, address),) = place(window, task, {1: Vector([b"x", *range(1, SLOT_SIZE)])})
    assert task.vector is not None
    words = struct.unpack(f"{SLOT_SIZE + 1}Q", at(window, address, 8 * SLOT_SIZE + 8))
    assert words[1:] == (*range(1, SLOT_SIZE), 0)


def test_no_room_for_more_vectors_than_areas(window):
    huge = Vector([b"x", *range(1, SLOT_SIZE)])
    for _ in range(VECTORS):
        place(window, Task(), {1: huge})
    with pytest.raises(NoRoom):
        place(window, Task(), {1: huge})


def test_no_room_for_a_vector_beyond_the_stack_limit(window):
    with pytest.raises(NoRoom):
        place(window, Task(), {1: Vector([1] * (VECTOR_SIZE // 8 + 1))})


def test_a_structure_points_at_its_parts(window):
    ((register, address),) = place(window, Task(), {1: Structure(bytes(24), {8: b"part"})})
    assert register == ARGUMENTS[1]
    first, pointer, last = struct.unpack("3Q", at(window, address, 24))
    assert (first, last) == (0, 0)
    assert at(window, pointer, 5) == b"part\0"
