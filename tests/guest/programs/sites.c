/* Call sites of every form that the fast path knows, and what must not notice that they are patched. sites SECTION prints a
 * line for each thing tried. A static program is patched from its second exec on: so it first starts itself again. With GO there
 * is code of Go's in it, so all its calls are made on stacks that the stub lends. */
#include "common.h"
#include <ucontext.h>
#ifdef __GLIBC__
#include <execinfo.h>
#else
#define strerrorname_np strerror
#endif

enum { RDI, RSI, RDX, RCX, R8, R9, RBX, RBP, R12, R13, R14, R15, R10, RAX, COUNT };
uint64_t given[COUNT], left[COUNT], flags_given, flags_left, r11_left, zone[16], zone_left[16], vectors[32], vectors_left[32];
static volatile int got, outside, bad;
static volatile int stop;
static sigjmp_buf back;

/* Each form: what sets the number and the arguments, then syscall. The second instruction of a form is one that a jump
 * may reach. They are called through enter(), which loads all registers before and keeps them afterwards. */
#define FORM(name, code) void form_##name(void); __asm__(".text\n.globl form_" #name "\nform_" #name ":\n" code "\njmp leave\n")
FORM(mov, "movl $4, %eax; syscall");
FORM(moves, "movl $262, %eax; movl $-100, %edi; movq %r13, %rsi; xorl %r10d, %r10d; movq -8(%rsp), %rdx; syscall");
FORM(lea, "movl $4, %eax; movq %r12, %rcx; movslq %r8d, %r9; movl $7, %r10d; leaq (%rsi), %rsi; syscall");
FORM(glibc, "movq %rdi, %rax; movq %rsi, %rdi; movq %rdx, %rsi; movq %rcx, %rdx; movq %r8, %r10; movq %r9, %r8; movq 8(%rsp), %r9; syscall");
FORM(musl_cp, "movq %rdi, %rax; movq %r8, %r10; movq %rsi, %rdi; movq %r9, %r8; movq %rdx, %rsi; movq 8(%rsp), %r9; movq %rcx, %rdx; syscall");
FORM(musl_asm, "movq %rdi, %r11; movq %rsi, %rax; movq %rdx, %rdi; movq %rcx, %rsi; movq %r8, %rdx; movq %r9, %r10; movq 8(%rsp), %r8;"
               "movq 16(%rsp), %r9; movq %r11, 8(%rsp); syscall");
FORM(musl, "movq %rdi, %rax; leaq -128(%rsp), %rdx; movq 8(%rdx), %rdi; movl $8, (%rsp); movq 16(%rdx), %rsi; movq 24(%rdx), %rdx; syscall");
#ifdef GO
/* Go 1.19's function and one of those before. */
FORM(go, "movq %rsi, %r10; movq %rdi, %rdx; movq %rcx, %rsi; movq %rbx, %rdi; syscall; cmpq $-4095, %rax");
FORM(go_loads, "leaq -256(%rsp), %rsp; movq %rax, 8(%rsp); movq $0, %r9; movq 8(%rsp), %rax; syscall; cmpq $-4095, %rax; leaq 256(%rsp), %rsp");
#endif

