/* Signals that interrupt translated calls. interrupts SECTION prints a line for each thing tried. */
#include "common.h"
#include <linux/sched.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <ucontext.h>

static volatile int got, nested, inside, bad;
static sigjmp_buf back;

static void count(int number) { got++; }
static void calls(int number) { int e = errno; got++; if (!path_call()) bad++; int fd = open("/etc/passwd", O_RDONLY); if (fd < 0) bad++; close(fd); errno = e; }
static void jumps(int number) { got++; siglongjmp(back, number); }
static void nests(int number) {
    int e = errno;
    if (inside++) nested++;
    if (!path_call()) bad++;
    inside--;
    got++;
    errno = e;
}

static void every(int which, int microseconds) {
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    setitimer(which, &timer, 0);
}

static void once(int microseconds) {
    struct itimerval timer = {{0, 0}, {0, microseconds}};
    setitimer(ITIMER_REAL, &timer, 0);
}

/* open of a FIFO without a writer blocks inside the gadget. */
static void fifo(void) {
    mkfifo("fifo", 0600);
    on(SIGALRM, count, 0);
    once(50000);
    SAY("interrupted %s, handler %d", ERRNO(open("fifo", O_RDONLY)), got);
    on(SIGALRM, calls, 0);
    once(50000);
    SAY("with calls in the handler %s, handler %d bad %d", ERRNO(open("fifo", O_RDONLY)), got, bad);
    on(SIGALRM, calls, SA_RESTART);
    once(50000);
    pid_t p = CHILD({ usleep(300000); _exit(open("fifo", O_WRONLY) < 0); });
    int fd = open("fifo", O_RDONLY);
    SAY("restarted %d, handler %d bad %d, writer %d", fd >= 0, got, bad, status_of(p));
    close(fd);
    on(SIGALRM, jumps, 0);
    for (int i = 0; i < 20; i++) {
        once(3000 + 500 * i);
        if (!sigsetjmp(back, 1)) { open("fifo", O_RDONLY); SAY("not interrupted"); }
        if (!path_call()) bad++;
    }
    SAY("jumped out, handler %d bad %d", got, bad);
    signal(SIGUSR1, SIG_IGN);
    pid_t me = getpid();
    p = CHILD({ for (int i = 0; i < 20; i++) { usleep(5000); kill(me, SIGUSR1); kill(me, SIGCHLD); kill(me, SIGSTOP); usleep(2000);
                kill(me, SIGCONT); } _exit(open("fifo", O_WRONLY) < 0); });
    fd = open("fifo", O_RDONLY);
    SAY("ignored signals and stops %d, writer %d", fd >= 0, status_of(p));
    close(fd);
    p = CHILD(open("fifo", O_RDONLY));
    usleep(50000);
    kill(p, SIGTERM);
    SAY("killed in it %d", status_of(p));
    p = CHILD({ pthread_t t; pthread_create(&t, 0, (void *(*)(void *)) open, "fifo"); usleep(30000); exit(4); });
    SAY("exit with a thread in it %d", status_of(p));
    p = CHILD({ pthread_t t; pthread_create(&t, 0, (void *(*)(void *)) open, "fifo"); usleep(30000);
                execl("/bin/sh", "sh", "-c", "exit 5", (char *) 0); });
    SAY("exec with a thread in it %d", status_of(p));
}

/* An unblocked signal finds the thread just before, in or after a call. */
static void storm(int which, int number, int flags, const char *name) {
    struct sigaction action = {.sa_handler = flags & SA_NODEFER ? nests : calls, .sa_flags = flags};
    stack_t alternate = {.ss_sp = malloc(1 << 20), .ss_size = 1 << 20};
    int good = 0, n;
    sigaltstack(&alternate, 0);
    sigaction(number, &action, 0);
    got = bad = 0;
    every(which, 1000);
    for (n = 0; n < 60000 && (got < 150 || n < 2000); n++) good += path_call();
    every(which, 0);
    SAY("%s: %d, handlers %d, bad %d", name, good == n, got > 0, bad);
}

static void storms(void) {
    storm(ITIMER_REAL, SIGALRM, SA_RESTART, "ITIMER_REAL");
    storm(ITIMER_PROF, SIGPROF, SA_RESTART, "ITIMER_PROF");
    storm(ITIMER_REAL, SIGALRM, SA_RESTART | SA_ONSTACK, "on another stack");
    storm(ITIMER_REAL, SIGALRM, 0, "without SA_RESTART");
    storm(ITIMER_REAL, SIGALRM, SA_NODEFER | SA_RESTART | SA_ONSTACK, "nested");
}

