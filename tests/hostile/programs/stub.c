/* Tries to break: whatever a guest does with the stub's code hurts the guest alone. Children jump to each address of it with
 * registers that point anywhere, signals come meanwhile, and what the supervisor reads of a process there may be anything. */
#include "hostile.h"

#define LENT_FRAME (LENT_BASE + LENT_SIZE - FRAME_SIZE)      /* of the first stack that the stub lends */

static unsigned seed = 1;
static unsigned long next(void) {
    seed = seed * 1103515245 + 12345;
    static const unsigned long some[] = {0, 1, -1UL, WINDOW_BASE, STUB_BASE, MAILBOX, FAST_STATE, TLB_BASE, LENT_FRAME, 0x7fffffffffff,
                                         0x800000000000, 0xffffffff80000000, 0x400000, 1UL << 63, 0x7ffffffff000};
    return seed >> 16 & 1 ? some[(seed >> 17) % 15] : (unsigned long)seed << 20;
}

static void jump(unsigned long to, unsigned long *r) {
    __asm__ volatile("movq %0, %%rcx\n\tmovq %1, %%rax\n\tmovq 0(%%rax), %%rdi\n\tmovq 8(%%rax), %%rsi\n\tmovq 16(%%rax), %%rdx\n\t"
                     "movq 24(%%rax), %%r8\n\tmovq 32(%%rax), %%r9\n\tmovq 40(%%rax), %%r10\n\tmovq 48(%%rax), %%rbx\n\t"
                     "movq 56(%%rax), %%r15\n\tmovq 64(%%rax), %%rbp\n\tmovq 80(%%rax), %%r11\n\tmovq 72(%%rax), %%rax\n\tjmp *%%rcx"
                     : : "r"(to), "r"(r) : "memory");
}

static void child(unsigned long to, int number) {
    unsigned long r[11], *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 1024; i++) page[i] = next();
    for (int i = 0; i < 11; i++) r[i] = next();
    for (int i = 0; i < FRAME_SIZE / 8; i++) ((unsigned long *)LENT_FRAME)[i] = next();
    if (number % 4 == 2) r[7] = r[10] = LENT_FRAME;                          /* r15, r11: a frame on a stack that the stub lends */
    if (number % 2) r[7] = (unsigned long)page + number % 64 * 8;            /* r15: where a frame of the fast path may be */
    if (number % 3) r[9] = (unsigned long[]){2, 4, 21, 59, 80, 89, 217, 257, 262, 317, 332, 437, 9, 10, 11, 56}[number % 16];
    if (number % 5 == 0) r[0] = (unsigned long)secret, r[1] = (unsigned long)secret;
    struct itimerval soon = {{0, 300}, {0, 1 + number % 700}};
    signal(SIGALRM, number % 4 ? SIG_IGN : SIG_DFL);
    if (number % 7 == 0) signal(SIGSEGV, SIG_IGN);
    setitimer(ITIMER_REAL, &soon, 0);
    setrlimit(RLIMIT_CPU, &(struct rlimit){1, 1});
    jump(to, r);
    _exit(0);
}

static void run(unsigned long to, int number) {
    pid_t pid = fork();
    if (!pid) child(to, number);
    for (double end = now() + 2; waitpid(pid, 0, WNOHANG) == 0;) {
        if (now() > end) kill(pid, SIGKILL);
        usleep(200);
    }
    next();
}

static void finish(pid_t pid) {
    for (double end = now() + 5; waitpid(pid, 0, WNOHANG) == 0; usleep(200))
        if (now() > end) kill(pid, SIGKILL);
}

/* Stacks at both ends of the address space in [entry, body): the first push faults. */
static void bad_stacks(unsigned long entry, unsigned long body) {
    static const unsigned long ends[] = {0, 0x10, -8UL, -0x100UL};
    for (unsigned long at = entry; at < body; at++)
        for (int i = 0; i < 4; i++) {
            pid_t pid = fork();
            if (!pid) __asm__ volatile("movq %1, %%rsp\n\tmovq %1, %%r11\n\tjmp *%0" : : "r"(at), "r"(ends[i]) : "memory", "r11");
            finish(pid);
        }
}

/* Code that looks like a trampoline to `entry` from a place where no code can be, and faults. */
static void bad_trampoline(unsigned long entry) {
    unsigned char *page = mmap((void *)0x10000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (page == MAP_FAILED) return;
    for (int i = 0; i < 12; i++) {
        int distance = i % 2 ? -0x7fffffff : 0x7fffffff, at = 0;
        unsigned char *code = page + i * 64;
        memset(code, 0x90, 64);
        code[i / 2] = 0xf4;                     /* hlt: SIGSEGV with the pointer at it */
        at = i / 2 + 1;
        memcpy(code + at, "\x48\x8d\x0d", 3), memcpy(code + at + 3, &distance, 4), memcpy(code + at + 7, "\x49\xbb", 2);
        memcpy(code + at + 9, &entry, 8), memcpy(code + at + 17, "\x41\xff\xe3", 3);
        pid_t pid = fork();
        if (!pid) ((void (*)(void))code)(), _exit(0);
        finish(pid);
    }
}

/* A process without the state of the fast path opens a C library as its loader does. */
static void no_state(void) {
    pid_t pid = fork();
    if (!pid) {
        int fd = open("/tmp/libc.so.6", O_WRONLY | O_CREAT, 0644);
        munmap((void *)FAST_STATE, 4096), munmap((void *)LENT_BASE, LENT_STACKS * LENT_SIZE);
        if (fd < 0 || at_own_site(SYS_openat, AT_FDCWD, (long)"/tmp/libc.so.6", O_RDONLY | O_CLOEXEC, 0, 0, 0) < 0) ESCAPED("no library");
        _exit(0);
    }
    finish(pid);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    unsigned long entry = strtoul(argv[3], 0, 0), body = strtoul(argv[4], 0, 0);
    bad_stacks(entry, body);
    bad_trampoline(entry);
    no_state();
    int number = 0;
    double end = now() + 20;
    for (unsigned long at = 0; at < 0x210 && now() < end; at++) run(STUB_BASE + at, number++);
    for (unsigned long at = 0x210; at < 0x2000 && now() < end; at += 7) run(STUB_BASE + at, number++);

    /* The state of the fast path is ours to write: the worst it may do is to deceive us. */
    unsigned *state = (unsigned *)FAST_STATE;
    for (int i = 0; i < 1000; i++) {
        for (int k = 0; k < 700; k++) state[k] = k % 3 ? (unsigned)next() : 1;
        for (int k = 0; k < LENT_STACKS; k++) *(unsigned *)(LENT_FRAME + FRAME_SIZE - 8 + k * LENT_SIZE) = (unsigned)next();
        int fd = open(i % 2 ? secret : "/etc/image-file", O_RDONLY);
        if (fd >= 0 && reads_secret(fd)) ESCAPED("read the secret by a forged state");
        struct stat st;
        stat("/etc", &st);
        if (fd >= 0) close(fd);
    }
    /* Numbers without end: what the supervisor keeps of them is bounded. */
    for (long i = 0; i < 20000; i++) syscall(SYS_getpid, 0), at_own_site((i << 32) + 600 + i % 5000, 0, 0, 0, 0, 0, 0);
    struct stat st;
    if (stat("/etc/image-file", &st)) ESCAPED("the machine does not work any more");
    return HELD();
}
