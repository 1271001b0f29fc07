"""Leaving the stub: at each of its instructions, with a real process that is stepped through it."""

import os
import re
import signal
import subprocess

import pytest
from elftools.elf.elffile import ELFFile

from apppot.kernel.interrupted import MISSED, leave_stub
from apppot.kernel.loading import stub_path
from apppot.platform import layout, libc, ptrace, tlb
from apppot.platform.memory import Memory
from apppot.platform.registers import COUNT, EFLAGS, R8, R9, R10, R12, R13, R14, R15, RAX, RBP, RBX, RDI, RDX, RIP, RSI, RSP
from apppot.stub import build

SOURCE = os.path.join(os.path.dirname(__file__), "programs", "stepped.c")
SYS_PTRACE, PTRACE_SINGLESTEP = 101, 9     # <linux/ptrace.h>
FSTAT, READ = 5, 0
ARITHMETIC = 0x8D5                         # the flags in eflags that calculations set
KEPT = (RDI, RSI, RDX, R10, R8, R9, RBX, RBP, R12, R13, R14, R15)
TAKEN = [layout.LENT_BASE + (number + 1) * layout.LENT_SIZE - layout.FRAME_SIZE + layout.FRAME_TAKEN
         for number in range(layout.LENT_STACKS)]


class Watched(Memory):
    """Keeps what is written to itself."""

    __slots__ = ("written",)

    def __init__(self, tid):
        super().__init__(tid)
        self.written = {}

    def write(self, address, data):
        self.written[address] = data


