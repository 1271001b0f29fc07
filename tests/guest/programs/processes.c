/* Making and ending processes and threads. processes SECTION prints a line for each thing tried. */
#include "common.h"
#include <linux/sched.h>
#include <sys/syscall.h>

extern char **environ;
static volatile int shared;
static char stack[16][65536] __attribute__((aligned(16)));
#define TOP(n) (stack[n] + sizeof stack[n])

/* -- fork, vfork */

static void fork_(void) {
    SAY("exit %d", status_of(CHILD(_exit(path_call() ? 3 : 4))));
    pid_t p = vfork();
    if (!p) { shared = 1; _exit(5); }
    SAY("vfork exit %d shared %d", status_of(p), shared);
    p = vfork();
    if (!p) { shared = path_call(); chdir("/usr"); execl("/bin/sh", "sh", "-c", "exit $(pwd | wc -c)", (char *) 0); _exit(9); }
    char cwd[PATH_MAX];
    SAY("vfork path calls %d exec %d here %d", shared, status_of(p), strcmp(getcwd(cwd, sizeof cwd), "/usr") != 0);
    p = vfork();
    if (!p) { execl("/nowhere", "x", (char *) 0); shared = errno; execl("/bin/false", "x", (char *) 0); _exit(9); }
    SAY("vfork failed exec %s then %d", strerrorname_np(shared), status_of(p));
    p = vfork();
    if (!p) { raise(SIGKILL); _exit(1); }
    SAY("vfork killed %d", status_of(p));
    SAY("deep %d", status_of(CHILD(_exit(status_of(CHILD(_exit(status_of(CHILD(_exit(path_call() + 40))))))))));
}

/* -- clone with every sharing */

static int in_clone(void *argument) {
    shared++;
    chdir("/usr/lib");
    close(100);
    return path_call() ? (int) (long) argument : 99;
}

static void clones(void) {
    static const struct { const char *name; int flags; } kinds[] = {
        {"nothing", SIGCHLD}, {"fs", CLONE_FS | SIGCHLD}, {"files", CLONE_FILES | SIGCHLD}, {"vm", CLONE_VM | SIGCHLD},
        {"vm fs", CLONE_VM | CLONE_FS | SIGCHLD}, {"all", CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | SIGCHLD},
        {"no signal", CLONE_FS}, {"other signal", CLONE_VM | SIGUSR1}, {"vfork", CLONE_VM | CLONE_VFORK | SIGCHLD},
        {"vfork fs", CLONE_VFORK | CLONE_FS | SIGCHLD},
    };
    char cwd[PATH_MAX], linked[PATH_MAX];
    signal(SIGUSR1, SIG_IGN);
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        chdir("/etc");
        dup2(1, 100);
        shared = 0;
        pid_t p = clone(in_clone, TOP(0), kinds[i].flags, (void *) 7L);
        int status = status_of(p);
        memset(linked, 0, sizeof linked);
        readlink("/proc/self/cwd", linked, sizeof linked - 1);
        SAY("%s: %d, memory %d, cwd %s %s, relative %d, descriptor %d", kinds[i].name, status, shared,
            getcwd(cwd, sizeof cwd), linked, access("passwd", F_OK), fcntl(100, F_GETFD) >= 0);
        close(100);
    }
    pid_t maker = CHILD(clone(in_clone, TOP(0), CLONE_PARENT | SIGCHLD, (void *) 8L));
    int sum = 0, s, count = 0;
    while (wait(&s) > 0) { sum += WEXITSTATUS(s); count++; }
    SAY("parent: %d children, sum %d", count, sum);
    (void) maker;
}

/* -- clone3 */

static long clone3(struct clone_args *args, size_t size) {
    fflush(stdout);
    return syscall(SYS_clone3, args, size);
}

