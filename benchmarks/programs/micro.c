/* Costs of single calls: micro CALL MILLISECONDS [PROCESSES] prints the microseconds that one call takes, the best of
 * five batches which together take about MILLISECONDS. With PROCESSES, so many make the calls at once, and it is the time
 * from the common start to the end of the last, divided by the number of all calls. A call that does not give what it
 * should ends the program with status 1. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 5, MOST_PROCESSES = 64 };

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec / 1e3; }

static int zero;
static const char *self = "./micro";    /* argv[0] is a name of the host's in some of the ways */
static volatile sig_atomic_t delivered;

static void on_signal(int number) { (void) number; delivered++; }

static void *thread(void *argument) { return argument; }

static int ended_well(pid_t pid) { int status; return waitpid(pid, &status, 0) == pid && status == 0; }

static int open_close(const char *path, int flags) { int fd = open(path, flags, 0600); return fd >= 0 && close(fd) == 0; }

static int run_self(pid_t pid) {
    if (pid == 0) { execl(self, self, "nothing", (char *) 0); _exit(127); }
    return ended_well(pid);
}

static int fork_only(void) { pid_t pid = fork(); if (pid == 0) _exit(0); return ended_well(pid); }

static int signal_self(void) { sig_atomic_t before = delivered; kill(getpid(), SIGUSR1); return delivered == before + 1; }

static int run_thread(void) {
    pthread_t id; void *result = 0;
    return pthread_create(&id, 0, thread, &zero) == 0 && pthread_join(id, &result) == 0 && result == &zero;
}

/* Make the call so many times; how many of them were right, or -1 for an unknown name. */
static long call(const char *name, long count) {
    struct stat st; char byte; long right = 0;
#define CALL(what, test) else if (!strcmp(name, what)) for (long i = 0; i < count; i++) right += (test)
    if (0) ;
    CALL("stat", stat("/etc/passwd", &st) == 0);
    CALL("stat-image", stat("/usr/include/stdio.h", &st) == 0);
    CALL("stat-missing", stat("/etc/no-such-file", &st) == -1);
    CALL("stat-relative", stat("job-file", &st) == 0);
    CALL("access", access("/etc/passwd", R_OK) == 0);
    CALL("access-image", access("/usr/include/stdio.h", R_OK) == 0);
    CALL("open-close", open_close("/etc/passwd", O_RDONLY));
    CALL("open-close-image", open_close("/usr/include/stdio.h", O_RDONLY));
    CALL("create-unlink", open_close("made", O_CREAT | O_EXCL | O_WRONLY) && unlink("made") == 0);
    CALL("mkdir-rmdir", mkdir("made", 0700) == 0 && rmdir("made") == 0);
    CALL("rename", rename("job-file", "renamed") == 0 && rename("renamed", "job-file") == 0);
    CALL("getpid", syscall(SYS_getpid) > 0);
    CALL("read", read(zero, &byte, 1) == 1);
    CALL("signal", signal_self());
    CALL("thread", run_thread());
    CALL("fork", fork_only());
    CALL("fork-exec", run_self(fork()));
    CALL("vfork-exec", run_self(vfork()));
    else return -1;
    return right;
}

static void must(int condition, const char *what) { if (!condition) { perror(what); exit(1); } }

/* Microseconds that `processes` children take for `count` calls each. */
static double at_once(const char *name, long count, int processes) {
    int ready[2], go[2]; char byte = 0; pid_t pids[MOST_PROCESSES];
    must(pipe(ready) == 0 && pipe(go) == 0, "pipe");
    for (int i = 0; i < processes; i++) {
        must((pids[i] = fork()) >= 0, "fork");
        if (pids[i] == 0) {
            close(go[1]);
            must(write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 0, "start");
            _exit(call(name, count) != count);
        }
    }
    for (int i = 0; i < processes; i++) must(read(ready[0], &byte, 1) == 1, "start");
    double start = now();
    close(go[1]);
    for (int i = 0; i < processes; i++) if (!ended_well(pids[i])) { fprintf(stderr, "%s failed\n", name); exit(1); }
    double took = now() - start;
    close(ready[0]); close(ready[1]); close(go[0]);
    return took;
}

static double batch(const char *name, long count, int processes) {
    if (processes) return at_once(name, count, processes);
    double start = now();
    long right = call(name, count);
    double took = now() - start;
    if (right != count) { fprintf(stderr, "%s: %ld of %ld calls were right\n", name, right, count); exit(1); }
    return took;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "nothing")) return 0;
    long milliseconds = argc > 2 ? atol(argv[2]) : 0;
    int processes = argc > 3 ? atoi(argv[3]) : 0;
    if (argc < 3 || argc > 4 || milliseconds < 1 || processes < 0 || processes > MOST_PROCESSES || call(argv[1], 0) < 0) {
        fprintf(stderr, "micro CALL MILLISECONDS [PROCESSES]\n");
        return 2;
    }
    must((zero = open("/dev/zero", O_RDONLY)) >= 0, "/dev/zero");
    signal(SIGUSR1, on_signal);
    double wanted = milliseconds * 1e3 / BATCHES, took;
    long count = 1;
    while ((took = batch(argv[1], count, processes)) < wanted / 2) count *= took < wanted / 20 ? 4 : 2;
    double best = took;
    for (int i = 0; i < BATCHES; i++) if ((took = batch(argv[1], count, processes)) < best) best = took;
    printf("%.4f\n", best / count / (processes ? processes : 1));
    return 0;
}
