"""The filters: run by an interpreter of classic BPF, and by the kernel."""

import ctypes
import os
import struct

import pytest

from apppot.platform import layout, seccomp
from apppot.syscalls import table

ALLOW, TRACE = seccomp.RET_ALLOW, seccomp.RET_TRACE
START, END = 0x7E8200000000, 0x7E8200001000
ELSEWHERE = 0x401000
X86_64 = 0xC000003E
LIBC = ctypes.CDLL(None, use_errno=True)


def run(program, number, args=(), pointer=ELSEWHERE, arch=X86_64):
    """(answer, whether only architecture and number were looked at) of a filter."""
    args = [value & 0xFFFFFFFFFFFFFFFF for value in (*args, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, pointer, *args)
    steps = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at, value, constant = 0, 0, True
    while True:
        code, yes, no, k = steps[at]
        at += 1
        if code == 0x20:
            value, = struct.unpack_from("<I", data, k)
            constant = constant and k < 8
        elif code == 0x06:
            return k, constant
        elif code == 0x05:
            at += k
        elif code == 0x54:
            value &= k
        else:
            holds = {0x15: value == k, 0x25: value > k, 0x35: value >= k, 0x45: bool(value & k)}[code]
            at += yes if holds else no


@pytest.fixture(scope="module")
def base():
    return seccomp.base_filter(START, END)


def number(name):
    return table.by_name[name].number


def error(code):
    return seccomp.RET_ERRNO | code


@pytest.mark.parametrize("row", [row for row in table.ROWS if not row.rules], ids=lambda row: row.name)
def test_a_row_without_rules_is_answered_as_the_table_says(base, row):
    answer, constant = run(base, row.number)
    assert constant or row.flags & table.STUB
    assert answer == {table.NATIVE: ALLOW, table.TRACED: TRACE}.get(row.action, error(row.error))


@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: row.name)
def test_the_stub_may_make_what_its_flag_says(base, row):
    if row.action == table.TRACED:
        expected = ALLOW if row.flags & table.STUB else TRACE
        for pointer in (START, START + 2, END):
            assert run(base, row.number, pointer=pointer)[0] == expected
        for pointer in (START - 1, END + 1, START + (1 << 32), START - (1 << 32), START & 0xFFFFFFFF, 0):
            assert run(base, row.number, pointer=pointer)[0] == TRACE
    elif row.action == table.DENIED:
        assert run(base, row.number, pointer=START + 2)[0] == error(row.error)


def test_native_calls_need_neither_arguments_nor_instruction_pointer(base):
    for row in table.ROWS:
        if row.action == table.NATIVE and not row.rules:
            assert run(base, row.number) == (ALLOW, True), row


@pytest.mark.parametrize("unknown", [337, 400, 423, 471, 600, 0x3FFFFFFF])
def test_unknown_numbers_stop(base, unknown):
    assert run(base, unknown)[0] == TRACE


@pytest.mark.parametrize("x32", [0x40000000, 0x40000000 + 39, 0xFFFFFFFF, 0x80000000])
def test_x32_and_negative_numbers_do_not_exist(base, x32):
    assert run(base, x32)[0] == error(38)


def test_other_architectures_do_not_exist(base):
    assert run(base, 20, arch=0x40000003)[0] == error(38)


