/* Tries to break: a guest reaches no process outside, neither by its number nor by its files in /proc, and of its supervisor
 * neither memory nor descriptors nor signals. argv[3]: an address in the outsider's memory. */
#include "hostile.h"
#include <linux/kcmp.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static void memory_of(pid_t pid, unsigned long address, way *how, const char *name) {
    char here[32] = "";
    struct iovec to = {here, sizeof here}, from = {(void *)address, sizeof here};
    if (CALL(how, SYS_process_vm_readv, pid, (long)&to, 1, (long)&from, 1, 0) > 0) ESCAPED("read memory of %d %s", pid, name);
    if (CALL(how, SYS_process_vm_writev, pid, (long)&to, 1, (long)&from, 1, 0) > 0) ESCAPED("wrote memory of %d %s", pid, name);
    if (CALL(how, SYS_ptrace, PTRACE_ATTACH, pid, 0, 0) >= 0) ESCAPED("attached to %d %s", pid, name);
    if (CALL(how, SYS_ptrace, PTRACE_SEIZE, pid, 0, 0) >= 0) ESCAPED("seized %d %s", pid, name);
    if (CALL(how, SYS_kcmp, getpid(), pid, KCMP_FILES, 0, 0) >= 0) ESCAPED("kcmp with %d %s", pid, name);
    void *head;
    size_t length;
    if (CALL(how, SYS_get_robust_list, pid, (long)&head, (long)&length) >= 0) ESCAPED("robust list of %d %s", pid, name);
    if (CALL(how, SYS_move_pages, pid, 0, 0, 0, 0, 0) >= 0) ESCAPED("move_pages of %d %s", pid, name);
    unsigned long nodes = 1;
    if (CALL(how, SYS_migrate_pages, pid, 1, (long)&nodes, (long)&nodes) >= 0) ESCAPED("migrate_pages of %d %s", pid, name);
}

static void signals_to(pid_t pid, way *how, const char *name) {
    siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
    if (CALL(how, SYS_kill, pid, SIGUSR1) >= 0) ESCAPED("kill %d %s", pid, name);
    if (CALL(how, SYS_kill, pid, 0) >= 0) ESCAPED("kill 0 %d %s", pid, name);
    if (CALL(how, SYS_tkill, pid, SIGUSR1) >= 0) ESCAPED("tkill %d %s", pid, name);
    if (CALL(how, SYS_tgkill, pid, pid, SIGUSR1) >= 0) ESCAPED("tgkill %d %s", pid, name);
    if (CALL(how, SYS_tgkill, getpid(), pid, SIGUSR1) >= 0) ESCAPED("tgkill of our thread %d %s", pid, name);
    if (CALL(how, SYS_rt_sigqueueinfo, pid, SIGUSR1, (long)&info) >= 0) ESCAPED("sigqueue %d %s", pid, name);
    if (CALL(how, SYS_rt_tgsigqueueinfo, pid, pid, SIGUSR1, (long)&info) >= 0) ESCAPED("tgsigqueue %d %s", pid, name);
    long fd = CALL(how, SYS_pidfd_open, pid, 0);
    if (fd >= 0) ESCAPED("pidfd of %d %s", pid, name);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", pid);
    fd = CALL(how, SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_DIRECTORY);
    if (fd >= 0 && syscall(SYS_pidfd_send_signal, fd, SIGUSR1, 0, 0) >= 0) ESCAPED("signal by /proc/%d %s", pid, name);
    if (fd >= 0 && syscall(SYS_pidfd_getfd, fd, 0, 0) >= 0) ESCAPED("descriptor by /proc/%d %s", pid, name);
    int pipes[2];
    pipe(pipes);
    if (CALL(how, SYS_fcntl, pipes[0], F_SETOWN, pid) >= 0) ESCAPED("F_SETOWN %d %s", pid, name);
    int owner[2] = {F_OWNER_PID, pid};
    if (CALL(how, SYS_fcntl, pipes[0], 15, (long)owner) >= 0) ESCAPED("F_SETOWN_EX %d %s", pid, name);
    close(pipes[0]), close(pipes[1]);
}

