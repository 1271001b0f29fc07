"""Facts that C and Python both state."""

import os
import re
import subprocess

import pytest
from elftools.elf.elffile import ELFFile

from apppot.kernel.loading import stub_path
from apppot.kernel.patching import NUMBERS
from apppot.platform import inodes, layout, mailbox, tlb
from apppot.platform.window import SIZE

SOURCE = os.path.join(os.path.dirname(os.fsdecode(stub_path())))


def symbols():
    with open(stub_path(), "rb") as file:
        return {symbol.name: symbol["st_value"] for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols()}


@pytest.mark.parametrize("name", ["WINDOW_BASE", "STUB_BASE", "MAILBOX", "MAILBOX_SIZE", "FAST_STATE", "LENT_BASE", "LENT_SIZE",
                                  "LENT_STACKS", "FRAME_SIZE", "HOWS", "REMOVED", "COPIED"])
def test_header_and_module_agree(name):
    with open(os.path.join(SOURCE, "layout.h")) as file:
        value = re.search(rf"#define {name}\s+(\w+)", file.read()).group(1)
    assert int(value, 0) == getattr(layout, name)


def test_gadget_is_where_the_supervisor_sends_tasks():
    where = symbols()
    assert where["gadget"] == layout.GADGET
    assert where["gadget_return"] == layout.GADGET_RETURN
    assert where["_start"] == layout.GADGET_END


@pytest.mark.parametrize("label", ["fast_checked", "fast_unknown", "fast_lent", "fast_asked", "fast_entry", "fast_switching",
                                   "fast_body", "fast_end", "fast_popping", "fast_left", "fast_giving", "fast_given", "commit",
                                   "commit_made"])
def test_labels_of_the_fast_path_are_where_signals_look_for_them(label):
    assert symbols()[label] == getattr(layout, label.upper())


def test_the_stub_knows_the_calls_that_sites_are_patched_for():
    with open(stub_path(), "rb") as file:
        elf = ELFFile(file)
        file.seek(next(elf.address_offsets(symbols()["fast_numbers"])))
        bits = int.from_bytes(file.read(64), "little")
    assert {number for number in range(512) if bits >> number & 1} == NUMBERS


def test_the_fast_paths_compiled_code_is_where_signals_look_for_it():
    where = symbols()
    compiled = [where[name] for name in ("find", "fast_call", "load_program")]
    assert layout.FAST_CODE <= min(compiled) and max(compiled) < layout.STUB_END


def test_operations_have_the_numbers_of_the_loader():
    with open(os.path.join(SOURCE, "loader.c")) as file:
        numbers = dict(re.findall(r"\bOP_([A-Z_]+) = (\d+)", file.read()))
    assert {name: int(number) for name, number in numbers.items()} == {
        name: getattr(mailbox, name) for name in numbers}


def test_the_translation_cache_has_one_layout():
    """stub/fast.h against platform/tlb.py: constants by name, and an entry as the C compiler lays it out."""
    with open(os.path.join(SOURCE, "fast.h")) as file:
        text = file.read()
    numbers = {name: int(value) for name, value in re.findall(r"\b([A-Z_]+) = (\d+)", text)}
    assert [numbers[name] for name in ("TLB_ENTRIES", "TLB_PROBES", "TLB_TEXT", "TLB_HOST")] == [
        tlb.ENTRIES, tlb.PROBES, tlb.TEXT, tlb.HOST]
    assert [numbers[f"SPACE_{name}"] for name in ("DIRECTORY", "NAME", "CWD", "LIBRARY")] == [
        tlb.DIRECTORY, tlb.NAME, tlb.CWD, tlb.LIBRARY]
    assert [numbers[name] for name in ("LOADED", "NEARLY", "LOADING")] == [tlb.LOADED, tlb.NEARLY, tlb.LOADING]
    assert [numbers[f"CWD_{name}"] for name in ("UNKNOWN", "KNOWN", "SHARED")] == [tlb.CWD_UNKNOWN, tlb.CWD_KNOWN, tlb.CWD_SHARED]
    for name in ("MERGED", "PURE", "FILE", "ABSENT", "WRITABLE", "LISTABLE", "VERIFY", "DEEP", "RECORDED", "FOR_ROOT", "OWNED",
                 "INSIDE"):
        assert numbers[name] == getattr(tlb, name)
    assert [numbers[name] for name in ("INODE_BITS", "INODE_PROBES", "RECORD_BITS", "TOLD", "WHOLE", "NOTHING", "LISTED")] == [
        inodes.INODE_BITS, inodes.PROBES, inodes.RECORD_BITS, inodes.TOLD, inodes.WHOLE, inodes.NOTHING, inodes.LISTED]
    assert [numbers[f"FAST_{name}"] for name in ("OFF", "PLAIN", "ROOT")] == [tlb.OFF, tlb.PLAIN, tlb.ROOT]


def test_the_state_of_a_process_has_one_layout(tmp_path):
    """struct state of stub/fast.h, as the C compiler lays it out."""
    wanted = {"offsetof(struct state, loading)": layout.FAST_LOADING - layout.FAST_STATE,
              "offsetof(struct state, hits)": layout.FAST_HITS - layout.FAST_STATE,
              "offsetof(struct state, cwd)": layout.FAST_CWD - layout.FAST_STATE,
              "sizeof ((struct state *)0)->hits / 4": layout.HITS,
              "offsetof(struct frame, taken)": layout.FRAME_TAKEN,
              "FAST_STATE + FAST_STATE_SIZE": layout.LENT_BASE}
    lines = [f'_Static_assert({expression} == {value}, "{value}");' for expression, value in wanted.items()]
    (tmp_path / "a.c").write_text("\n".join(["#include <stddef.h>", '#include "fast.h"', *lines, ""]))
    subprocess.run(["gcc", "-fsyntax-only", "-I", SOURCE, tmp_path / "a.c"], check=True)


def test_segments_of_the_stub():
    with open(stub_path(), "rb") as file:
        segments = [s for s in ELFFile(file).iter_segments() if s["p_type"] == "PT_LOAD"]
    text, data = segments
    assert text["p_vaddr"] == layout.STUB_BASE and text["p_memsz"] <= layout.STUB_END - layout.STUB_BASE
    assert data["p_vaddr"] == layout.MAILBOX
    assert layout.FAST_STATE == layout.MAILBOX + layout.MAILBOX_SIZE
    assert layout.LENT_END == data["p_vaddr"] + data["p_memsz"]
    assert text["p_flags"] == 5 and data["p_flags"] == 6
    assert layout.WINDOW_BASE + SIZE <= layout.STUB_BASE, "brk, which starts behind the stub, must not meet the window"