static void clone3_(void) {
    int pidfd = -1;
    struct clone_args args = {.exit_signal = SIGCHLD};
    pid_t p = clone3(&args, sizeof args);
    if (!p) _exit(path_call() + 10);
    SAY("plain %d", status_of(p));
    args.flags = CLONE_PIDFD;
    args.pidfd = (uintptr_t) &pidfd;
    p = clone3(&args, sizeof args);
    if (!p) _exit(11);
    siginfo_t info = {0};
    waitid(P_PIDFD, pidfd, &info, WEXITED);
    SAY("pidfd %d %d", pidfd >= 0, info.si_status);
    args = (struct clone_args) {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    on(SIGUSR1, status_of, 0);
    p = clone3(&args, sizeof args);
    if (!p) { struct sigaction now; sigaction(SIGUSR1, 0, &now); _exit(now.sa_handler == SIG_DFL); }
    SAY("clear_sighand %d", status_of(p));
    pid_t wanted = 4321;
    args = (struct clone_args) {.exit_signal = SIGCHLD, .set_tid = (uintptr_t) &wanted, .set_tid_size = 1};
    SAY("set_tid %s", ERRNO(clone3(&args, sizeof args)));
    args = (struct clone_args) {.exit_signal = SIGCHLD};
    SAY("small %s", ERRNO(clone3(&args, 32)));
    SAY("large %s", ERRNO(clone3(&args, 5000)));
    SAY("bad pointer %s", ERRNO(clone3((void *) 8, sizeof args)));
    struct { struct clone_args args; long more; } longer = {{.exit_signal = SIGCHLD}, 1};
    SAY("unknown field %s", ERRNO(clone3(&longer.args, sizeof longer)));
    longer.more = 0;
    p = clone3(&longer.args, sizeof longer);
    if (!p) _exit(12);
    SAY("known length %d", status_of(p));
    args = (struct clone_args) {.flags = CLONE_SIGHAND, .exit_signal = SIGCHLD};
    SAY("sighand without vm %s", ERRNO(clone3(&args, sizeof args)));
    args = (struct clone_args) {.flags = CLONE_THREAD, .exit_signal = SIGCHLD};
    SAY("thread without sighand %s", ERRNO(clone3(&args, sizeof args)));
    args = (struct clone_args) {.exit_signal = 100};
    SAY("signal %s", ERRNO(clone3(&args, sizeof args)));
    args = (struct clone_args) {.flags = CLONE_FS | CLONE_VFORK, .exit_signal = SIGCHLD};
    char cwd[PATH_MAX];
    p = clone3(&args, sizeof args);
    if (!p) { chdir("/usr"); _exit(13); }
    SAY("fs %d %s", status_of(p), getcwd(cwd, sizeof cwd));
}

static void refused(void) {
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    SAY("newuser %s", ERRNO(clone3(&args, sizeof args)));
    args.flags = CLONE_INTO_CGROUP;
    args.cgroup = open("/", O_RDONLY);
    SAY("into_cgroup %s", ERRNO(clone3(&args, sizeof args)));
    SAY("unshare %s", ERRNO(unshare(CLONE_NEWNS)));
    SAY("ptrace %s", ERRNO(syscall(SYS_ptrace, 0, 0, 0, 0)));
    SAY("ptrace attach %s", ERRNO(syscall(SYS_ptrace, 16, getppid(), 0, 0)));
}

/* -- posix_spawn */

static void spawn(void) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t set;
    pid_t p;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 9, "/etc/passwd", O_RDONLY, 0);
    posix_spawn_file_actions_addchdir_np(&actions, "/etc");
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    posix_spawnattr_setsigmask(&attributes, &set);
    char *argv[] = {"sh", "-c", "test -f passwd && read line <&9 && exit 6", 0};
    int code = posix_spawn(&p, "/bin/sh", &actions, &attributes, argv, environ);
    SAY("spawn %d %d", code, status_of(p));
    posix_spawn_file_actions_addopen(&actions, 10, "/nowhere", O_RDONLY, 0);
    SAY("failing action %s", strerrorname_np(posix_spawn(&p, "/bin/sh", &actions, &attributes, argv, environ)));
    SAY("failing exec %s", strerrorname_np(posix_spawn(&p, "/etc/passwd", 0, 0, argv, environ)));
    SAY("system %d", WEXITSTATUS(system("exit 8")));
    FILE *pipe = popen("echo piped", "r");
    char line[20] = "";
    fgets(line, sizeof line, pipe);
    SAY("popen %d %d", strcmp(line, "piped\n") == 0, pclose(pipe));
}

