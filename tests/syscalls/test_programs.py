"""From a name to a program: `#!` lines and ELF headers."""

import glob
import os
from errno import EACCES, ELOOP, ENOENT, ENOEXEC

import pytest
from elftools.elf.elffile import ELFFile

from apppot.syscalls import elf, exec, programs
from apppot.syscalls.answer import Later
from apppot.vfs.caller import Caller
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay
from tests.syscalls.fake_task import FakeMachine, FakeTask, call


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


ELF_FILES = [path for path in sorted(glob.glob("/usr/bin/[a-c]*")) + ["/lib64/ld-linux-x86-64.so.2"]
             if os.access(path, os.R_OK) and os.path.isfile(path) and is_elf(path)][-40:]


@pytest.fixture
def task(tmp_path):
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "bin").mkdir()
    task = FakeTask()
    task.ns = Namespace(Overlay([bytes(tmp_path / "lower")], bytes(tmp_path / "upper"), bytes(tmp_path / "work")))
    task.caller = Caller(uid=os.getuid(), gid=os.getgid())
    task.machine = FakeMachine()
    task.machine.has_records = False
    task.machine.warnings = []
    task.machine.warn_once = lambda key, text: task.machine.warnings.append(text)
    task.lower = tmp_path / "lower"
    return task


def script(task, name, text, mode=0o755):
    path = task.lower / name
    path.write_bytes(text)
    path.chmod(mode)
    return b"/" + name.encode()


def find(task, path):
    return programs.find(task, task.ns.resolve(task.caller, path), path)


def static_program(task):
    """A guest copy of the stub: the smallest static program at hand."""
    from apppot.kernel.loading import stub_path
    with open(stub_path(), "rb") as file:
        return script(task, "bin/interp", file.read())


@pytest.mark.parametrize("line, prefix", [
    (b"#!/bin/interp\n", [b"/bin/interp", b"/s"]),
    (b"#! \t/bin/interp  -a b  \n", [b"/bin/interp", b"-a b", b"/s"]),
    (b"#!/bin/interp\t-x\ty\n", [b"/bin/interp", b"-x\ty", b"/s"]),
    (b"#!/bin/interp", [b"/bin/interp", b"/s"]),
    (b"#!/bin/interp -" + b"x" * 500, [b"/bin/interp", b"-" + b"x" * 240, b"/s"]),
])
def test_script_lines(task, line, prefix):
    static_program(task)
    assert find(task, script(task, "s", line)).prefix == prefix


@pytest.mark.parametrize("line, code", [
    (b"#!\n", ENOEXEC), (b"#!   \n", ENOEXEC), (b"#!/missing\n", ENOENT), (b"", ENOEXEC), (b"echo\n", ENOEXEC),
    (b"\x7fELF", ENOEXEC), (b"#!/" + b"x" * 300, ENOEXEC), (b"#!/bin\n", EACCES),
])
def test_what_is_no_program(task, line, code):
    with pytest.raises(OSError) as error:
        find(task, script(task, "s", line))
    assert error.value.errno == code


def test_chain_of_scripts(task):
    static_program(task)
    script(task, "a", b"#!/bin/interp 1\n")
    script(task, "b", b"#!/a 2\n")
    program = find(task, script(task, "s", b"#!/b 3\n"))
    assert program.prefix == [b"/bin/interp", b"1", b"/a", b"2", b"/b", b"3", b"/s"]
    assert program.path == b"/bin/interp" and program.name == b"/s"


@pytest.mark.parametrize("length, fine", [(5, True), (6, False)])
def test_chains_end_where_the_kernel_ends_them(task, length, fine):
    static_program(task)
    before = b"/bin/interp"
    for number in range(length):
        before = script(task, f"s{number}", b"#!" + before + b"\n")
    if fine:
        assert find(task, before).path == b"/bin/interp"
    else:
        with pytest.raises(OSError) as error:
            find(task, before)
        assert error.value.errno == ELOOP


def test_not_executable(task):
    with pytest.raises(OSError) as error:
        find(task, script(task, "s", b"#!/bin/interp\n", 0o644))
    assert error.value.errno == EACCES


def test_a_32_bit_program_is_named(task):
    header = bytearray(64)
    header[:5] = b"\x7fELF\x01"
    with pytest.raises(OSError) as error:
        find(task, script(task, "old", bytes(header)))
    assert error.value.errno == ENOEXEC
    assert task.machine.warnings == ["/old: a 32-bit program can't be run here"]


@pytest.mark.parametrize("path", ELF_FILES)
def test_headers_against_pyelftools(path):
    with open(path, "rb") as file:
        start = file.read(elf.HEADER_SIZE)
        ours, theirs = elf.parse(file.fileno(), start), ELFFile(file)
        loads = [s for s in theirs.iter_segments() if s["p_type"] == "PT_LOAD" and s["p_memsz"]]
        interpreter = [s.get_interp_name().encode() for s in theirs.iter_segments() if s["p_type"] == "PT_INTERP"]
        notes = {note["n_name"] for s in theirs.iter_segments() if s["p_type"] == "PT_NOTE" for note in s.iter_notes()}
    assert ours.entry == theirs["e_entry"] and ours.header_count == theirs["e_phnum"]
    assert ours.position_independent == (theirs["e_type"] == "ET_DYN")
    assert [ours.interpreter] if ours.interpreter else [] == interpreter
    assert ours.of_go == ("Go" in notes)
    assert [(s.address, s.offset, s.file_size, s.memory_size) for s in ours.segments] == [
        (s["p_vaddr"], s["p_offset"], s["p_filesz"], s["p_memsz"]) for s in loads]
    assert ours.headers == next(s["p_vaddr"] + theirs["e_phoff"] - s["p_offset"] for s in loads
                                if s["p_offset"] <= theirs["e_phoff"] < s["p_offset"] + s["p_filesz"])


def test_a_large_program_that_has_to_be_made_first(task, monkeypatch):
    """Of a lazy image: execve waits for a process beside the supervisor, and gives up waiting when that fails."""
    static_program(task)
    name = script(task, "s", b"#!/bin/interp\n")
    made = []

    def long_work(node, flags):
        if node.path == b"/bin/interp" and not made:
            return lambda: made.append(node.path) or 0
        return None

    monkeypatch.setattr(task.ns, "long_work", long_work)
    task.machine.stub, task.machine.sudo_file, task.machine.snap_file = b"/stub", b"", b""
    path = task.path(name)
    later = call(task, exec.execve, path, 0, 0)
    assert later.__class__ is Later and later.work() == 0 and made == [b"/bin/interp"]
    assert later.finish(0).args[0] == b"/stub" and task.program.path == b"/bin/interp"
    made.clear()
    task.program = task.ns.at(b"/bin/interp").program = None
    assert call(task, exec.execve, path, 0, 0).finish(-9).args[0] == b"/stub" and not made
