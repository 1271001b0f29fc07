/* Signals, waiting, process groups, threads: prints one line for each thing tried. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int got, value; static volatile pid_t sender; static sigjmp_buf back;
static void count(int number) { got++; }
static void info(int number, siginfo_t *si, void *uc) { got++; value = si->si_value.sival_int; sender = si->si_pid; }
static void jump(int number, siginfo_t *si, void *uc) { value = si->si_code; siglongjmp(back, number); }
static void on(int number, void *handler, int flags) { struct sigaction a = {.sa_sigaction = handler, .sa_flags = flags}; sigaction(number, &a, 0); }
static int status_of(pid_t pid) { int s; while (waitpid(pid, &s, 0) < 0 && errno == EINTR); return s; }
#define P(...) (printf(__VA_ARGS__), printf("\n"))
#define CHILD(code) ({ fflush(stdout); pid_t p_ = fork(); if (!p_) { code; _exit(0); } p_; })

static void faults(void) {
    static volatile char zero[4096]; int n;
    on(SIGSEGV, jump, SA_SIGINFO); on(SIGTRAP, jump, SA_SIGINFO); on(SIGSYS, jump, SA_SIGINFO); on(SIGILL, jump, SA_SIGINFO); on(SIGFPE, jump, SA_SIGINFO); on(SIGBUS, jump, SA_SIGINFO);
    if (!(n = sigsetjmp(back, 1))) *(volatile int *) 8 = 1; else P("segv %d code %d", n == SIGSEGV, value);
    if (!(n = sigsetjmp(back, 1))) *(volatile char *) "const" = 1; else P("segv %d code %d", n == SIGSEGV, value);
    if (!(n = sigsetjmp(back, 1))) __asm__("int3"); else P("trap %d", n == SIGTRAP);
    if (!(n = sigsetjmp(back, 1))) __asm__("ud2"); else P("ill %d", n == SIGILL);
    if (!(n = sigsetjmp(back, 1))) { volatile int x = 0, y = 5; x = y / x; } else P("fpe %d", n == SIGFPE);
    if (!(n = sigsetjmp(back, 1))) raise(SIGTRAP); else P("raised trap %d", n == SIGTRAP);
    if (!(n = sigsetjmp(back, 1))) raise(SIGSYS); else P("raised sys %d", n == SIGSYS);
    char name[] = "busXXXXXX"; int fd = mkstemp(name); unlink(name); char *map = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (!(n = sigsetjmp(back, 1))) value = *map; else P("bus %d", n == SIGBUS);
    for (int i = SIGHUP; i < 32; i++) signal(i, SIG_DFL);
}

static void deaths(void) {
    struct rlimit none = {0, 0}; setrlimit(RLIMIT_CORE, &none);
    int numbers[] = {SIGTERM, SIGKILL, SIGSEGV, SIGABRT, SIGTRAP, SIGSYS, SIGINT, SIGUSR1, SIGPIPE, SIGALRM, SIGRTMIN, SIGXCPU};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) { int s = status_of(CHILD(kill(getpid(), numbers[i]); pause())); P("death %d: %d %d", numbers[i], WIFSIGNALED(s), WTERMSIG(s)); }
    int s = status_of(CHILD(abort())); P("abort %d", WTERMSIG(s)); s = status_of(CHILD(*(volatile int *) 0 = 1)); P("null %d", WTERMSIG(s)); s = status_of(CHILD(__asm__("int3"))); P("int3 %d", WTERMSIG(s));
    s = status_of(CHILD(_exit(300))); P("exit %d", WEXITSTATUS(s)); s = status_of(CHILD(close(1); int p[2]; pipe(p); close(p[0]); write(p[1], "", 1))); P("pipe %d", WTERMSIG(s));
}

static void stops(void) {
    int s; siginfo_t si; pid_t p = CHILD(for (;;) pause());
    setpgid(p, p); /* a group with a parent outside it: else it counts as orphaned, and SIGTSTP does nothing */
    kill(p, SIGSTOP); P("stopped %d", waitpid(p, &s, WUNTRACED) == p && WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP); kill(p, SIGUSR2 == 12 ? SIGCONT : 0); P("continued %d", waitpid(p, &s, WCONTINUED) == p && WIFCONTINUED(s));
    kill(p, SIGTSTP); si.si_code = 0; waitid(P_PID, p, &si, WSTOPPED | WNOWAIT); P("waitid %d %d", si.si_code == CLD_STOPPED, si.si_status); waitid(P_PID, p, &si, WSTOPPED); kill(p, SIGCONT); waitid(P_PID, p, &si, WCONTINUED); P("code %d", si.si_code == CLD_CONTINUED);
    kill(p, SIGSTOP); waitpid(p, &s, WUNTRACED); kill(p, SIGTERM); P("still %d", waitpid(p, &s, WNOHANG)); kill(p, SIGCONT); s = status_of(p); P("ended %d", WTERMSIG(s));
    p = CHILD(raise(SIGSTOP); _exit(3)); waitpid(p, &s, WUNTRACED); P("self %d", WIFSTOPPED(s)); kill(p, SIGKILL); s = status_of(p); P("killed %d", WTERMSIG(s));
    p = CHILD(setpgid(0, 0); CHILD(pause()); kill(0, SIGSTOP); _exit(4)); waitpid(p, &s, WUNTRACED); P("group stopped %d", WIFSTOPPED(s)); kill(-p, SIGKILL); s = status_of(p); P("group %d", WTERMSIG(s));
}