void enter(void (*form)(void));
__asm__(
    ".text\n.globl enter\nenter:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; subq $40, %rsp; movq %rdi, 32(%rsp)\n"
    "leaq zone(%rip), %rsi; leaq -128(%rsp), %rdi; movl $16, %ecx; rep movsq\n"
    "movdqu vectors(%rip), %xmm0; movdqu vectors+16(%rip), %xmm7; movdqu vectors+32(%rip), %xmm15\n"
    "movq given+0(%rip), %rdi; movq given+8(%rip), %rsi; movq given+16(%rip), %rdx; movq given+24(%rip), %rcx\n"
    "movq given+32(%rip), %r8; movq given+40(%rip), %r9; movq given+48(%rip), %rbx; movq given+56(%rip), %rbp\n"
    "movq given+64(%rip), %r12; movq given+72(%rip), %r13; movq given+80(%rip), %r14; movq given+88(%rip), %r15\n"
    "movq given+96(%rip), %r10; movq given+104(%rip), %rax\n"
    "leaq -256(%rsp), %rsp; pushq flags_given(%rip); popfq; leaq 256(%rsp), %rsp\n"
    "jmp *32(%rsp)\n"
    ".globl leave\nleave:\n"
    "movq %r11, r11_left(%rip)\n"
    "leaq -256(%rsp), %rsp; pushfq; popq flags_left(%rip); leaq 256(%rsp), %rsp\n"
    "movq %rdi, left+0(%rip); movq %rsi, left+8(%rip); movq %rdx, left+16(%rip); movq %rcx, left+24(%rip)\n"
    "movq %r8, left+32(%rip); movq %r9, left+40(%rip); movq %rbx, left+48(%rip); movq %rbp, left+56(%rip)\n"
    "movq %r12, left+64(%rip); movq %r13, left+72(%rip); movq %r14, left+80(%rip); movq %r15, left+88(%rip)\n"
    "movq %r10, left+96(%rip); movq %rax, left+104(%rip)\n"
    "movdqu %xmm0, vectors_left(%rip); movdqu %xmm7, vectors_left+16(%rip); movdqu %xmm15, vectors_left+32(%rip)\n"
    "leaq zone_left(%rip), %rdi; leaq -128(%rsp), %rsi; movl $16, %ecx; cld; rep movsq\n"
    "addq $40, %rsp; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

extern char __executable_start, etext;

/* A handler that makes calls of its own and looks where it finds the program. */
static void looks(int number, siginfo_t *info, void *context) {
    int e = errno;
    uint64_t at = ((ucontext_t *) context)->uc_mcontext.gregs[REG_RIP];
    if (at < (uint64_t) &__executable_start || at >= (uint64_t) &etext) outside++;
    if (!path_call()) bad++;
    __asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15" ::: "xmm0", "xmm7", "xmm15");
    got++;
    errno = e;
}

static void at_every(int which, int number, int microseconds) {
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    setitimer(which, &timer, 0);
}

static void handle(int number, void *handler, int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    sigaction(number, &action, 0);
}

static uint64_t fill(void) {
    static uint64_t state = 0x9E3779B97F4A7C15;
    return state = state * 6364136223846793005 + 1442695040888963407;
}

static void forms(void) {
    static struct stat st;
    static char *const paths[] = {"/etc/passwd", "/nowhere", "/etc/../etc/passwd", (char *) 8, "/etc/passwd/x"};
    const struct { const char *name; void (*form)(void); int number, path, buffer; uint64_t set; } all[] = {
        {"mov", form_mov, -1, RDI, RSI, 0},
        {"moves", form_moves, -1, R13, -1, 1 << RDI | 1 << RSI | 1 << R10 | 1 << RDX},
        {"lea", form_lea, -1, RDI, RSI, 1 << R9 | 1 << R10},
        {"glibc", form_glibc, RDI, RSI, RDX, 1 << RDI | 1 << RSI | 1 << RDX | 1 << R10 | 1 << R8 | 1 << R9},
        {"musl_cp", form_musl_cp, RDI, RSI, RDX, 1 << RDI | 1 << RSI | 1 << RDX | 1 << R10 | 1 << R8 | 1 << R9},
        {"musl_asm", form_musl_asm, RSI, RDX, RCX, 1 << RDI | 1 << RSI | 1 << RDX | 1 << R10 | 1 << R8 | 1 << R9},
        {"musl", form_musl, RDI, -2, -2, 1 << RDI | 1 << RSI | 1 << RDX},
#ifdef GO
        {"go", form_go, RAX, RBX, RCX, 1 << RDI | 1 << RSI | 1 << RDX | 1 << R10},
        {"go_loads", form_go_loads, RAX, RDI, RSI, 1 << R9},
#endif
    };
    for (unsigned f = 0; f < sizeof all / sizeof *all; f++)
        for (unsigned p = 0; p < 6; p++) {
            uint64_t wrong = 0;
            long result = 0;
            if (p == 5 && all[f].number < 0) continue;
            int of_go = !strncmp(all[f].name, "go", 2);     /* they compare: neither flags nor r11 are what they were */
            for (int i = 0; i < 1500; i++) {
                for (int k = 0; k < COUNT; k++) given[k] = fill();
                for (int k = 0; k < 16; k++) zone[k] = fill();
                for (int k = 0; k < 6; k++) vectors[k] = fill();
                flags_given = 0x202 | fill() & 0x8D5;
                if (all[f].number >= 0) given[all[f].number] = p == 5 ? SYS_getppid : SYS_stat;
                if (p < 5 && all[f].path >= 0) given[all[f].path] = (uint64_t) paths[p];
                if (all[f].buffer >= 0) given[all[f].buffer] = (uint64_t) &st;
                else zone[15] = (uint64_t) &st;
                if (p < 5 && all[f].path == -2) zone[1] = (uint64_t) paths[p], zone[2] = (uint64_t) &st;
                enter(all[f].form);
                for (int k = 0; k < RAX; k++)
                    if (k != RCX && !(all[f].set >> k & 1) && given[k] != left[k]) wrong |= 1 << k;
                if (memcmp(zone, zone_left, sizeof zone)) wrong |= 1 << 20;
                if (memcmp(vectors, vectors_left, 48)) wrong |= 1 << 21;
                if (flags_left != flags_given && all[f].form != form_moves && !of_go) wrong |= 1 << 22;
                if (r11_left != flags_left && !of_go) wrong |= 1 << 23;
                if (left[RCX] < (uint64_t) &__executable_start || left[RCX] >= (uint64_t) &etext) wrong |= 1 << 24;
                result = p == 5 ? left[RAX] == getppid() : (long) left[RAX];
            }
            SAY("%s %d: wrong %lx, result %ld", all[f].name, p, wrong, result);
        }
}

static void registers(void) { forms(); }

static void interrupted(void) {
    handle(SIGALRM, looks, SA_RESTART);
    at_every(ITIMER_REAL, SIGALRM, 1000);
    forms();
    at_every(ITIMER_REAL, SIGALRM, 0);
    SAY("signals %d, outside of the program %d, bad %d", got > 10, outside, bad);
}

/* Profiling: every sample of a loop of calls unwinds to main. */
static volatile int lost;
static void __attribute__((noinline)) samples(int number, siginfo_t *info, void *context) {
#ifdef __GLIBC__
    void *frames[32];
    int e = errno, n = backtrace(frames, 32), found = 0;
    for (int i = 0; i < n; i++) {
        extern int main(int, char **);
        if ((char *) frames[i] > (char *) main && (char *) frames[i] < (char *) main + 2000) found = 1;
    }
    if (!found) lost++;
    errno = e;
#endif
    got++;
}

static void jumps(int number) { got++; siglongjmp(back, number); }

static void profile(void) {
    struct stat st;
    stack_t alternate = {.ss_sp = malloc(1 << 18), .ss_size = 1 << 18};
    int good = 0, n;
#ifdef __GLIBC__
    void *first[4];
    backtrace(first, 4);                /* loads libgcc_s */
#endif
    sigaltstack(&alternate, 0);
    for (int flags = 0; flags <= SA_ONSTACK; flags += SA_ONSTACK) {
        handle(SIGPROF, samples, SA_RESTART | flags);
        got = lost = 0;
        at_every(ITIMER_PROF, SIGPROF, 1000);
        for (n = good = 0; n < 300000 && got < 300; n++) good += stat("/etc/passwd", &st) == 0;
        at_every(ITIMER_PROF, SIGPROF, 0);
        SAY("good %d, samples %d, lost %d", good == n, got > 0, lost);
    }
    on(SIGALRM, jumps, SA_NODEFER);
    got = 0;
    at_every(ITIMER_REAL, SIGALRM, 1000);
    while (got < 100)
        if (!sigsetjmp(back, 1)) for (;;) if (stat("/etc/passwd", &st)) bad++;
    at_every(ITIMER_REAL, SIGALRM, 0);
    SAY("jumped out, bad %d, path call %d", bad, path_call());
}

/* Names and buffers at the edge of what is mapped. */
static void faults(void) {
    char *pages = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *end = pages + 2 * 4096;
    munmap(end, 4096);
    struct stat st;
    memcpy(end - 12, "/etc/passwd", 12);
    for (int i = 0; i < 3; i++) SAY("ends with the page %s", ERRNO(stat(end - 12, &st)));
    memcpy(end - 11, "/etc/passwd", 11);
    for (int i = 0; i < 3; i++) SAY("goes on behind it %s", ERRNO(stat(end - 11, &st)));
    memset(end - 4096, '/', 4096);
    SAY("slashes %s", ERRNO(open(end - 4096, O_RDONLY)));
    for (int i = 0; i < 3; i++) {
        SAY("bad names %s %s %s", ERRNO(stat(0, &st)), ERRNO(stat((char *) -1, &st)), ERRNO(access(end, R_OK)));
        SAY("half a buffer %s", ERRNO(stat("/etc/passwd", (struct stat *) (end - 64))));
        SAY("no buffer %s %s", ERRNO(stat("/etc/passwd", (struct stat *) end)), ERRNO(readlink("/bin", end, 10)));
        SAY("a constant as buffer %s", ERRNO(stat("/etc/passwd", (struct stat *) "text")));
        SAY("getcwd %s", ERRNO(syscall(SYS_getcwd, end, 4096)));
        SAY("through syscall() %s %s %ld", ERRNO(syscall(SYS_stat, end, &st)), ERRNO(syscall(SYS_stat, "/etc", &st)),
            syscall(SYS_getpid) - getpid());
    }
}

/* Threads are cancelled in open: while it waits for a FIFO's writer, and at any moment. */
static volatile int cleaned;
static void clean(void *unused) { __atomic_fetch_add(&cleaned, 1, __ATOMIC_SEQ_CST); }
static void *waits(void *name) {
    pthread_cleanup_push(clean, 0);
    int fd = open(name, O_RDONLY);
    close(fd);
    pthread_cleanup_pop(0);
    return 0;
}
static void *opens(void *unused) {
    pthread_cleanup_push(clean, 0);
    for (;;) {
        int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
        if (fd < 0) bad++;
        close(fd);
    }
    pthread_cleanup_pop(0);
    return 0;
}

static void cancel(void) {
    mkfifo("fifo", 0600);
    for (int i = 0; i < 5; i++) open("/etc/passwd", O_RDONLY);
    for (int round = 0; round < 2; round++) {
        int ended = 0;
        cleaned = 0;
        for (int i = 0; i < 60; i++) {
            pthread_t thread;
            void *result;
            pthread_create(&thread, 0, round ? opens : waits, "fifo");
            usleep(round ? 300 + 50 * i : i % 3 ? 3000 : 0);
            pthread_cancel(thread);
            pthread_join(thread, &result);
            ended += result == PTHREAD_CANCELED;
        }
        SAY("cancelled %d, cleaned %d, bad %d", ended, cleaned, bad);
    }
    unlink("fifo");
    SAY("path call %d", path_call());
}

/* A thread forks while others are in the middle of calls; threads with the least stack. */
static void *loops(void *unused) {
    struct stat st;
    while (!stop) if (stat("/etc/passwd", &st)) bad++;
    return 0;
}

static void forks(void) {
    pthread_t threads[4];
    int good = 0;
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, loops, 0);
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (!child) { struct stat st; int n = 0; while (n < 50 && !stat("/etc/passwd", &st)) n++; _exit(n); }
        good += status_of(child) == 50;
    }
    for (int i = 0; i < 30; i++) {
        pid_t child = vfork();
        if (!child) { execl("/proc/self/exe", "sites", "exit", (char *) 0); _exit(1); }
        good += status_of(child) == 7;
    }
    stop = 1;
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    SAY("children %d, bad %d", good, bad);
}

