/* Processes that fork, exec, make threads and path calls, and are killed at any moment. storm SEED ROUNDS. */
#include "common.h"

extern char **environ;
static volatile int stop;

static void *path_calls(void *unused) { while (!stop) path_call(); return 0; }
static void *forks(void *unused) {
    for (;;) { pid_t p = fork(); if (!p) { path_call(); _exit(0); } if (p > 0) waitpid(p, 0, 0); }
}
static void *execs(void *unused) {
    usleep(2000);
    execl("/bin/true", "true", (char *) 0);
    return 0;
}

static void worker(unsigned seed) {
    pthread_t t;
    setpgid(0, 0);
    for (int i = 0;; i++) {
        pid_t p;
        switch (rand_r(&seed) % 9) {
        case 0: path_call(); break;
        case 1: p = fork(); if (!p) { execl("/bin/true", "true", (char *) 0); _exit(1); } waitpid(p, 0, 0); break;
        case 2: p = vfork(); if (!p) { execl("/bin/true", "true", (char *) 0); _exit(1); } waitpid(p, 0, 0); break;
        case 3: if (!fork()) { path_call(); _exit(0); } break;             /* an orphan or a zombie */
        case 4: pthread_create(&t, 0, path_calls, 0); break;
        case 5: posix_spawn(&p, "/bin/true", 0, 0, (char *[]) {"true", 0}, environ); break;
        case 6: if (!fork()) { pthread_create(&t, 0, forks, 0); pthread_create(&t, 0, execs, 0); pause(); } break;
        case 7: close(open("/etc/passwd", O_RDONLY)); mkdir("storm-directory", 0700); rmdir("storm-directory"); break;
        case 8: waitpid(-1, 0, WNOHANG); break;
        }
        if (i > 12) for (;;) { path_call(); if (!fork()) _exit(path_call()); }
    }
}

int main(int argc, char **argv) {
    enum { WORKERS = 6 };
    static const int numbers[] = {SIGKILL, SIGKILL, SIGKILL, SIGSTOP, SIGTERM, SIGSEGV, SIGCONT};
    unsigned seed = atoi(argv[1]);
    int rounds = atoi(argv[2]), killed = 0, s;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_CHILD_SUBREAPER, argc > 3);
    pid_t pids[WORKERS] = {0};
    for (int i = 0; i < rounds; i++) {
        int n = rand_r(&seed) % WORKERS;
        if (!pids[n]) {
            unsigned own = rand_r(&seed);
            pids[n] = fork();
            if (!pids[n]) worker(own);
            setpgid(pids[n], pids[n]);
            continue;
        }
        usleep(rand_r(&seed) % 6000);
        int number = numbers[rand_r(&seed) % 7];
        if (rand_r(&seed) % 2) kill(-pids[n], number); else kill(pids[n], number);
        if (number != SIGSTOP && number != SIGCONT) {
            kill(pids[n], SIGCONT);
            kill(-pids[n], SIGKILL);
            while (waitpid(pids[n], &s, 0) < 0 && errno == EINTR);
            killed += WIFSIGNALED(s);
            pids[n] = 0;
        }
    }
    for (int n = 0; n < WORKERS; n++) if (pids[n]) { kill(-pids[n], SIGKILL); waitpid(pids[n], 0, 0); }
    while (argc > 3 && waitpid(-1, 0, WNOHANG) > 0);
    SAY("killed some %d, path call %d", killed > 0, path_call());
    return 0;
}