static void delivery(void) {
    union sigval v = {.sival_int = 77}; sigset_t set, pending; struct timespec second = {5, 0}; siginfo_t si;
    on(SIGRTMIN, info, SA_SIGINFO); got = 0; sigqueue(getpid(), SIGRTMIN, v); P("queued %d %d %d", got, value, sender == getpid());
    sigemptyset(&set); sigaddset(&set, SIGRTMIN); sigaddset(&set, SIGCHLD); sigaddset(&set, SIGUSR1); sigprocmask(SIG_BLOCK, &set, 0); got = 0; for (int i = 0; i < 5; i++) sigqueue(getpid(), SIGRTMIN, v); sigpending(&pending); P("pending %d got %d", sigismember(&pending, SIGRTMIN), got);
    int n = 0; while (sigtimedwait(&set, &si, &(struct timespec) {0, 0}) == SIGRTMIN) n++; P("waited %d", n); int fd = signalfd(-1, &set, SFD_CLOEXEC); kill(getpid(), SIGUSR1); struct signalfd_siginfo read_; P("signalfd %zd %d", read(fd, &read_, sizeof read_), read_.ssi_signo == SIGUSR1);
    pid_t p = CHILD(_exit(6)); n = sigtimedwait(&set, &si, &second); P("chld %d %d %d", n == SIGCHLD, si.si_status, si.si_pid == p); status_of(p); sigprocmask(SIG_UNBLOCK, &set, 0);
    on(SIGALRM, count, 0); got = 0; struct itimerval timer = {{0, 0}, {0, 50000}}; setitimer(ITIMER_REAL, &timer, 0); n = pause(); P("pause %d %d %d", n, errno == EINTR, got); int ends[2]; pipe(ends); char c; setitimer(ITIMER_REAL, &timer, 0); n = read(ends[0], &c, 1); P("read %d %d", n, errno == EINTR);
    on(SIGALRM, count, SA_RESTART); setitimer(ITIMER_REAL, &timer, 0); p = CHILD(usleep(300000); write(ends[1], "x", 1)); P("restarted %zd", read(ends[0], &c, 1)); status_of(p); struct pollfd poll_ = {ends[0], POLLIN}; setitimer(ITIMER_REAL, &timer, 0); n = poll(&poll_, 1, 5000); P("poll %d %d", n, errno == EINTR);
    setitimer(ITIMER_REAL, &timer, 0); struct timespec left; P("nanosleep %d %d", nanosleep(&second, &left), left.tv_sec >= 4); int restarted = open("/etc/passwd", O_RDONLY); P("open %d", restarted >= 0); timer_t posix; struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2}; on(SIGUSR2, count, 0); got = 0;
    timer_create(CLOCK_MONOTONIC, &event, &posix); struct itimerspec when = {{0, 0}, {0, 30000000}}; timer_settime(posix, 0, &when, 0); pause(); P("timer %d", got); int t = timerfd_create(CLOCK_MONOTONIC, 0); timerfd_settime(t, 0, &when, 0); unsigned long expired; P("timerfd %zd", read(t, &expired, 8));
    stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536}; sigaltstack(&alternate, 0); on(SIGUSR1, count, SA_ONSTACK); got = 0; raise(SIGUSR1); P("altstack %d", got); int path = 0; on(SIGALRM, count, SA_RESTART); struct itimerval often = {{0, 500}, {0, 500}}; setitimer(ITIMER_REAL, &often, 0); struct stat st;
    for (int i = 0; i < 3000; i++) { path += stat("/etc/passwd", &st) == 0; path += stat("/nowhere", &st) == -1 && errno == ENOENT; } memset(&often, 0, sizeof often); setitimer(ITIMER_REAL, &often, 0); P("under fire %d", path);
}

static void *kill_me(void *unused) { for (;;) { struct stat st; stat("/etc", &st); } }
static void *exits(void *unused) { usleep(10000); _exit(11); }
static void *leaves(void *unused) { usleep(50000); exit(12); }
static volatile int directed; static pthread_t target; static void in_thread(int number) { directed = pthread_equal(pthread_self(), target); }
static void *waits(void *unused) { target = pthread_self(); while (!directed) usleep(1000); return (void *) 5; }

