/* Costs of single calls: micro CALL COUNT prints the microseconds that one call takes, the best of five rounds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec / 1e3; }

static int zero;
static char *self;

static void call(const char *name, long count) {
    struct stat st; char buffer[4096]; pid_t pid;
#define CASE(what) else if (!strcmp(name, what)) for (long i = 0; i < count; i++)
    if (0) ;
    CASE("stat") stat("/etc/passwd", &st);
    CASE("stat-missing") stat("/etc/no-such-file", &st);
    CASE("stat-relative") stat("job-file", &st);
    CASE("open-close") { int fd = open("/etc/passwd", O_RDONLY); close(fd); }
    CASE("getpid") syscall(SYS_getpid);
    CASE("read") read(zero, buffer, sizeof buffer);
    CASE("fork-wait") { pid = fork(); if (!pid) _exit(0); waitpid(pid, 0, 0); }
    CASE("fork-exec-wait") { pid = fork(); if (!pid) { execl(self, self, "nothing", (char *) 0); _exit(127); } waitpid(pid, 0, 0); }
    CASE("vfork-exec-wait") { pid = vfork(); if (!pid) { execl(self, self, "nothing", (char *) 0); _exit(127); } waitpid(pid, 0, 0); }
    CASE("thread") { pthread_t t; pthread_create(&t, 0, (void *(*)(void *)) strlen, ""); pthread_join(t, 0); }
    CASE("create-unlink") { int fd = open("made", O_CREAT | O_WRONLY, 0600); close(fd); unlink("made"); }
    CASE("cpu") for (volatile int k = 0; k < 1000; k++);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "nothing")) return 0;
    if (argc != 3) { fprintf(stderr, "micro CALL COUNT\n"); return 2; }
    self = argv[0];
    zero = open("/dev/zero", O_RDONLY);
    long count = atol(argv[2]);
    double best = 1e18;
    for (int round = 0; round < 5; round++) {
        double start = now();
        call(argv[1], count);
        double took = (now() - start) / count;
        if (took < best) best = took;
    }
    printf("%.4f\n", best);
    return 0;
}
