/* What the test programs share: line-wise output, children, and paths that the supervisor has to translate. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAY(...) (printf(__VA_ARGS__), putchar('\n'), fflush(stdout))
#define ERRNO(call) ({ errno = 0; long r_ = (long) (call); r_ == -1 ? strerrorname_np(errno) : "ok"; })
#define CHILD(...) ({ fflush(stdout); pid_t p_ = fork(); if (!p_) { __VA_ARGS__; _exit(0); } p_; })

/* 128 + N for a signal, as shells say it. */
static inline int status_of(pid_t pid) {
    int s;
    while (waitpid(pid, &s, __WALL) < 0) if (errno != EINTR) return -errno;
    return WIFEXITED(s) ? WEXITSTATUS(s) : 128 + WTERMSIG(s);
}

static inline int path_call(void) {
    struct stat st;
    return stat("/etc/passwd", &st) == 0 && stat("/nowhere/at/all", &st) == -1 && errno == ENOENT;
}

static inline void on(int number, void *handler, int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(number, &action, 0);
}
