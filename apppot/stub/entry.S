#include "layout.h"
#define GUEST_RSP 136                           /* members of struct frame */
#define TAKEN 144
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
        .globl fast_checked, fast_unknown, fast_lent, fast_asked, fast_entry, fast_switching, fast_body, fast_end
        .globl fast_popping, fast_left, fast_giving, fast_given, commit, commit_made
/* Trampolines of sites where any number may be in eax come here. It is looked up first: all other calls go on to their
 * own `syscall` with nothing saved. r11 holds rax meanwhile and ax the flags, of which `syscall` changes none. */
fast_checked:
        movq    %rax, %r11
        lahf
        seto    %al
        cmpq    $NUMBERS, %r11
        jae     fast_unknown
        btq     %r11, fast_numbers(%rip)
        jnc     fast_unknown
        addb    $0x7f, %al
        sahf
        movq    %r11, %rax
        jmp     fast_entry
fast_unknown:
        addb    $0x7f, %al
        sahf
        movq    %r11, %rax
        jmp     *%rcx

/* Trampolines of sites that may be on a stack without room for the stub come here, and may have any number in eax. The
 * number is looked up, then a stack is taken: bit 0 of a frame's `taken`, at the top of each. The search begins where the
 * guest's own stack says, so that threads seldom meet. When it finds none the call goes on to its own `syscall`, which
 * stops as ever. Behind the `syscall` of such a site a comparison follows, so the flags need not be kept. */
fast_lent:
        cmpq    $NUMBERS, %rax
        jae     2f
        btq     %rax, fast_numbers(%rip)
        jnc     2f
        movq    %rsp, %r11
        shrq    %r11                    /* the least stacks are 2 KiB */
        andl    $(LENT_STACKS / 2 - 1) * LENT_SIZE, %r11d
        addq    first_lent(%rip), %r11
1:      lock btsl $0, TAKEN(%r11)
fast_asked:
        jnc     fast_switching
        addq    $LENT_SIZE, %r11
        cmpq    end_of_lent(%rip), %r11
        jb      1b
2:      jmp     *%rcx

/* A patched site's trampoline comes here with the number in eax and the address of the site's `syscall` in rcx; r11 is
 * free, as rcx is, because `syscall` destroys both. The frame (fast.h) lies below the red zone, or on top of a lent stack.
 * Wherever a signal finds the task, leave_stub of apppot/kernel/interrupted.py knows from the labels how much was done: up
 * to fast_body all registers but rsp are the guest's, and that is in r11 after fast_switching; from fast_body on r15 points
 * at the frame, from fast_end on rsp does, and r11 at the end of a lent one. */
fast_entry:
        leaq    -(128 + FRAME_SIZE)(%rsp), %r11
        movl    $0, TAKEN(%r11)
fast_switching:
        xchgq   %rsp, %r11
        pushfq
        popq    128(%rsp)
        movq    %r11, GUEST_RSP(%rsp)
        movq    %rcx, 120(%rsp)
        movq    %rax, 112(%rsp)
        movq    %rdi, 104(%rsp)
        movq    %rsi, 96(%rsp)
        movq    %rdx, 88(%rsp)
        movq    %r10, 80(%rsp)
        movq    %r8, 72(%rsp)
        movq    %r9, 64(%rsp)
        movq    %rbx, 56(%rsp)
        movq    %rbp, 48(%rsp)
        movq    %r12, 40(%rsp)
        movq    %r13, 32(%rsp)
        movq    %r14, 24(%rsp)
        movq    %r15, 16(%rsp)
        movq    $0, 0(%rsp)
        movq    %rsp, %r15
fast_body:
        cld
        movq    %rsp, %rdi
        andq    $-16, %rsp
        call    fast_call
        movq    %r15, %rsp
        movl    %eax, 4(%rsp)           /* hit */
fast_end:
        movq    16(%rsp), %r15
        movq    24(%rsp), %r14
        movq    32(%rsp), %r13
        movq    40(%rsp), %r12
        movq    48(%rsp), %rbp
        movq    56(%rsp), %rbx
        movq    64(%rsp), %r9
        movq    72(%rsp), %r8
        movq    80(%rsp), %r10
        movq    88(%rsp), %rdx
        movq    96(%rsp), %rsi
        movq    104(%rsp), %rdi
        testl   %eax, %eax
        movq    120(%rsp), %rcx
        jz      1f
        movq    8(%rsp), %rax           /* the result */
        addq    $2, %rcx                /* behind the site's `syscall` */
        jmp     2f
1:      movq    112(%rsp), %rax
        btsq    $32, %rax               /* tells the supervisor of the miss; the kernel looks at 32 bits */
2:      testl   $1, TAKEN(%rsp)
        jnz     3f
        movq    128(%rsp), %r11
        pushq   %r11
fast_popping:
        popfq
        movq    GUEST_RSP(%rsp), %rsp
fast_left:
        jmp     *%rcx
3:      movq    %rsp, %r11
        movq    GUEST_RSP(%rsp), %rsp
fast_giving:
        movl    $0, TAKEN(%r11)         /* from here on the stack may be another thread's */
fast_given:
        jmp     *%rcx

/* long commit(long nr, long a, long b, long c, long d, long e): a call that must not be made twice. A signal that finds the task
 * after it is told to the guest as one that came after the guest's own call. */
commit:
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        movq    %rcx, %rdx
        movq    %r8, %r10
        movq    %r9, %r8
        movl    $1, 0(%r15)
        syscall
commit_made:
        movq    %rax, 8(%r15)
        movl    $2, 0(%r15)
        ret

        .section .rodata
        .balign 8
first_lent:
        .quad   LENT_BASE + LENT_SIZE - FRAME_SIZE
end_of_lent:
        .quad   LENT_BASE + LENT_STACKS * LENT_SIZE

        .section .note.GNU-stack, "", @progbits
