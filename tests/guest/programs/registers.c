/* Which registers a translated call changes, under a rain of signals: rax, rcx and r11 only, as the ABI says. */
#include "common.h"

enum { RDI, RSI, RDX, R10, R8, R9, RBX, RBP, R12, R13, R14, R15, RCX, R11, RAX, ZONE, COUNT };
uint64_t before[COUNT], after[COUNT], return_address, vectors_before[32], vectors_after[32];
static volatile int got;

/* Loads every register from before[], makes the call, stores every register into after[]; the red zone is used too. */
void call(void);
__asm__(
    ".text\n.globl call\ncall:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "movq before+0(%rip), %rdi; movq before+8(%rip), %rsi; movq before+16(%rip), %rdx; movq before+24(%rip), %r10\n"
    "movq before+32(%rip), %r8; movq before+40(%rip), %r9; movq before+48(%rip), %rbx; movq before+56(%rip), %rbp\n"
    "movq before+64(%rip), %r12; movq before+72(%rip), %r13; movq before+80(%rip), %r14; movq before+88(%rip), %r15\n"
    "movdqu vectors_before+0(%rip), %xmm0; movdqu vectors_before+16(%rip), %xmm7; movdqu vectors_before+32(%rip), %xmm15\n"
    "movq before+120(%rip), %rax; movq %rax, -8(%rsp); movq %rax, -128(%rsp)\n"
    "leaq 1f(%rip), %rax; movq %rax, return_address(%rip)\n"
    "movq before+112(%rip), %rax\n"
    "stc\n"
    "syscall\n"
    "1: movq %rdi, after+0(%rip); movq %rsi, after+8(%rip); movq %rdx, after+16(%rip); movq %r10, after+24(%rip)\n"
    "movq %r8, after+32(%rip); movq %r9, after+40(%rip); movq %rbx, after+48(%rip); movq %rbp, after+56(%rip)\n"
    "movq %r12, after+64(%rip); movq %r13, after+72(%rip); movq %r14, after+80(%rip); movq %r15, after+88(%rip)\n"
    "movq %rcx, after+96(%rip); movq %r11, after+104(%rip); movq %rax, after+112(%rip)\n"
    "movdqu %xmm0, vectors_after+0(%rip); movdqu %xmm7, vectors_after+16(%rip); movdqu %xmm15, vectors_after+32(%rip)\n"
    "movq -8(%rsp), %rax; movq -128(%rsp), %rcx; xorq before+120(%rip), %rax; xorq before+120(%rip), %rcx\n"
    "orq %rcx, %rax; movq %rax, after+120(%rip)\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "ret\n");

static void handler(int number) {
    int e = errno;
    got++;
    path_call();
    __asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15" ::: "xmm0", "xmm7", "xmm15");
    errno = e;
}

static uint64_t fill(void) {
    static uint64_t state = 0x9E3779B97F4A7C15;
    return state = state * 6364136223846793005 + 1442695040888963407;
}

int main(int argc, char **argv) {
    static char buffer[4096];
    static struct stat st;
    const struct { long number, a, b, c, d; const char *name; } tries[] = {
        {SYS_stat, (long) "/etc/passwd", (long) &st, 0, 0, "stat"},
        {SYS_stat, (long) "/nowhere", (long) &st, 0, 0, "stat nothing"},
        {SYS_openat, AT_FDCWD, (long) "/etc/passwd", O_RDONLY | O_CLOEXEC, 0, "openat"},
        {SYS_openat, AT_FDCWD, (long) "/nowhere", O_RDONLY, 0, "openat nothing"},
        {SYS_open, (long) "made", O_CREAT | O_RDWR, 0600, 0, "open a new file"},
        {SYS_statx, AT_FDCWD, (long) "/etc", 0, 0x7FF, "statx"},
        {SYS_readlink, (long) "/bin", (long) buffer, sizeof buffer, 0, "readlink"},
        {SYS_getcwd, (long) buffer, sizeof buffer, 0, 0, "getcwd"},
        {SYS_access, (long) "/etc/passwd", R_OK, 0, 0, "access"},
        {SYS_chdir, (long) ".", 0, 0, 0, "chdir"},
        {SYS_execve, (long) "/nowhere", 0, 0, 0, "execve nothing"},
        {SYS_kill, 0, 0, 0, 0, "kill"},
        {SYS_getpid, 0, 0, 0, 0, "getpid"},
    };
    on(argc > 1 ? SIGPROF : SIGALRM, handler, SA_RESTART);
    struct itimerval often = {{0, 1000}, {0, 1000}};
    setitimer(argc > 1 ? ITIMER_PROF : ITIMER_REAL, &often, 0);
    for (unsigned t = 0; t < sizeof tries / sizeof *tries; t++) {
        uint64_t wrong = 0, result = 0;
        for (int i = 0; i < 1000 || (argc == 1 && got <= t); i++) {    /* and until each has met a signal */
            for (int k = 0; k < COUNT; k++) before[k] = fill();
            for (int k = 0; k < 6; k++) vectors_before[k] = fill();
            before[RAX] = tries[t].number;
            before[RDI] = tries[t].a;
            before[RSI] = tries[t].b;
            before[RDX] = tries[t].c;
            before[R10] = tries[t].d;
            if (tries[t].number == SYS_statx) before[R8] = (long) buffer;
            call();
            for (int k = 0; k <= R15; k++) if (before[k] != after[k]) wrong |= 1 << k;
            if (after[RCX] != return_address) wrong |= 1 << RCX;
            if (!(after[R11] & 1)) wrong |= 1 << R11;
            if (after[ZONE]) wrong |= 1 << ZONE;
            if (memcmp(vectors_before, vectors_after, 48)) wrong |= 1 << 20;
            result = after[RAX];
            if (tries[t].number == SYS_openat || tries[t].number == SYS_open) close(result), result = (long) result < 0 ? result : 3;
            if (tries[t].number == SYS_getpid) result = 0;
            if (tries[t].number == SYS_getcwd) result = (long) result > 0;
        }
        SAY("%s: wrong %lx, result %ld", tries[t].name, wrong, (long) result);
    }
    setitimer(argc > 1 ? ITIMER_PROF : ITIMER_REAL, &(struct itimerval) {}, 0);
    SAY("signals %d", got > 10 || argc > 1);
    return 0;
}