class Task:
    def __init__(self, tid):
        self.memory = Watched(tid)


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    """(the program, address of its site)."""
    made = tmp_path_factory.mktemp("stepped") / "stepped"
    subprocess.run([*build.compiler(), "-O1", "-static", "-I", build.SOURCE, "-o", made, SOURCE], check=True)
    with open(made, "rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name("site")
        return made, symbols[0]["st_value"]


class Steps:
    """States of a process in the stub, one for each instruction: (registers, numbers of the lent stacks that are taken)."""

    def __init__(self, stepped, entry, number, mode, taken=0):
        program, self.site = stepped
        self.process = subprocess.Popen([program, stub_path(), hex(entry), str(number), str(mode), str(taken)],
                                        stdin=subprocess.DEVNULL)
        self.tid = self.process.pid
        self.tracer = ptrace.Tracer()
        self.memory = Memory(self.tid)

    def __enter__(self):
        os.waitpid(self.tid, 0)
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()

    def taken(self):
        return {number for number, place in enumerate(TAKEN) if self.memory.read(place, 8) != bytes(8)}

    def step(self):
        """The registers after one more instruction."""
        libc.syscall("ptrace", SYS_PTRACE, PTRACE_SINGLESTEP, self.tid, 0, 0)
        _, status = os.waitpid(self.tid, 0)
        assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP, status
        self.tracer.get(self.tid)
        return list(self.tracer.regs)

    def __iter__(self):
        regs = self.step()
        while not layout.STUB_BASE <= regs[RIP] < layout.STUB_END:
            regs = self.step()
        while layout.STUB_BASE <= regs[RIP] < layout.STUB_END:
            yield regs, self.taken()
            regs = self.step()
        self.end = regs


CASES = [
    # entry, number, mode of the process, stacks that others have -> answered, lent
    (layout.FAST_ENTRY, FSTAT, tlb.PLAIN, 0, True, False), (layout.FAST_ENTRY, FSTAT, tlb.OFF, 0, False, False),
    (layout.FAST_CHECKED, FSTAT, tlb.PLAIN, 0, True, False), (layout.FAST_CHECKED, FSTAT, tlb.OFF, 0, False, False),
    (layout.FAST_CHECKED, READ, tlb.PLAIN, 0, False, False), (layout.FAST_CHECKED, -1, tlb.PLAIN, 0, False, False),
    (layout.FAST_LENT, FSTAT, tlb.PLAIN, 0, True, True), (layout.FAST_LENT, FSTAT, tlb.OFF, 0, False, True),
    (layout.FAST_LENT, FSTAT, tlb.PLAIN, 60, True, True), (layout.FAST_LENT, FSTAT, tlb.OFF, 63, False, True),
    (layout.FAST_LENT, FSTAT, tlb.PLAIN, 64, False, False), (layout.FAST_LENT, READ, tlb.PLAIN, 0, False, False),
    (layout.FAST_LENT, -1, tlb.PLAIN, 0, False, False),
]


@pytest.mark.parametrize("entry, number, mode, others, answered, lent", CASES)
def test_a_signal_at_each_instruction(stepped, entry, number, mode, others, answered, lent):
    """Wherever it comes, the task is at its site with its own registers, and has no lent stack any more."""
    before, seen = None, set()
    with Steps(stepped, entry, number, mode, others) as steps:
        for regs, taken in steps:
            before = before or regs
            ours = taken - set(range(others))
            seen |= ours
            assert len(ours) <= lent and taken - ours == set(range(others))
            task, left = Task(steps.tid), list(regs)
            assert leave_stub(task, left, lambda made: None), hex(regs[RIP])
            assert task.memory.written == {TAKEN[number]: bytes(8) for number in ours}, hex(regs[RIP])
            check(steps.site, before, left, answered, entry)
        assert len(seen) == lent and steps.taken() == set(range(others))
        check(steps.site, before, steps.end, answered, entry)
        assert steps.end[RIP] == steps.site + 2 * answered


def check(site, before, left, answered, entry):
    """`left`: registers where a task goes on that had `before` when it came to `entry`."""
    assert [left[register] for register in (*KEPT, RSP)] == [before[register] for register in (*KEPT, RSP)]
    if entry != layout.FAST_LENT:
        assert left[EFLAGS] & ARITHMETIC == before[EFLAGS] & ARITHMETIC
    if left[RIP] == site:
        assert left[RAX] | MISSED == before[RAX] | MISSED
    else:
        assert left[RIP] == site + 2 and answered and left[RAX] == 0


@pytest.mark.parametrize("rip", [layout.FAST_ASKED, layout.FAST_SWITCHING, layout.FAST_SWITCHING + 3, layout.FAST_GIVING])
@pytest.mark.parametrize("place", [0, layout.LENT_BASE - 1, layout.LENT_END, layout.FAST_STATE, layout.MAILBOX, (1 << 64) - 1])
def test_nothing_is_written_beside_the_lent_stacks(rip, place):
    """Whatever a guest has in its registers."""
    task, regs = Task(0), [place] * COUNT
    regs[RIP], regs[EFLAGS] = rip, 0
    assert leave_stub(task, regs, lambda made: None)
    assert task.memory.written == {}


def test_what_the_fast_path_needs_of_a_lent_stack(tmp_path):
    """By gcc's own account of the calls and frames in the stub: all below the frame of the registers, and a word for alignment."""
    sources = [os.path.join(build.SOURCE, name) for name in build.sources() if name.endswith(".c")]
    flags = [flag for flag in build.FLAGS if not flag.startswith("-Wl,")]
    subprocess.run([*build.compiler(), *flags, "-c", "-fcallgraph-info=su", *sources], cwd=tmp_path, check=True)
    text = "".join(path.read_text() for path in tmp_path.glob("*.ci"))
    size = {name: int(bytes_) for name, bytes_ in re.findall(r'node: { title: "([^"]+)".*?(\d+) bytes \(static', text)}
    calls = {}
    for caller, callee in re.findall(r'edge: { sourcename: "([^"]+)" targetname: "([^"]+)"', text):
        calls.setdefault(caller, set()).add(callee)

    def deepest(name):
        assert name == "commit" or name in size, name      # that is assembly, without a frame
        return 8 + size.get(name, 0) + max(map(deepest, calls.get(name, ())), default=0)

    assert 2000 < deepest("fast_call") < layout.LENT_SIZE - layout.FRAME_SIZE - 16 - 1024