static void *opens_once(void *unused) {
    struct stat st;
    for (int i = 0; i < 50; i++) if (stat("/etc/passwd", &st) || close(open("/etc/passwd", O_RDONLY)) || !access("/nowhere", 0)) bad++;
    return 0;
}

static void opens_once_more(void) {
    struct stat st;
    if (stat("/etc/passwd", &st) || close(open("/etc/passwd", O_RDONLY)) || syscall(SYS_access, "/etc/passwd", R_OK)) bad++;
}

static void stacks(void) {
    pthread_attr_t attributes;
    size_t size = PTHREAD_STACK_MIN < 8192 ? 8192 : PTHREAD_STACK_MIN;      /* musl's 2048 have no room for a signal */
    char *own = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    path_call();
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        pthread_attr_init(&attributes);
        if (i & 1) pthread_attr_setstack(&attributes, own, size); else pthread_attr_setstacksize(&attributes, size);
        if (pthread_create(&thread, &attributes, opens_once, 0)) bad++;
        else pthread_join(thread, 0);
    }
    SAY("threads, bad %d", bad);
}

#ifdef GO
#include "layout.h"
static int lent(void) {
    int count = 0;
    for (int i = 1; i <= LENT_STACKS; i++) count += *(volatile uint64_t *)(LENT_BASE + i * LENT_SIZE - 8) & 1;
    return count;
}