@pytest.mark.parametrize("name, args, answer", [
    ("clone", (0x3D0F00,), ALLOW),
    ("clone", (17,), ALLOW),
    ("clone", (0x10000000 | 17,), error(1)),
    ("clone", (0x20000,), error(1)),
    ("clone", (0x800000,), error(22)),
    ("unshare", (0x400,), ALLOW),
    ("unshare", (0x200,), TRACE),
    ("unshare", (0x20200,), error(1)),
    ("unshare", (0x80,), error(1)),
    ("fcntl", (3, 3), ALLOW),
    ("fcntl", (3, 8), TRACE),
    ("fcntl", (3, 15 | 1 << 32), TRACE),
    ("fcntl", (3, 1030), ALLOW),
    ("prctl", (15,), ALLOW),
    ("prctl", (36,), ALLOW),
    ("prctl", (4,), TRACE),
    ("prctl", (3,), TRACE),
    ("prctl", (0x59616D61,), TRACE),
    ("prctl", (35,), error(1)),
    ("prctl", (59,), error(22)),
    ("ioctl", (0, 0x5401), ALLOW),
    ("ioctl", (0, 0x40086602), error(95)),
    ("ioctl", (0, 0x40086602 | 1 << 40), error(95)),
    ("ioctl", (0, 0x4008941A), error(95)),
    ("ioctl", (0, 0x5412), error(5)),
    ("ioctl", (0, 0x8902), TRACE),
    ("setpriority", (0, 0), ALLOW),
    ("setpriority", (0, 1), TRACE),
    ("setpriority", (2, 0), TRACE),
    ("ioprio_set", (1, 0), ALLOW),
    ("ioprio_set", (3, 0), TRACE),
    ("prlimit64", (0, 7), ALLOW),
    ("prlimit64", (1 << 32, 7), ALLOW),
    ("prlimit64", (99, 7), TRACE),
    ("sendto", (3, 0, 0, 0, 0), ALLOW),
    ("sendto", (3, 0, 0, 0, 0x1000), TRACE),
    ("sendto", (3, 0, 0, 0, 1 << 32), TRACE),
    ("accept4", (3, 0), ALLOW),
    ("accept4", (3, 1), TRACE),
    ("socket", (10, 1), ALLOW),
    ("socket", (40, 1), error(97)),
    ("socket", (38, 1), error(97)),
    ("mmap", (0, 4096), ALLOW),
    ("mmap", (0x7F0000000000, 4096), ALLOW),
    ("mmap", (0x7E8100000000, 4096), TRACE),
    ("mmap", (0x7E80FFFFF000, 8192), TRACE),
    ("mmap", (0, 1 << 32), TRACE),
    ("munmap", (0x400000, 0x7FFFFFFFF000), TRACE),
    ("munmap", (0x7E8200000000, 4096), ALLOW),
    ("mremap", (0x7F0000000000, 4096, 4096, 3, 0x7E8100000000), TRACE),
    ("mremap", (0x7E8100000000, 4096, 4096, 1, 0), TRACE),
    ("mremap", (0x7F0000000000, 4096, 8192, 1, 0), ALLOW),
    ("madvise", (0x7E8100000000, 4096, 4), ALLOW),
    ("madvise", (0x7E8100000000, 4096, 10), TRACE),
    ("process_madvise", (3, 0, 1, 10), TRACE),
    ("process_madvise", (3, 0, 1, 20), TRACE),
    ("remap_file_pages", (0x7E8100000000, 4096), error(38)),
])
def test_rules_look_at_arguments(base, name, args, answer):
    assert run(base, number(name), args)[0] == answer


@pytest.mark.parametrize("name, args, answer", [
    ("socket", (1, 1), ALLOW),
    ("socket", (2, 1), ALLOW),
    ("socket", (10, 2, 132), error(93)),
    ("socket", (40, 1), error(97)),
    ("socket", (17, 3), error(97)),
    ("setsockopt", (3, 0, 35), TRACE),
    ("setsockopt", (3, 41, 20), TRACE),
    ("setsockopt", (3, 1, 35), ALLOW),
    ("listen", (0,), TRACE),
    ("listen", (3,), TRACE),
    ("read", (), ALLOW),
])
def test_without_a_network_other_families_are_refused(name, args, answer):
    assert run(seccomp.base_filter(START, END, "none"), number(name), args)[0] == answer


def test_where_the_stub_is_not_trusted_its_calls_stop():
    program = seccomp.base_filter(START, END, trusts=lambda row: row.name == "openat")
    assert run(program, number("openat"), pointer=START + 2)[0] == ALLOW
    assert run(program, number("stat"), pointer=START + 2)[0] == TRACE


@pytest.mark.parametrize("name, args, answer", [
    ("open", (0, os.O_RDONLY), ALLOW),
    ("open", (0, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), ALLOW),
    ("open", (0, os.O_RDONLY | os.O_TRUNC), TRACE),
    ("openat", (-100, 0, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC), ALLOW),
    ("openat", (-100, 0, os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC), ALLOW),
    ("openat", (-100, 0, os.O_RDONLY | os.O_TRUNC | os.O_CLOEXEC), TRACE),
    ("openat", (-100, 0, 3), ALLOW),
    ("openat", (-100, 0, 3 | os.O_TRUNC), TRACE),
    ("openat", (-100, 0, os.O_TRUNC | 1 << 32), TRACE),
    ("openat2", (-100, 0, layout.HOWS), ALLOW),
    ("openat2", (-100, 0, layout.HOWS + 63 * 32), ALLOW),
    ("openat2", (-100, 0, layout.HOWS + 64 * 32), TRACE),
    ("openat2", (-100, 0, layout.HOWS - 32), TRACE),
    ("openat2", (-100, 0, layout.HOWS + 8), TRACE),
    ("openat2", (-100, 0, layout.HOWS + 16), TRACE),
    ("openat2", (-100, 0, layout.HOWS + (1 << 32)), TRACE),
    ("openat2", (-100, 0, layout.HOWS & 0xFFFFFFFF), TRACE),
    ("openat2", (-100, 0, 0), TRACE),
    ("creat", (0, 0o600), ALLOW),
])
def test_the_stub_opens_only_what_the_kernel_sees_cut_off(name, args, answer):
    program = seccomp.base_filter(START, END, by_flags=True)
    assert run(program, number(name), args, START + 2)[0] == answer
    assert run(program, number(name), args)[0] == TRACE
    never = seccomp.base_filter(START, END, trusts=lambda row: False, by_flags=True)
    assert run(never, number(name), args, START + 2)[0] == TRACE