/* -- threads */

static pthread_barrier_t barrier;
static volatile int failures;

static void *busy(void *unused) {
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 20; i++) {
        char name[40], text[PATH_MAX];
        if (!path_call()) failures++;
        snprintf(name, sizeof name, "/proc/self/task/%d", gettid());
        if (access(name, F_OK)) failures++;
        int fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
        if (fd >= 0) close(fd);
        if (!getcwd(text, sizeof text)) failures++;
    }
    return 0;
}

static void *forever(void *unused) { for (;;) path_call(); }
static void *maps(void *unused) { for (;;) munmap(mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096); }
static void *exec_(void *path) { execl(path, "x", "-c", "exit 21", (char *) 0); _exit(98); }

static void *last(void *unused) {
    char text[PATH_MAX], *program = "/nowhere";
    usleep(50000);                      /* the leader is gone */
    int good = path_call() && getcwd(text, sizeof text) && readlink("/proc/thread-self/cwd", text, sizeof text) > 0;
    struct stat st;
    good += fstatat(AT_FDCWD, "/etc", &st, 0) == 0 && mkdir("after-leader", 0700) == 0 && rmdir("after-leader") == 0;
    good += execl(program, program, (char *) 0) == -1 && errno == ENOENT;
    exit(30 + good);
}

static void *last_execs(void *unused) { usleep(50000); return exec_("/bin/sh"); }
static void *leaves(void *unused) { pthread_exit(0); }
static void *forks(void *unused) { for (;;) { pid_t p = fork(); if (!p) _exit(path_call() - 1); waitpid(p, 0, 0); } }
static void *vforks(void *unused) { for (;;) { pid_t p = vfork(); if (!p) _exit(0); waitpid(p, 0, 0); } }

static void threads(void) {
    enum { MANY = 200 };
    pthread_t all[MANY];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_barrier_init(&barrier, 0, MANY);
    for (int i = 0; i < MANY; i++) pthread_create(&all[i], &attributes, busy, 0);
    for (int i = 0; i < MANY; i++) pthread_join(all[i], 0);
    SAY("%d threads, %d failures", MANY, failures);
    for (int i = 0; i < 10; i++) {
        int status = status_of(CHILD({ pthread_t t; for (int k = 0; k < 4; k++) pthread_create(&t, 0, forever, 0);
            pthread_create(&t, 0, maps, 0); pthread_create(&t, 0, exec_, "/bin/sh"); pause(); }));
        if (status != 21 || i == 9) { SAY("exec from a thread %d", status); break; }
    }
    SAY("exec by the leader %d", status_of(CHILD({ pthread_t t;
        for (int k = 0; k < 4; k++) pthread_create(&t, 0, forever, 0); usleep(1000); exec_("/bin/sh"); })));
    for (int i = 0; i < 10; i++) {
        int status = status_of(CHILD({ pthread_t t; for (int k = 0; k < 3; k++) pthread_create(&t, 0, forks, 0);
            pthread_create(&t, 0, vforks, 0); usleep(3000 + 300 * i); exec_("/bin/sh"); }));
        if (status != 21 || i == 9) { SAY("exec while others fork %d", status); break; }
    }
    SAY("failing exec with threads %d", status_of(CHILD({ pthread_t t; pthread_create(&t, 0, forever, 0);
        execl("/nowhere", "x", (char *) 0); _exit(errno == ENOENT ? 22 : 23); })));
    SAY("leader ends first %d", status_of(CHILD({ pthread_t t; pthread_create(&t, 0, last, 0); pthread_exit(0); })));
    SAY("leader ends, thread execs %d", status_of(CHILD({ pthread_t t; pthread_create(&t, 0, last_execs, 0);
        pthread_exit(0); })));
    SAY("all threads end %d", status_of(CHILD({ pthread_t t; pthread_create(&t, 0, leaves, 0); pthread_exit(0); })));
    SAY("exit with busy threads %d", status_of(CHILD({ pthread_t t;
        for (int k = 0; k < 8; k++) pthread_create(&t, 0, k % 2 ? forever : maps, 0); usleep(5000); exit(23); })));
}

