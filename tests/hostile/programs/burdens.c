/* Tries to break: a guest that is a burden gets an error or waits; the machine goes on and ends when it should.
 * Descriptors without end, directories 10,000 deep, an argument list of 1 MiB, processes that never answer. */
#include "hostile.h"

static void descriptors(void) {
    int last = -1;
    for (int i = 0; i < 100000; i++) {
        int fd = open("/etc/image-file", O_RDONLY);
        if (fd < 0) break;
        last = fd;
    }
    if (last < 100) ESCAPED("only %d descriptors", last);
    for (int fd = 3; fd <= last; fd++) close(fd);
    if (open("/etc/image-file", O_RDONLY) < 0) ESCAPED("no file can be opened any more");
}

static void deep(const char *top, int most) {
    chdir(top);
    for (int depth = 0; depth < most; depth++)
        if (mkdir("d", 0700) || chdir("d")) break;
    close(open("end", O_WRONLY | O_CREAT, 0600));
    char name[PATH_MAX];
    getcwd(name, sizeof name);
    stat("../../../end", &(struct stat){0});
    for (int i = 0; i < 30; i++) {
        unlink("end");
        chdir("..");
        rmdir("d");
    }
    chdir("/");
}

static void arguments(const char *self) {
    pid_t pid = fork();
    if (!pid) {
        char *long_word = malloc(1 << 17), **argv = calloc(200000, 8);
        memset(long_word, 'x', (1 << 17) - 1);
        long_word[(1 << 17) - 1] = 0;
        for (int i = 0; i < 8; i++) argv[i] = long_word;                     /* 1 MiB in words of 128 KiB */
        argv[0] = "again";
        execve(self, argv, argv + 10);
        argv[1] = "x";
        for (int i = 1; i < 100000; i++) argv[i] = "word";
        execve(self, argv, argv + 199990);
        for (int i = 1; i < 199999; i++) argv[i] = long_word;                /* too much for any kernel */
        execve(self, argv, argv + 199999);
        execve(self, (char **)8, (char **)16);
        execve(self, (char **)-4096, 0);
        _exit(3);
    }
    int status;
    waitpid(pid, &status, 0);
    if (status) ESCAPED("an argument list of 1 MiB: status %x", status);
}

/* Children that are stopped where their parent, or the supervisor, waits for them; they end with the machine. */
static void silent(void) {
    if (!fork()) { if (!vfork()) { kill(getpid(), SIGSTOP); _exit(0); } _exit(0); }
    if (!fork()) { for (;;) pause(); }
    if (!fork()) { raise(SIGSTOP); for (;;) pause(); }
    if (!fork()) { sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0); for (;;) sched_yield(), usleep(10000); }
    mkfifo("/tmp/fifo", 0600);
    if (!fork()) { open("/tmp/fifo", O_RDONLY); _exit(0); }
    if (!fork()) { setsid(); signal(SIGTERM, SIG_IGN); signal(SIGHUP, SIG_IGN); for (;;) pause(); }
}

int main(int argc, char **argv) {
    if (argv[0] && !strcmp(argv[0], "again")) return 0;
    begin(argc, argv);
    descriptors();
    deep("/tmp", 10000);
    deep("/home/user/job", 300);
    arguments("/bin/burdens");
    silent();
    for (int i = 0; i < 200; i++) kill(getppid(), SIGTERM), kill(getppid(), SIGKILL), kill(getppid(), SIGSTOP);
    struct stat st;
    if (stat("/etc/image-file", &st)) ESCAPED("the machine does not work any more");
    return HELD();
}