static void treatment_of(pid_t pid, way *how, const char *name) {
    struct rlimit limit = {1, 1};
    unsigned long mask = 1;
    struct sched_param parameter = {0};
    if (CALL(how, SYS_prlimit64, pid, RLIMIT_NOFILE, (long)&limit) >= 0) ESCAPED("prlimit %d %s", pid, name);
    if (CALL(how, SYS_sched_setaffinity, pid, 8, (long)&mask) >= 0) ESCAPED("affinity of %d %s", pid, name);
    if (CALL(how, SYS_setpriority, PRIO_PROCESS, pid, 19) >= 0) ESCAPED("priority of %d %s", pid, name);
    if (CALL(how, SYS_ioprio_set, 1, pid, 3 << 13) >= 0) ESCAPED("I/O priority of %d %s", pid, name);
    if (CALL(how, SYS_sched_setscheduler, pid, SCHED_IDLE, (long)&parameter) >= 0) ESCAPED("scheduler of %d %s", pid, name);
    if (CALL(how, SYS_sched_setparam, pid, (long)&parameter) >= 0) ESCAPED("sched_setparam of %d %s", pid, name);
    int attributes[14] = {56, SCHED_IDLE};
    if (CALL(how, SYS_sched_setattr, pid, (long)attributes, 0) >= 0) ESCAPED("sched_setattr of %d %s", pid, name);
}

static void files_of(pid_t pid, way *how, const char *name) {
    static const char *files[] = {"mem", "environ", "maps", "fd/0", "root/etc/hostname", "cwd/secret", "exe", "auxv", "stack",
                                  "syscall", "pagemap", "io", "timerslack_ns", "fdinfo/0", "task/%d/mem"};
    char path[128], text[64];
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "/proc/%d/", pid);
        snprintf(path + strlen(path), sizeof path - strlen(path), files[i], pid);
        long fd = CALL(how, SYS_openat, AT_FDCWD, (long)path, O_RDONLY);
        if (fd >= 0 && read(fd, text, 1) > 0) ESCAPED("read %s %s", path, name);
        if (fd >= 0) close(fd);
    }
    static const char *writable[] = {"mem", "oom_score_adj", "oom_adj", "coredump_filter", "clear_refs", "comm", "autogroup",
                                     "timerslack_ns", "sched", "loginuid"};
    for (unsigned i = 0; i < sizeof writable / sizeof *writable; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, writable[i]);
        long fd = CALL(how, SYS_openat, AT_FDCWD, (long)path, O_WRONLY);
        if (fd >= 0) ESCAPED("opened %s for writing %s", path, name), close(fd);
    }
    snprintf(path, sizeof path, "/proc/%d/cwd", pid);
    if (CALL(how, SYS_readlink, (long)path, (long)text, sizeof text) >= 0) ESCAPED("readlink %s %s", path, name);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    unsigned long address = argc > 3 ? strtoul(argv[3], 0, 10) : 0;
    pid_t supervisor = getppid(), all[] = {outsider, supervisor};
    for (int i = 0; i < WAYS; i++)
        for (int k = 0; k < 2; k++) {
            if (all[k] <= 1) continue;
            memory_of(all[k], address, ways[i].call, ways[i].name);
            signals_to(all[k], ways[i].call, ways[i].name);
            treatment_of(all[k], ways[i].call, ways[i].name);
            files_of(all[k], ways[i].call, ways[i].name);
        }
    signal(SIGUSR1, SIG_IGN);
    kill(-1, SIGUSR1);                         /* all that are in the machine: ourselves */
    kill(-getpgid(supervisor), SIGUSR1);
    setpriority(PRIO_USER, 0, 5);
    setpriority(PRIO_PGRP, getpgid(supervisor), 6);
    return HELD();
}