/* -- waiting */

static void waits(void) {
    siginfo_t info = {0};
    int s;
    pid_t p = CHILD(_exit(14));
    SAY("nowait %s", ERRNO(waitid(P_PID, p, &info, WEXITED | WNOWAIT)));
    SAY("%d %d %d", info.si_code == CLD_EXITED, info.si_status, info.si_pid == p);
    SAY("again %d", status_of(p));
    SAY("gone %s", ERRNO(waitpid(p, &s, 0)));
    p = CHILD(pause());
    setpgid(p, p);                      /* in an orphaned group, which ours may be, SIGTSTP does nothing */
    SAY("nohang %d", waitpid(p, &s, WNOHANG));
    kill(p, SIGSTOP);
    SAY("untraced %d %d", waitpid(p, &s, WUNTRACED) == p, WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP);
    SAY("once %d", waitpid(p, &s, WUNTRACED | WNOHANG));
    kill(p, SIGCONT);
    SAY("continued %d %d", waitpid(p, &s, WCONTINUED) == p, WIFCONTINUED(s));
    kill(p, SIGTSTP);
    SAY("tstp %d %d", waitpid(p, &s, WUNTRACED) == p, WSTOPSIG(s));
    kill(p, SIGKILL);
    SAY("killed while stopped %d", status_of(p));
    p = clone(in_clone, TOP(0), CLONE_FS, (void *) 15L);
    SAY("clone child without __WALL %s", ERRNO(waitpid(p, &s, 0)));
    SAY("with __WCLONE %d", waitpid(p, &s, __WCLONE) == p && WEXITSTATUS(s) == 15);
    SAY("none %s", ERRNO(waitpid(-1, &s, __WALL)));
    p = CHILD({ setpgid(0, 0); _exit(16); });
    setpgid(p, p);
    SAY("group %d", waitpid(-p, &s, 0) == p && WEXITSTATUS(s) == 16);
    SAY("other group %s", ERRNO(waitpid(-p, &s, 0)));
    pid_t other = CHILD(usleep(20000));
    SAY("waitid all %s", ERRNO(waitid(P_ALL, 0, &info, WEXITED)));
    SAY("%d", info.si_pid == other);
    struct rusage usage;
    p = CHILD(for (volatile int i = 0; i < 50000000; i++));
    SAY("wait4 %d", wait4(p, &s, 0, &usage) == p && usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec > 0);
}

/* -- groups, sessions, orphans */

static void groups(void) {
    int ends[2];
    char c = 0;
    pipe(ends);
    SAY("setsid %d", status_of(CHILD(_exit(setsid() == getpid() && getsid(0) == getpid() && getpgid(0) == getpid()))));
    SAY("leader's setsid %s", status_of(CHILD({ setpgid(0, 0); _exit(setsid() == -1 && errno == EPERM); })) ? "EPERM" : "ok");
    pid_t p = CHILD({ setpgid(0, 0); CHILD(pause()); CHILD(pause()); write(ends[1], "x", 1); pause(); });
    read(ends[0], &c, 1);
    SAY("kill group %s", ERRNO(kill(-p, SIGTERM)));
    SAY("%d", status_of(p));
    while (kill(-p, 0) == 0) usleep(1000);
    SAY("group is gone %s", ERRNO(kill(-p, 0)));
    SAY("nobody %s", ERRNO(kill(99999999, 0)));
    SAY("pgid of nobody %s", ERRNO(getpgid(99999999)));
    SAY("setpgid after exec %s", ({ pid_t q = CHILD(execl("/bin/sleep", "sleep", "5", (char *) 0)); usleep(200000);
        const char *name = ERRNO(setpgid(q, q)); kill(q, SIGKILL); status_of(q); name; }));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t me = getpid(), seen = 0;
    p = CHILD({ pid_t parent = getpid(); if (!fork()) { while (getppid() == parent) usleep(1000); seen = getppid();
                write(ends[1], &seen, sizeof seen); _exit(17); } });
    SAY("middle %d", status_of(p));
    read(ends[0], &seen, sizeof seen);
    int s;
    SAY("subreaper is parent %d, reaps %d", seen == me, wait(&s) > 0 && WEXITSTATUS(s) == 17);
    p = CHILD({ pid_t parent = getpid(); if (!fork()) { prctl(PR_SET_PDEATHSIG, SIGUSR2);
        if (getppid() != parent) raise(SIGUSR2); pause(); } usleep(100000); });
    status_of(p);
    wait(&s);
    SAY("pdeathsig %d", WIFSIGNALED(s) && WTERMSIG(s) == SIGUSR2);
}