/* Signals in many forms while path calls go on. */
static void kinds(void) {
    sigset_t set, old;
    siginfo_t info;
    struct signalfd_siginfo read_;
    unsigned long expired;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    sigprocmask(SIG_BLOCK, &set, &old);
    for (int i = 0; i < 3; i++) { sigqueue(getpid(), SIGRTMIN + 3, (union sigval) {.sival_int = i}); path_call(); }
    int fd = signalfd(-1, &set, 0);
    read(fd, &read_, sizeof read_);
    SAY("signalfd %d %d", read_.ssi_int, read_.ssi_pid == getpid());
    sigwaitinfo(&set, &info);
    SAY("sigwaitinfo %d %d", info.si_value.sival_int, info.si_code == SI_QUEUE);
    on(SIGRTMIN + 3, count, 0);
    got = 0;
    sigsuspend(&old);
    SAY("sigsuspend %d", got);
    sigprocmask(SIG_SETMASK, &old, 0);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
    event._sigev_un._tid = gettid();
    on(SIGUSR2, calls, SA_RESTART);
    got = bad = 0;
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    struct itimerspec often = {{0, 500000}, {0, 500000}}, never = {};
    timer_settime(timer, 0, &often, 0);
    int good = 0, n;
    for (n = 0; got < 50; n++) good += path_call();
    timer_settime(timer, 0, &never, 0);
    SAY("posix timer %d bad %d", good == n, bad);
    fd = timerfd_create(CLOCK_MONOTONIC, 0);
    often.it_interval.tv_nsec = 0;
    timerfd_settime(fd, 0, &often, 0);
    SAY("timerfd %d", read(fd, &expired, 8) == 8 && expired == 1);
    on(SIGUSR1, jumps, 0);
    got = 0;
    for (int i = 0; i < 100; i++) if (!sigsetjmp(back, 1)) { raise(SIGUSR1); SAY("no jump"); }
    SAY("jumps %d", got);
    on(SIGSEGV, jumps, 0);
    got = 0;
    if (!sigsetjmp(back, 1)) *(volatile int *) 8 = 1;
    SAY("segv %d, path call %d", got, path_call());
    SAY("bad pointer %s", ERRNO(open((char *) 8, O_RDONLY)));
    SAY("bad buffer %s", ERRNO(stat("/etc", (void *) 8)));
    got = 0;
    on(SIGALRM, count, 0);
    alarm(1);
    SAY("pause %s %d", ERRNO(pause()), got);
    on(SIGTRAP, count, 0);
    got = 0;
    __asm__ volatile("int3");
    raise(SIGTRAP);
    kill(getpid(), SIGTRAP);
    SAY("traps %d, path call %d", got, path_call());
}

/* Threads that signal each other while all make path calls. */
static pthread_t all[8];
static pthread_barrier_t barrier;

static void *fires(void *index) {
    unsigned n = (long) index;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 100; i++) {
        if (!path_call()) bad++;
        pthread_kill(all[n++ % 8], SIGUSR1);
    }
    pthread_barrier_wait(&barrier);
    return 0;
}

static void threads(void) {
    on(SIGUSR1, calls, SA_RESTART);
    pthread_barrier_init(&barrier, 0, 8);
    for (long i = 0; i < 8; i++) pthread_create(&all[i], 0, fires, (void *) i);
    for (int i = 0; i < 8; i++) pthread_join(all[i], 0);
    SAY("crossfire: got some %d, bad %d", got > 0, bad);
}

/* Threads made by clone3 itself, with no signal blocked: maker and thread find all registers as they were. */
static volatile long ran, changed;

static long new_thread(struct clone_args *args) {
    long result, before = changed;
    __asm__ volatile(
        "movq %1, %%rdi\n movl $88, %%esi\n movl $0x1111, %%edx\n movl $0x2222, %%r8d\n movl $0x3333, %%r9d\n"
        "movl $0x4444, %%r10d\n movl $0x5555, %%ebx\n movl %2, %%eax\n syscall\n"
        "subq %1, %%rdi\n subq $88, %%rsi\n subq $0x1111, %%rdx\n subq $0x2222, %%r8\n subq $0x3333, %%r9\n"
        "subq $0x4444, %%r10\n subq $0x5555, %%rbx\n"
        "orq %%rdi, %%rsi\n orq %%rsi, %%rdx\n orq %%rdx, %%r8\n orq %%r8, %%r9\n orq %%r9, %%r10\n orq %%r10, %%rbx\n"
        "lock orq %%rbx, %3\n"
        "testq %%rax, %%rax\n jnz 1f\n lock incq %4\n movl $60, %%eax\n xorl %%edi, %%edi\n syscall\n 1:"
        : "=&a"(result) : "r"(args), "i"(SYS_clone3), "m"(changed), "m"(ran)
        : "rdi", "rsi", "rdx", "r8", "r9", "r10", "rbx", "rcx", "r11", "memory");
    return changed == before ? result : -1;
}

static void births(void) {
    enum { STACK = 65536, ROUNDS = 300 };
    volatile pid_t tid;
    char *stack = mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct clone_args args = {.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
                              | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, .stack = (uintptr_t) stack, .stack_size = STACK,
                              .parent_tid = (uintptr_t) &tid, .child_tid = (uintptr_t) &tid};
    int made = 0;
    volatile int *going = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *going = 1;
    pid_t me = getpid(), stopper = CHILD(while (*going) { usleep(2000); kill(me, SIGSTOP); kill(me, SIGCONT); });
    on(SIGALRM, count, SA_RESTART);   /* the threads share their maker's errno */
    got = bad = 0;
    every(ITIMER_REAL, 300);
    for (int i = 0; i < ROUNDS; i++) {
        long new = new_thread(&args);
        if (new <= 0) { SAY("clone3 %ld", new); break; }
        made++;
        while (tid) sched_yield();
    }
    every(ITIMER_REAL, 0);
    *going = 0;                       /* killed between its two signals it would leave us stopped */
    status_of(stopper);
    SAY("births: made %d, ran %ld, changed %lx, some signals %d, bad %d", made, ran, changed, got > 0, bad);
    args.stack_size = 1UL << 62;
    SAY("beyond the addresses %ld", new_thread(&args));
    args.stack_size = 0;
    SAY("no size %ld", new_thread(&args));
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } sections[] = {
        {"fifo", fifo}, {"storms", storms}, {"kinds", kinds}, {"threads", threads}, {"births", births},
    };
    for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++)
        if (!strcmp(argv[1], sections[i].name)) { sections[i].run(); return 0; }
    return 2;
}
