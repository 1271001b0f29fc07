"""Which machine code is a call site, and what becomes of it; GNU as and objdump say what the bytes mean."""

import re
import shutil
import struct
import subprocess

import pytest

from apppot.platform import sites, trampolines
from apppot.platform.layout import FAST_CHECKED, FAST_ENTRY, FAST_LENT

NUMBERS = {2, 4, 257, 262}


def assemble(tmp_path, source):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.fail("no C compiler: apt-get install gcc", pytrace=False)
    (tmp_path / "a.s").write_text(source + "\n")
    subprocess.run([compiler, "-c", "-o", tmp_path / "a.o", tmp_path / "a.s"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", tmp_path / "a.o", tmp_path / "a.bin"], check=True)
    return (tmp_path / "a.bin").read_bytes()


MOVES = [
    "mov %rsi, %rdx", "mov %esi, %edi", "mov %r8, %r10", "mov %r12d, %r9d", "xor %edx, %edx", "xor %r10d, %r10d",
    "movslq %edi, %rdi", "movslq %r13d, %rdi", "mov 8(%rsp), %r10", "mov (%rsp), %edi", "mov 0x120(%rsp), %rdx", "mov $1, %esi",
    "mov $0x100, %r10d", "mov $-100, %rdi", "lea 8(%rsp), %rsi", "mov 16(%rbp), %rsi", "mov (%r12), %rdi", "mov %rax, %rcx",
    "mov (%rbx), %rsi", "movslq 4(%rsp), %rdi",
]
OTHERS = [
    "mov %edi, %eax", "xor %eax, %eax", "mov $5, %eax", "mov 8(%rsp), %rax", "mov %rdi, %rsp", "lea 8(%rsp), %rsp", "push %rdi",
    "mov %rdi, 8(%rsp)", "lea 1f(%rip), %rsi", "mov 1f(%rip), %rsi", "jmp 1f", "call 1f", "mov %fs:0x28, %rdx",
    "mov (%rdi,%rsi), %rdx", "mov (,%rdi,8), %rsi", "mov (%r13,%rsi,8), %rsi", "xor %edi, %esi", "cmp %edi, %esi", "add $1, %edi",
    "movabs $0x1234567812345678, %rdi", "mov %di, %si", "mov %dil, %sil", "nop", "mov 8, %rdi", "cmove %edi, %esi", "ret",
    "movq $7, (%rsp)", "xchg %rdi, %rsi", "movb $1, %sil", "movaps %xmm0, %xmm1", "rep stosq", "movl $-1, 8(%rsp)",
]


@pytest.mark.parametrize("instruction", MOVES)
def test_moves_may_stand_before_the_syscall(tmp_path, instruction):
    code = assemble(tmp_path, f"ret; mov $262, %eax; {instruction}; syscall; ret; .balign 64; 1:")
    found, others = sites.find(code, 0, len(code), NUMBERS)
    assert [(site.start, site.displaced, site.entry) for site in found] == [(1, 5, FAST_ENTRY)]
    assert code[found[0].syscall:found[0].syscall + 2] == b"\x0f\x05" and not others


@pytest.mark.parametrize("instruction", OTHERS)
def test_nothing_else_may(tmp_path, instruction):
    code = assemble(tmp_path, f"ret; mov $262, %eax; {instruction}; syscall; ret; .balign 64; 1: .quad 0, 0")
    assert not sites.find(code, 0, len(code), NUMBERS)[0]


@pytest.mark.parametrize("number", ["%r8d", "%r10d"])
def test_a_number_in_another_register_is_none(tmp_path, number):
    code = assemble(tmp_path, f"ret; mov $262, {number}; syscall; ret; .balign 64")
    assert sites.find(code, 0, len(code), NUMBERS) == ([], [])


def test_what_can_not_be_patched_is_counted(tmp_path):
    code = assemble(tmp_path, "ret; mov $262, %eax; add $1, %edi; syscall; ret; mov $2, %eax; xchg %eax, (%rdi);"
                              "mov $202, %eax; syscall; mov $39, %eax; syscall; ret; .balign 64")
    assert sites.find(code, 0, len(code), NUMBERS) == ([], [1])


ANY_CALL = {
    "glibc": ("mov %rdi, %rax; mov %rsi, %rdi; mov %rdx, %rsi; mov %rcx, %rdx; mov %r8, %r10; mov %r9, %r8", "mov 8(%rsp), %r9", ""),
    "musl-cp": ("mov %rdi, %rax; mov %r8, %r10; mov %rsi, %rdi; mov %r9, %r8; mov %rdx, %rsi", "mov 8(%rsp), %r9",
                "mov %rcx, %rdx"),
    "musl-cp-asm": ("mov 8(%rsp), %r8; mov 16(%rsp), %r9", "mov %r11, 8(%rsp)", ""),
    "musl-syscall": ("mov 8(%rdx), %rdi; movl $8, (%rsp)", "mov 16(%rdx), %rsi; mov 24(%rdx), %rdx", ""),
}


@pytest.mark.parametrize("name", ANY_CALL)
def test_functions_that_make_any_call(tmp_path, name):
    before, displaced, after = ANY_CALL[name]
    code = assemble(tmp_path, f"ret; {before}; 1: {displaced}; {after}; syscall; ret; .balign 64")
    (site,), others = sites.find(code, 0, len(code), NUMBERS)
    start = len(assemble(tmp_path, f"ret; {before}"))
    assert (site.start, site.displaced, site.entry) == (start, len(assemble(tmp_path, displaced)), FAST_CHECKED)
    assert site.displaced >= trampolines.JUMP_SIZE and not others


GO = {
    "moves": ("mov %rsi, %r10; mov %rdi, %rdx", "mov %rcx, %rsi; mov %rbx, %rdi"),
    "loads": ("mov 0x10(%rsp), %rdi; mov 0x18(%rsp), %rsi; mov 0x20(%rsp), %rdx; movq $0, %r10; movq $0, %r8; movq $0, %r9",
              "mov 8(%rsp), %rax"),
    "loads of six": ("mov 0x28(%rsp), %r10; mov 0x30(%rsp), %r8; mov 0x38(%rsp), %r9", "mov 8(%rsp), %rax"),
}
GO_FAILED = "cmp $-4095, %rax; jbe 1f; neg %rax; 1: ret"


@pytest.mark.parametrize("form", GO)
def test_functions_of_go(tmp_path, form):
    before, displaced = GO[form]
    code = assemble(tmp_path, f"ret; {before}; {displaced}; syscall; {GO_FAILED}; .balign 64")
    (site,), others = sites.find(code, 0, len(code), NUMBERS)
    start = len(assemble(tmp_path, f"ret; {before}"))
    assert (site.start, site.displaced, site.entry) == (start, len(assemble(tmp_path, displaced)), FAST_LENT)
    assert code[site.syscall:site.syscall + 2] == b"\x0f\x05" and not others
    made = trampolines.trampoline(code, site, 0x40a040, 0x401000 + site.syscall)
    assert trampolines.read_trampoline(made, 0x40a040) == (0x401000 + site.syscall, site.syscall - site.start)


@pytest.mark.parametrize("form", GO)
@pytest.mark.parametrize("behind", ["ret", "test %rdx, %rdx; ret", "jc 1f; 1: ret", "cmp $-4096, %rax; ret"])
def test_functions_that_only_look_like_those_of_go(tmp_path, form, behind):
    code = assemble(tmp_path, f"ret; {'; '.join(GO[form])}; syscall; {behind}; .balign 64")
    assert sites.find(code, 0, len(code), NUMBERS) == ([], [])


COMPARED = "mov $262, %eax; syscall; cmp $-4096, %rax; ja 1f; 1: ret; 2: mov $4, %eax; syscall; cmp $-4096, %eax; ret"
NOT_COMPARED = "mov $2, %eax; syscall; ret"


@pytest.mark.parametrize("told", [False, True])
def test_all_sites_beside_code_of_go_take_a_stack(tmp_path, told):
    """Those whose flags are still needed can't."""
    others = "; ".join([COMPARED, NOT_COMPARED, *ANY_CALL["glibc"][:2], "syscall; cmp $-4095, %rax; ret"])
    of_go = "; ".join([*GO["moves"], "syscall", GO_FAILED])
    code = assemble(tmp_path, f"ret; {others}; {'' if told else of_go}; .balign 64")
    found, left = sites.find(code, 0, len(code), NUMBERS, told)
    assert [site.entry for site in found] == [FAST_LENT] * (3 if told else 4)
    assert [code[at:at + 5] for at in left] == [b"\xb8\2\0\0\0"]


def test_the_trampoline_and_the_jump(tmp_path):
    """Disassembled at the addresses where they stand."""
    code = assemble(tmp_path, ".skip 16, 0x90; mov $4, %eax; mov %rdx, %rsi; mov 8(%rsp), %r10; syscall; ret; .balign 64")
    (site,), _ = sites.find(code, 0, len(code), NUMBERS)
    address, place = 0x401000, 0x40a040
    made = trampolines.trampoline(code, site, place, address + site.syscall)
    jump = trampolines.jump(site, address + site.start, place)
    assert len(made) == trampolines.TRAMPOLINE_SIZE and len(jump) == site.displaced
    assert trampolines.read_trampoline(made, place) == (address + site.syscall, site.syscall - site.start)
    assert trampolines.read_trampoline(code[:64], address) is None

    def disassembled(data, at):
        (tmp_path / "raw").write_bytes(data)
        shown = subprocess.run(["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", f"--adjust-vma={at:#x}", tmp_path / "raw"],
                               capture_output=True, text=True, check=True).stdout
        return [re.sub(r"\s+", " ", line.split("\t")[2]).strip() for line in shown.splitlines() if line.count("\t") == 2]

    assert disassembled(jump, address + site.start) == [f"jmp {place:#x}"]
    shown = disassembled(made.rstrip(b"\xcc"), place)
    assert shown[:3] == ["mov $0x4,%eax", "mov %rdx,%rsi", "mov 0x8(%rsp),%r10"]
    assert shown[3].startswith("lea ") and shown[3].endswith(f"# {address + site.syscall:#x}")
    assert shown[4:] == [f"movabs ${FAST_ENTRY:#x},%r11", "jmp *%r11"]
    assert struct.unpack_from("<i", jump, 1)[0] == place - (address + site.start) - 5


CLONE3 = ("mov $-22, %eax; test %rdi, %rdi; jz 1f; test %rdx, %rdx; jz 1f; mov %rcx, %r8", "mov $435, %eax; syscall",
          "test %rax, %rax; jl 1f; ret; 1: neg %eax; ret")


def test_the_clone3_of_glibc_fails_at_once(tmp_path):
    code = assemble(tmp_path, f"{'; '.join(CLONE3)}; .balign 64")
    changed = bytearray(code)
    sites.without_clone3(changed, 0, len(changed))
    assert changed == assemble(tmp_path, f"{CLONE3[0]}; mov $-38, %rax; {CLONE3[2]}; .balign 64") != code


@pytest.mark.parametrize("other", [
    f"xor %r8d, %r8d; {CLONE3[1]}; {CLONE3[2]}", f"mov %rcx, %r8; {CLONE3[1]}; cmp $-38, %rax; 1: ret",
    f"mov %rcx, %r8; mov $434, %eax; syscall; {CLONE3[2]}", f"mov %rcx, %r8; mov $435, %eax; nop; syscall; {CLONE3[2]}"])
def test_clone3_of_others_is_left_alone(tmp_path, other):
    code = assemble(tmp_path, f"{other}; .balign 64")
    changed = bytearray(code)
    sites.without_clone3(changed, 0, len(changed))
    assert changed == code