/* -- what a process says of itself */

static void self(void) {
    char name[17] = "", line[64] = "";
    prctl(PR_SET_NAME, "a long name of a thread");
    prctl(PR_GET_NAME, name);
    FILE *file = fopen("/proc/self/comm", "r");
    fgets(line, sizeof line, file);
    line[strcspn(line, "\n")] = 0;
    SAY("comm %s %s", name, line);
    SAY("dumpable %d", prctl(PR_GET_DUMPABLE));
    prctl(PR_SET_DUMPABLE, 0);
    SAY("not dumpable %d, path call %d, child %d", prctl(PR_GET_DUMPABLE), path_call(),
        status_of(CHILD(_exit(prctl(PR_GET_DUMPABLE) == 0))));
    SAY("parent %d", status_of(CHILD({ pid_t p = getpid(); _exit(status_of(CHILD(_exit(getppid() == p)))); })));
    cpu_set_t mask, one;
    sched_getaffinity(0, sizeof mask, &mask);
    int first = 0;
    while (!CPU_ISSET(first, &mask)) first++;
    for (int i = 0; i < 300; i++) path_call();
    cpu_set_t now;
    sched_getaffinity(0, sizeof now, &now);
    SAY("mask %d", CPU_EQUAL(&mask, &now));
    int good = 0;
    for (int i = 0; i < 30; i++) {
        for (int k = 0; k < 50; k++) path_call();
        good += status_of(CHILD({ cpu_set_t mine; sched_getaffinity(0, sizeof mine, &mine);
                                  _exit(CPU_EQUAL(&mask, &mine)); }));
    }
    SAY("children have it %d", good);
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    for (int i = 0; i < 100; i++) path_call();
    sched_setaffinity(0, sizeof one, &one);
    for (int i = 0; i < 300; i++) path_call();
    usleep(300000);
    sched_getaffinity(0, sizeof now, &now);
    SAY("own mask %d", CPU_EQUAL(&one, &now));
    sched_setaffinity(0, sizeof mask, &mask);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    SAY("nofile %ld", (long) limit.rlim_cur);
    limit.rlim_cur = 20;
    setrlimit(RLIMIT_NOFILE, &limit);
    int fd, opened = 0;
    while ((fd = open("/etc/passwd", O_RDONLY)) >= 0) opened = fd;
    SAY("opened up to %d then %s", opened, strerrorname_np(errno));
}

/* -- descriptors of processes and timers */

static void pidfds(void) {
    pid_t p = CHILD({ path_call(); pause(); });
    int fd = syscall(SYS_pidfd_open, p, 0);
    siginfo_t info = {0};
    SAY("open %d", fd >= 0);
    SAY("poll %s", ERRNO(waitid(P_PIDFD, fd, &info, WEXITED | WNOHANG)));
    SAY("signal %s", ERRNO(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0)));
    SAY("waited %d %d", waitid(P_PIDFD, fd, &info, WEXITED), info.si_status);
    SAY("signal to the dead %s", ERRNO(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0)));
    SAY("getfd of oneself %d", (int) syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getpid(), 0), 1, 0) >= 0);
    SAY("nobody %s", ERRNO(syscall(SYS_pidfd_open, 99999999, 0)));
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } sections[] = {
        {"fork", fork_}, {"clones", clones}, {"clone3", clone3_}, {"refused", refused}, {"spawn", spawn},
        {"threads", threads}, {"waits", waits}, {"groups", groups}, {"self", self}, {"pidfds", pidfds},
    };
    for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++)
        if (!strcmp(argv[1], sections[i].name)) { sections[i].run(); return 0; }
    return 2;
}
