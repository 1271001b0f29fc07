/* directories TOP: makes directories in TOP, an empty directory, and tells after each change of the current
 * directory, by whomever, where relative names lead. directories TOP WHO only tells where they lead; directories TOP PROGRAM
 * ARGUMENT... starts that program in a process which shares the current directory. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMES = 3, STACK = 1 << 20 };

static const char *top;                 /* absolute */
static int turns[2][2];                 /* pipes: other task, go on; this task, go on */

static void must(int condition, const char *what) {
    if (!condition) {
        perror(what);
        exit(1);
    }
}

/* The letter that the current directory's files are of, by several ways that have to agree; then its name. */
static void look(const char *who) {
    char line[PATH_MAX + 200], path[PATH_MAX];
    for (int i = 0; i < TIMES; i++) {
        struct stat below, here, direct;
        char byte = '?';
        int fd = open("sub/name", O_RDONLY);
        if (fd >= 0) read(fd, &byte, 1), close(fd);
        if (stat("sub/name", &below)) below.st_size = -1;
        if (stat("direct", &direct)) direct.st_size = -1;
        const char *cwd = getcwd(path, sizeof path) ? path : "nowhere";
        if (!strncmp(cwd, top, strlen(top))) cwd += strlen(top);
        int length = snprintf(line, sizeof line, "%s: %c %ld %ld %d %s\n", who, byte, (long) below.st_size,
                              (long) direct.st_size, access("sub/name", R_OK), cwd);
        write(1, line, length);
    }
}

static void go(const char *name) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", top, name);
    must(chdir(path) == 0, path);
}

/* A directory with files of its letter, so many of them in each. */
static void make(const char *letter, int size) {
    char path[PATH_MAX];
    static const char *made[] = {"", "/sub"}, *files[] = {"direct", "sub/name"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s%s", top, letter, made[i]);
        must(mkdir(path, 0755) == 0, path);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", top, letter, files[i]);
        FILE *file = fopen(path, "w");
        must(file != 0, path);
        for (int n = 0; n < size; n++) fputs(letter, file);
        fclose(file);
    }
}

static void pass(int who) { char byte = 0; must(write(turns[who][1], &byte, 1) == 1, "write"); }
static void await(int who) { char byte; must(read(turns[who][0], &byte, 1) == 1, "read"); }

/* Another task, which stands where its maker stood, in whatever they share: each goes elsewhere while the other waits. */
static int other(void *alone) {
    look("other");
    if (alone) must(unshare(CLONE_FS) == 0, "unshare");
    go("b");
    look("other went");
    pass(0);
    await(1);
    look("other stayed");
    pass(0);
    return 0;
}

static void *other_thread(void *alone) { return other(alone), (void *) 0; }

static void beside(void) {
    await(0);
    look("first stayed");
    go("c");
    look("first went");
    pass(1);
    await(0);
    look("first at last");
}

static void with_thread(int alone) {
    pthread_t id;
    printf("== thread %d\n", alone);
    go("a");
    look("first");
    must(pthread_create(&id, 0, other_thread, alone ? &turns : 0) == 0, "pthread_create");
    beside();
    pthread_join(id, 0);
}

static void with_process(int flags) {
    int status;
    static char stack[STACK];
    printf("== clone %x\n", flags);
    go("a");
    look("first");
    pid_t pid = clone(other, stack + STACK, flags | SIGCHLD, 0);
    must(pid > 0, "clone");
    beside();
    must(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
}

static void with_vfork(void) {
    int status;
    puts("== vfork");
    go("a");
    look("first");
    pid_t pid = vfork();
    if (pid == 0) {
        look("child");
        go("b");
        look("child went");
        _exit(0);
    }
    must(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
    look("parent");
    go("c");
    look("parent went");
}

static void with_spawn(const char *self) {
    int status;
    pid_t pid;
    char path[PATH_MAX];
    char *words[] = {(char *) self, (char *) top, "look", 0}, *none[] = {0};
    posix_spawn_file_actions_t actions;
    puts("== posix_spawn");
    go("a");
    look("first");
    snprintf(path, sizeof path, "%s/b", top);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, path);
    must(posix_spawn(&pid, self, &actions, 0, words, none) == 0, "posix_spawn");
    must(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
    look("parent");
}

/* A process that shares the current directory, not the memory, becomes a program that goes elsewhere. */
static int become(void *words) {
    execvp(((char **) words)[0], words);
    return 127;
}

static void shared_with(char **words) {
    int status;
    static char stack[STACK];
    go("a");
    look("first");
    pid_t pid = clone(become, stack + STACK, CLONE_FS | SIGCHLD, words);
    must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
    look("first stayed");
}

int main(int argc, char **argv) {
    char path[PATH_MAX];
    if (argc < 2) return 2;
    top = argv[1];
    setvbuf(stdout, 0, _IONBF, 0);
    if (argc > 3) return shared_with(argv + 2), 0;
    if (argc > 2) return look(argv[2]), 0;
    must(realpath(argv[0], path) != 0, argv[0]);
    make("a", 1);
    make("b", 2);
    make("c", 3);
    for (int i = 0; i < 2; i++) must(pipe(turns[i]) == 0, "pipe");
    go("a");
    look("one");
    go("b");
    look("one");
    int fd = open("../c", O_RDONLY | O_DIRECTORY);
    must(fd >= 0 && fchdir(fd) == 0, "fchdir");
    look("one");
    must(chdir("/") == 0 && chdir("no such") == -1, "chdir");
    look("one");
    with_vfork();
    with_spawn(path);
    with_process(0);
    with_process(CLONE_VM);
    with_process(CLONE_FS);
    with_process(CLONE_VM | CLONE_FS);
    with_thread(0);
    with_thread(1);
    return 0;
}
