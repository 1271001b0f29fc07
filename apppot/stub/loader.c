/* Maps a guest program into the fresh process that exec of the stub made.
 *
 * At PTRACE_EVENT_EXEC the supervisor writes a list of operations into the mailbox; the stub runs it and jumps. It
 * decides nothing: which files, addresses and protections is what apppot/kernel/exec.py worked out. */
#include "call.h"
#include "fast.h"
#include "layout.h"

enum {                          /* operations and their operands, 8 bytes each; see apppot/platform/mailbox.py */
    OP_JUMP = 0,                /* base, offset */
    OP_OPEN = 1,                /* path: the file that OP_MAP maps */
    OP_RESERVE = 2,             /* base, span, hint, alignment */
    OP_MAP = 3,                 /* base, offset, length, protection, file offset */
    OP_ANONYMOUS = 4,           /* base, offset, length, protection */
    OP_ZERO = 5,                /* base, offset, length */
    OP_AUXV = 6,                /* type, base, offset */
    OP_CLOSE = 7,
    OP_COMM = 8,                /* name */
    OP_WINDOW = 9,              /* path, length */
    OP_FILTER = 10,             /* struct sock_fprog */
    OP_NO_NEW_PRIVS = 11,
    OP_LANDLOCK = 12,           /* ruleset descriptor, closed afterwards; flags */
    OP_EXEC_STACK = 13,
    OP_WRITE = 14,              /* descriptor, text, length */
    OP_EXIT = 15,               /* status */
    OP_CHDIR = 16,              /* path */
    OP_FAST = 17,               /* mode of the fast path, struct state's loading; lent stacks are free in children */
};
enum { AT_FDCWD = -100, O_RDONLY = 0, O_CLOEXEC = 02000000 };
enum { PROT_NONE = 0, PROT_READ = 1, PROT_RWX = 7, PROT_GROWSDOWN = 0x01000000 };
enum { MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000,
       MAP_FIXED_NOREPLACE = 0x100000 };
enum { MADV_WIPEONFORK = 18, PR_SET_NAME = 15, PR_SET_NO_NEW_PRIVS = 38, SECCOMP_SET_MODE_FILTER = 1 };
enum { BASES = 4, PAGE = 4096 };

/* Past the point of no return the kernel ends a process whose program it can't map with SIGSEGV; so do we. */
static _Noreturn void fail(void) {
    for (;;) *(volatile int *)0 = 0;
}
static long must(long result) {
    if (result < 0 && result > -4096) fail();
    return result;
}
static long map(long addr, long length, long prot, long flags, long fd, long offset) {
    return call6(NR_mmap, addr, length, prot, flags, fd, offset);
}
static long open_file(uint64_t path) {
    return must(call6(NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0));
}

/* Room for a program's whole span; at `hint` where that is free, else where the kernel likes. */
static uint64_t reserve(uint64_t span, uint64_t hint, uint64_t align) {
    long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (hint) {
        long at = map((long)hint, (long)span, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
        if (at == (long)hint) return hint;
        if (at > 0) CALL(NR_munmap, at, span, 0);
    }
    if (align <= PAGE) return (uint64_t)must(map(0, (long)span, PROT_NONE, flags, -1, 0));
    uint64_t start = (uint64_t)must(map(0, (long)(span + align), PROT_NONE, flags, -1, 0));
    uint64_t base = (start + align - 1) & ~(align - 1);
    if (base > start) CALL(NR_munmap, start, base - start, 0);
    CALL(NR_munmap, base + span, start + align - base, 0);
    return base;
}

static void set_auxv(uint64_t *auxv, uint64_t type, uint64_t value) {
    for (; auxv[0]; auxv += 2)
        if (auxv[0] == type) auxv[1] = value;
}

static void zero(unsigned char *at, uint64_t length) {
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(0) : "memory");
}

uint64_t load_program(uint64_t *stack) {
    const uint64_t *op = (const uint64_t *)MAILBOX;
    uint64_t base[BASES] = {0};
    uint64_t *auxv = stack + 1 + stack[0] + 1;
    long fd = -1;

    while (*auxv++) continue;   /* past the environment */
    for (;;) {
        switch (op[0]) {
        case OP_JUMP:
            return base[op[1] % BASES] + op[2];
        case OP_OPEN:
            fd = open_file(op[1]); op += 2; break;
        case OP_RESERVE:
            base[op[1] % BASES] = reserve(op[2], op[3], op[4]); op += 5; break;
        case OP_MAP:
            must(map((long)(base[op[1] % BASES] + op[2]), (long)op[3], (long)op[4], MAP_PRIVATE | MAP_FIXED, fd,
                     (long)op[5]));
            op += 6; break;
        case OP_ANONYMOUS:
            must(map((long)(base[op[1] % BASES] + op[2]), (long)op[3], (long)op[4],
                     MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
            op += 5; break;
        case OP_ZERO:
            zero((unsigned char *)(base[op[1] % BASES] + op[2]), op[3]); op += 4; break;
        case OP_AUXV:
            set_auxv(auxv, op[1], base[op[2] % BASES] + op[3]); op += 4; break;
        case OP_CLOSE:
            CALL(NR_close, fd, 0, 0); op += 1; break;
        case OP_COMM:
            CALL(NR_prctl, PR_SET_NAME, op[1], 0); op += 2; break;
        case OP_WINDOW:
            fd = open_file(op[1]);
            must(map((long)WINDOW_BASE, (long)op[2], PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0));
            CALL(NR_close, fd, 0, 0); op += 3; break;
        case OP_FILTER:
            must(CALL(NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, op[1])); op += 2; break;
        case OP_NO_NEW_PRIVS:
            must(call6(NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)); op += 1; break;
        case OP_LANDLOCK:
            must(CALL(NR_landlock_restrict_self, op[1], op[2], 0)); CALL(NR_close, op[1], 0, 0); op += 3; break;
        case OP_EXEC_STACK:
            CALL(NR_mprotect, (uint64_t)stack & ~(uint64_t)(PAGE - 1), PAGE, PROT_RWX | PROT_GROWSDOWN); op += 1; break;
        case OP_WRITE:
            CALL(NR_write, op[1], op[2], op[3]); op += 4; break;
        case OP_CHDIR:
            CALL(NR_chdir, op[1], 0, 0); op += 2; break;
        case OP_FAST:
            ((struct state *)FAST_STATE)->mode = (uint32_t)op[1];
            ((struct state *)FAST_STATE)->loading = (uint32_t)op[2];
            CALL(NR_madvise, LENT_BASE, LENT_STACKS * LENT_SIZE, MADV_WIPEONFORK);    /* Linux 4.14; else a few stay taken */
            op += 3; break;
        case OP_EXIT:
            CALL(NR_exit_group, op[1], 0, 0); break;
        default:
            fail();
        }
    }
}