@pytest.mark.parametrize("flag", [table.IDENTITY, table.OWNERS])
def test_the_identity_filters_stop_what_shows_identities(flag):
    program = seccomp.identity_filter(START, END, flag=flag)
    assert run(program, number("fstat"))[0] == TRACE
    assert run(program, number("getuid"))[0] == (TRACE if flag == table.IDENTITY else ALLOW)
    for row in table.ROWS:
        expected = TRACE if row.flags & flag else ALLOW
        assert run(program, row.number)[0] == expected
        if expected == TRACE:
            stub = ALLOW if row.flags & table.STUB else TRACE
            assert run(program, row.number, pointer=START + 2)[0] == stub
        else:
            assert run(program, row.number)[1]
    assert run(program, 400) == (ALLOW, True)
    assert run(program, 20, arch=0x40000003)[0] == ALLOW


def test_the_search_is_short(base):
    depth = 0
    steps = [struct.unpack_from("<HBBI", base, at) for at in range(0, len(base), 8)]
    for row in table.ROWS:
        if row.action == table.NATIVE and not row.rules:
            at, length, value = 0, 0, 0
            while True:
                code, yes, no, k = steps[at]
                at, length = at + 1, length + 1
                if code == 0x20:
                    value = X86_64 if k == 4 else row.number
                elif code == 0x06:
                    break
                elif code == 0x05:
                    at += k
                else:
                    at += yes if {0x15: value == k, 0x35: value >= k}[code] else no
            depth = max(depth, length)
    assert depth <= 20


def test_a_stub_across_a_boundary_is_refused():
    with pytest.raises(ValueError, match="boundary"):
        seccomp.base_filter(0xFFFFFFFF, 0x100000001)


def install(program):
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    argument = Program(len(program) // 8, program)
    if LIBC.syscall(317, 1, 0, ctypes.byref(argument)):
        raise OSError(ctypes.get_errno(), "seccomp")


def under(programs, calls):
    """The errno (0: success) of each (number, *args), made in a child under the filters."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            assert LIBC.prctl(38, 1, 0, 0, 0) == 0
            for program in programs:
                install(program)
            results = []
            for call in calls:
                ctypes.set_errno(0)
                result = LIBC.syscall(*(ctypes.c_long(value) for value in call))
                results.append(ctypes.get_errno() if result == -1 else 0)
            os.write(writer, struct.pack(f"<{len(results)}i", *results))
        finally:
            os._exit(0)
    os.close(writer)
    data = b""
    while piece := os.read(reader, 4096):
        data += piece
    os.close(reader)
    os.waitpid(child, 0)
    return list(struct.unpack(f"<{len(data) // 4}i", data))


def test_the_kernel_agrees(base):
    """Nobody traces the child: a call that would stop is answered ENOSYS."""
    path = ctypes.create_string_buffer(b"/")
    buffer = ctypes.create_string_buffer(512)
    where = ctypes.addressof(path)
    calls = [
        (number("getpid"),),
        (number("stat"), where, ctypes.addressof(buffer)),
        (number("ptrace"), 0, 0, 0, 0),
        (number("bpf"), 0, 0, 0),
        (number("unshare"), 0x10000000),
        (number("prctl"), 36, 0, 0, 0, 0),
        (number("prctl"), 3, 0, 0, 0, 0),
        (number("getuid"),),
        (number("io_uring_setup"), 1, 0),
    ]
    assert under([base], calls) == [0, 38, 1, 1, 1, 0, 38, 0, 38]


def test_the_kernel_lets_the_stub_pass():
    """With the whole address space as the stub, translated calls are made."""
    everything = [seccomp.base_filter(high << 32, (high << 32) + 0xFFFFFFFF) for high in (_libc_high(),)]
    path = ctypes.create_string_buffer(b"/")
    buffer = ctypes.create_string_buffer(512)
    calls = [
        (number("stat"), ctypes.addressof(path), ctypes.addressof(buffer)),
        (number("mkdir"), ctypes.addressof(path), 0),
        (number("rmdir"), ctypes.addressof(path)),
        (number("symlink"), ctypes.addressof(path), ctypes.addressof(path)),
        (number("chmod"), ctypes.addressof(path), 0),
    ]
    assert under(everything, calls) == [0, 17, 38, 38, 38]


def test_the_kernel_stacks_the_identity_filter(base):
    """It comes first here: under the base filter only the stub may add filters by itself."""
    calls = [(number("getuid"),), (number("getpid"),), (number("setgroups"), 0, 0)]
    assert under([seccomp.identity_filter(START, END), base], calls) == [38, 0, 38]


def _libc_high():
    return ctypes.cast(LIBC.syscall, ctypes.c_void_p).value >> 32


def test_calls_that_make_tasks_stop_where_they_are_counted(base):
    counted = seccomp.base_filter(START, END, counted=True)
    for row in table.ROWS:
        for args in ((), (0x7E020000,), (0x10F00,)):
            expected = run(base, row.number, args)[0]
            if row.name in ("fork", "vfork", "clone") and expected == ALLOW:
                expected = TRACE
                assert run(counted, row.number, args, START + 2)[0] == TRACE, "from the stub's range too"
            assert run(counted, row.number, args)[0] == expected