static void threads(void) {
    int s = status_of(CHILD(pthread_t t; for (int i = 0; i < 5; i++) pthread_create(&t, 0, kill_me, 0); usleep(20000); raise(SIGKILL))); P("killed with threads %d", WTERMSIG(s));
    s = status_of(CHILD(pthread_t t; for (int i = 0; i < 5; i++) pthread_create(&t, 0, kill_me, 0); pthread_create(&t, 0, exits, 0); pause())); P("exit_group from thread %d", WEXITSTATUS(s));
    s = status_of(CHILD(pthread_t t; pthread_create(&t, 0, leaves, 0); pthread_exit(0))); P("leader gone first %d", WEXITSTATUS(s));
    s = status_of(CHILD(pthread_t t; for (int i = 0; i < 5; i++) pthread_create(&t, 0, kill_me, 0); usleep(10000); *(volatile int *) 0 = 0)); P("segv with threads %d", WTERMSIG(s));
    on(SIGUSR1, in_thread, 0); pthread_t t; void *result; pthread_create(&t, 0, waits, 0); usleep(10000); pthread_kill(t, SIGUSR1); pthread_join(t, &result); P("directed %d %ld", directed, (long) result);
    int p = CHILD(pthread_t t; for (int i = 0; i < 3; i++) pthread_create(&t, 0, kill_me, 0); for (;;) pause()); usleep(20000); kill(p, SIGSTOP); waitpid(p, &s, WUNTRACED); P("threads stopped %d", WIFSTOPPED(s)); kill(p, SIGCONT); waitpid(p, &s, WCONTINUED); P("go on %d", WIFCONTINUED(s)); kill(p, SIGKILL); P("gone %d", WTERMSIG(status_of(p)));
    for (int i = 0; i < 200; i++) { pthread_create(&t, 0, (void *(*)(void *)) usleep, (void *) 10); pthread_join(t, 0); } P("200 threads");
}

static void processes(void) {
    int s, ends[2]; char c; pipe(ends); pid_t p = CHILD(P("") ; if (CHILD(usleep(100000); char b[20] = {getppid() != 0}; write(ends[1], b, 1))) _exit(0)); status_of(p); read(ends[0], &c, 1); P("orphan has a parent %d", c);
    p = CHILD(setsid(); _exit(getsid(0) == getpid() && getpgrp() == getpid())); P("setsid %d", WEXITSTATUS(status_of(p))); P("no child %d %d", wait(&s), errno == ECHILD); p = CHILD(_exit(0)); usleep(50000); P("zombie %d", kill(p, 0)); status_of(p); P("reaped %d %d", kill(p, 0), errno == ESRCH);
    signal(SIGCHLD, SIG_IGN); p = CHILD(_exit(0)); P("ignored child %d %d", waitpid(p, &s, 0), errno == ECHILD); signal(SIGCHLD, SIG_DFL); p = CHILD(prctl(PR_SET_PDEATHSIG, SIGKILL); pause()); usleep(20000); kill(p, SIGKILL); status_of(p); struct rusage usage; p = CHILD(for (volatile int i = 0; i < 20000000; i++)); wait4(p, &s, 0, &usage); P("rusage %d", usage.ru_utime.tv_usec + usage.ru_utime.tv_sec + usage.ru_stime.tv_usec + usage.ru_stime.tv_sec > 0);
    int pidfd; { fflush(stdout); struct { unsigned long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; } a = {CLONE_PIDFD, (unsigned long) &pidfd, 0, 0, SIGCHLD}; p = syscall(SYS_clone3, &a, sizeof a); if (!p) _exit(21); } siginfo_t si; waitid(P_PIDFD, pidfd, &si, WEXITED); P("clone3 pidfd %d", si.si_status);
    fflush(stdout); p = vfork(); if (!p) _exit(22); P("vfork %d", WEXITSTATUS(status_of(p))); p = CHILD(pause()); int other = syscall(SYS_pidfd_open, p, 0); P("pidfd_send_signal %ld", syscall(SYS_pidfd_send_signal, other, SIGTERM, 0, 0)); P("by pidfd %d", WTERMSIG(status_of(p)));
    int count_ = 0; for (int i = 0; i < 100; i++) CHILD(_exit(0)); while (wait(&s) > 0) count_++; P("children %d", count_); prctl(PR_SET_CHILD_SUBREAPER, 1); p = CHILD(if (!CHILD(usleep(50000))) _exit(0)); status_of(p); P("subreaper %d", wait(&s) > 0); P("kill init of the host %d %d", kill(1, 0) == 0 || errno == EPERM || errno == ESRCH, 1);
    P("priority %d", setpriority(PRIO_PROCESS, 0, 5)); cpu_set_t cpus; P("affinity %d", sched_getaffinity(0, sizeof cpus, &cpus));
}

int main(void) { setvbuf(stdout, 0, _IOFBF, 1 << 16); faults(); deaths(); stops(); delivery(); threads(); processes(); return 0; }
