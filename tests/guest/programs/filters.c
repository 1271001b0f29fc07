/* Programs that install seccomp filters of their own, or enter strict mode. */
#include "common.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#define INSTALL(flags, ...) ({ struct sock_filter f_[] = {__VA_ARGS__}; struct sock_fprog p_ = {sizeof f_ / sizeof *f_, f_}; \
                               syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p_); })
#define NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define ON(number, answer) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, answer)
#define OTHERWISE(answer) BPF_STMT(BPF_RET | BPF_K, answer)
#define ALLOW(number) ON(number, SECCOMP_RET_ALLOW)

static volatile int trapped;
static void trap(int number, siginfo_t *info, void *context) { trapped = info->si_syscall; }
static void *in_thread(void *unused) { struct stat st; return (void *) (long) (stat("/etc", &st) ? errno : 0); }

/* As sandboxes of servers do: a short list, death for the rest. */
static long sandbox(void) {
    return INSTALL(0, NUMBER, ALLOW(SYS_read), ALLOW(SYS_write), ALLOW(SYS_openat), ALLOW(SYS_newfstatat), ALLOW(SYS_close),
                   ALLOW(SYS_brk), ALLOW(SYS_mmap), ALLOW(SYS_munmap), ALLOW(SYS_exit_group), ALLOW(SYS_rt_sigreturn),
                   ALLOW(SYS_getpid), ALLOW(SYS_execve), ALLOW(SYS_exit), OTHERWISE(SECCOMP_RET_KILL_PROCESS));
}

int main(void) {
    struct rlimit none = {0, 0};
    struct sock_fprog bad = {1, (void *) 8};
    setrlimit(RLIMIT_CORE, &none);
    SAY("mode %d", prctl(PR_GET_SECCOMP));
    SAY("flags that exist %s", ERRNO(syscall(SYS_seccomp, 1, SECCOMP_FILTER_FLAG_TSYNC, 0)));
    SAY("flags that don't %s", ERRNO(syscall(SYS_seccomp, 1, 0x8000, 0)));
    SAY("bad pointer %s", ERRNO(syscall(SYS_seccomp, 1, 0, &bad)));
    SAY("with new privileges possible %s", ERRNO(INSTALL(0, OTHERWISE(SECCOMP_RET_ALLOW))));
    SAY("strict %d", status_of(CHILD({ prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); write(1, "in it\n", 6); syscall(SYS_exit, 3); })));
    SAY("strict, getpid %d", status_of(CHILD({ prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); getpid(); syscall(SYS_exit, 3); })));
    SAY("strict, open %d", status_of(CHILD({ syscall(SYS_seccomp, 0, 0, 0); path_call(); syscall(SYS_exit, 3); })));
    SAY("strict, exit_group %d", status_of(CHILD({ syscall(SYS_seccomp, 0, 0, 0); _exit(3); })));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    SAY("errno %d", status_of(CHILD({
        SAY("installed %ld, mode %d", INSTALL(0, NUMBER, ON(SYS_openat, SECCOMP_RET_ERRNO | EXDEV), OTHERWISE(SECCOMP_RET_ALLOW)),
            prctl(PR_GET_SECCOMP));
        SAY("open %s, stat %s", ERRNO(open("/etc/passwd", O_RDONLY)), ERRNO(access("/etc/passwd", F_OK)));
        SAY("strict after a filter %s", ERRNO(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)));
        SAY("child %d", status_of(CHILD(_exit(prctl(PR_GET_SECCOMP) + (open("/etc", O_RDONLY) == -1 && errno == EXDEV))))); })));
    SAY("trap %d", status_of(CHILD({
        struct sigaction action = {.sa_sigaction = trap, .sa_flags = SA_SIGINFO};
        sigaction(SIGSYS, &action, 0);
        INSTALL(0, NUMBER, ON(SYS_access, SECCOMP_RET_TRAP), OTHERWISE(SECCOMP_RET_ALLOW));
        access("/etc", F_OK);
        SAY("trapped %d, path call %d", trapped == SYS_access, path_call());
        signal(SIGSYS, SIG_DFL);
        access("/etc", F_OK); })));
    SAY("sandbox %d", status_of(CHILD({ sandbox(); _exit(path_call() + open("/etc/passwd", O_RDONLY) >= 3); })));
    SAY("sandbox, forbidden %d", status_of(CHILD({ sandbox(); mkdir("made", 0700); })));
    SAY("sandbox, forbidden native call %d", status_of(CHILD({ sandbox(); getppid(); })));
    SAY("failed exec %d", status_of(CHILD({ sandbox(); execl("/nowhere", "x", (char *) 0); _exit(errno == ENOENT); })));
    SAY("all threads %d", status_of(CHILD({
        pthread_t t;
        void *result;
        INSTALL(SECCOMP_FILTER_FLAG_TSYNC, NUMBER, ON(SYS_newfstatat, SECCOMP_RET_ERRNO | EXDEV), OTHERWISE(SECCOMP_RET_ALLOW));
        pthread_create(&t, 0, in_thread, 0);
        pthread_join(t, &result);
        _exit((long) result); })) == EXDEV);
    SAY("tracer that is not there %d", status_of(CHILD({
        INSTALL(0, NUMBER, ON(SYS_getppid, SECCOMP_RET_TRACE), OTHERWISE(SECCOMP_RET_ALLOW));
        _exit(getppid() == -1 && errno == ENOSYS); })));
    return 0;
}