static void loop(void);
static char *who;

/* All stacks of the stub are with threads that wait for a FIFO's writer. */
static void blocked(void) {
    pthread_t threads[400];
    int count = 0;
    mkfifo("fifo", 0600);
    for (int i = 0; i < 5; i++) access("fifo", R_OK);
    for (; count < 400 && lent() < LENT_STACKS; count++) {
        pthread_create(&threads[count], 0, waits, "fifo");
        usleep(2000);
    }
    SAY("taken %d", lent());
    if (!strcmp(who, "here")) loop();
    if (!strcmp(who, "child")) {
        pid_t child = fork();
        if (!child) { SAY("of the child's %d", lent()); loop(); _exit(0); }
        status_of(child);
    }
    int writer = open("fifo", O_RDWR);        /* until all have come: some may not yet wait */
    for (int i = 0; i < count; i++) pthread_join(threads[i], 0);
    close(writer);
    SAY("taken %d", lent());
    if (!strcmp(who, "after")) loop();
    unlink("fifo");
}
#endif

/* So many calls that stops at each of them would show. */
static void loop(void) {
    for (int i = 0; i < 3000; i++) opens_once_more();
    SAY("bad %d", bad);
}

/* What reads the program's text: it is all there, and calls go on. */
static void text(void) {
    char line[512], mode[8];
    unsigned long start, end, sum = 0, pages = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY);
    unsigned char buffer[4096];
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && mode[2] == 'x' && strchr(line, '/'))
            for (; start < end; start += 4096, pages++) {
                if (pread(memory, buffer, 4096, start) != 4096) bad++;
                for (int i = 0; i < 4096; i++) sum += buffer[i];
                if (pages % 16 == 0 && !path_call()) bad++;
            }
    SAY("pages %d, sum %d, bad %d", pages > 4, sum > 0, bad);
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } sections[] = {
        {"registers", registers}, {"interrupted", interrupted}, {"profile", profile}, {"faults", faults}, {"cancel", cancel},
        {"forks", forks}, {"stacks", stacks}, {"text", text}, {"loop", loop},
#ifdef GO
        {"blocked", blocked},
#endif
    };
    if (!strcmp(argv[1], "exit")) return 7;
#ifdef GO
    who = argv[argc - 1];
#endif
    if (!getenv("AGAIN")) {
        setenv("AGAIN", "1", 1);
        execv("/proc/self/exe", argv);
    }
    for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++)
        if (!strcmp(argv[1], sections[i].name)) { sections[i].run(); return 0; }
    return 2;
}
