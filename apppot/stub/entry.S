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

        .section .text.fast, "ax"
        .globl fast_entry, fast_body, fast_end
/* A patched site's trampoline comes here with the number in eax and the address of the site's `syscall` in rcx; r11 is
 * free, as rcx is, because `syscall` destroys both. Between fast_body and fast_end r15 points at the frame (fast.h), so
 * that the supervisor can put the task back to the site when a signal comes. */
fast_entry:
        leaq    -128(%rsp), %rsp        /* the red zone */
        pushfq
        pushq   %rcx
        pushq   %rax
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        pushq   %r10
        pushq   %r8
        pushq   %r9
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   $0
        cld
        movq    %rsp, %r15
fast_body:
        movq    %rsp, %rdi
        andq    $-16, %rsp
        call    fast_call
        movq    %r15, %rsp
fast_end:
        popq    %r15                    /* committed */
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        popq    %r9
        popq    %r8
        popq    %r10
        popq    %rdx
        popq    %rsi
        popq    %rdi
        testl   %eax, %eax
        popq    %rax                    /* the result, or the number again */
        popq    %rcx
        jz      1f
        addq    $2, %rcx                /* behind the site's `syscall` */
        jmp     2f
1:      btsq    $32, %rax               /* tells the supervisor of the miss; the kernel looks at 32 bits */
2:      movq    (%rsp), %r11
        popfq
        leaq    128(%rsp), %rsp
        jmp     *%rcx

        .section .note.GNU-stack, "", @progbits
