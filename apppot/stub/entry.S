#include "layout.h"
/* Text of the stub: the gadget first, at a known place, then the program loader's entry. */

        .section .text.gadget, "ax"
        .globl gadget
/* The supervisor sends a task here with the number in rax, translated arguments, and rbx pointing at the save area at
 * the start of its argument slot (rdi rsi rdx r10 r8 r9 rbx rip, 8 bytes each). After the call every register that the
 * system call ABI preserves is what it was; rcx is the return address, as after a native `syscall`. */
gadget:
        syscall
gadget_return:
        movq    0(%rbx), %rdi
        movq    8(%rbx), %rsi
        movq    16(%rbx), %rdx
        movq    24(%rbx), %r10
        movq    32(%rbx), %r8
        movq    40(%rbx), %r9
        movq    56(%rbx), %rcx
        movq    48(%rbx), %rbx
        jmp     *%rcx

        .section .text.entry, "ax"
        .globl _start
_start:
        movq    %rsp, %rbx
        movq    %rsp, %rdi
        andq    $-16, %rsp
        call    load_program
        movq    %rbx, %rsp
        movq    %rax, %rcx
        xorl    %eax, %eax
        xorl    %ebx, %ebx
        xorl    %edx, %edx
        xorl    %esi, %esi
        xorl    %edi, %edi
        xorl    %ebp, %ebp
        xorl    %r8d, %r8d
        xorl    %r9d, %r9d
        xorl    %r10d, %r10d
        xorl    %r11d, %r11d
        xorl    %r12d, %r12d
        xorl    %r13d, %r13d
        xorl    %r14d, %r14d
        xorl    %r15d, %r15d
        jmp     *%rcx

        .section .note.GNU-stack, "", @progbits
