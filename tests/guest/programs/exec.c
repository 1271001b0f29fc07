/* Starts programs in every way there is. exec WAY [ARGS...]: WAY is one of the names in main(). */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void *in_thread(void *argv) { execv(((char **) argv)[0], argv); perror("execv"); exit(1); }
static void *forever(void *unused) { for (;;) pause(); }
static int clone_child(void *argv) { execv(((char **) argv)[0], argv); _exit(errno); }

static int wait_for(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) < 0) { perror("waitpid"); return 99; }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Errors exec gives while the old program is still there. */
static void errors(void) {
    char *argv[] = {"x", 0}, *none[] = {0};
    int fd = open("/etc/passwd", O_RDONLY), dir = open("/", O_RDONLY);
    char *big = malloc(200000); memset(big, 'a', 199999); big[199999] = 0; char *large[] = {"x", big, 0};
    char **many = calloc(3000, sizeof *many); for (int i = 0; i < 2999; i++) many[i] = big + 100000;
#define E(call) errno = 0, call, printf("%s: %s\n", #call, strerrorname_np(errno))
    E(execv("/nowhere", argv)); E(execv("/etc/passwd", argv)); E(execv("/etc", argv)); E(execv("/etc/passwd/x", argv)); E(execv("", argv));
    E(execv((char *) 8, argv)); E(execv("/bin/true", (void *) 8)); E(execv("loop", argv)); E(execv("empty", argv)); E(execv("garbage", argv));
    E(execv("script-nowhere", argv)); E(execv("script-loop", argv)); E(execv("script-directory", argv)); E(execv("script-empty", argv)); E(execv("noexec", argv));
    E(execv("truncated", argv)); E(execv("foreign", argv)); E(execv("no-interpreter", argv)); E(execv("/bin/true", large)); E(execve("/bin/true", argv, large)); E(execv("/bin/true", many));
    E(execveat(fd, "", argv, environ, AT_EMPTY_PATH)); E(execveat(dir, "nowhere", argv, environ, 0)); E(execveat(99, "x", argv, environ, 0)); E(execveat(fd, "x", argv, environ, 0));
    E(execveat(dir, "bin/sh", argv, environ, AT_SYMLINK_NOFOLLOW)); E(execveat(dir, "", argv, environ, 0)); E(execveat(dir, "", argv, environ, AT_EMPTY_PATH)); E(execveat(dir, "bin/true", argv, environ, 1));
    E(fexecve(fd, argv, environ)); E(execv("todirectory/", argv)); E(execvp("nowhere-in-path", argv)); E(posix_spawn(&(pid_t){0}, "/nowhere", 0, 0, argv, environ));
    pid_t pid; int code = posix_spawn(&pid, "/nowhere", 0, 0, argv, environ); printf("posix_spawn: %s\n", strerrorname_np(code));
    int writer = open("busy", O_WRONLY); fflush(stdout); pid = fork(); if (!pid) { E(execv("busy", argv)); exit(0); } wait_for(pid); close(writer);
    pid = vfork(); if (!pid) { execv("/nowhere", argv); _exit(errno == ENOENT ? 5 : 6); } printf("vfork: %d\n", wait_for(pid));
}

/* What the program sees of itself. */
static void self(int argc, char **argv) {
    char exe[PATH_MAX] = "", name[17] = "", comm[64] = ""; Elf64_Ehdr *header; extern char __executable_start;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1); (void) n; prctl(PR_GET_NAME, name);
    FILE *file = fopen("/proc/self/comm", "r"); if (file) fgets(comm, sizeof comm, file); comm[strcspn(comm, "\n")] = 0;
    printf("argc %d\n", argc); for (int i = 0; i < argc; i++) printf("argv %s\n", argv[i]);
    printf("exe %s\nname %s\ncomm %s\nexecfn %s\n", exe, name, comm, (char *) getauxval(AT_EXECFN));
    Elf64_Phdr *headers = (void *) getauxval(AT_PHDR); int found = 0; header = (void *) &__executable_start;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) found |= headers[i].p_type == PT_LOAD;
    printf("phdr %s entry %s pagesz %lu secure %lu random %d uid %d\n", found ? "loads" : "?", getauxval(AT_ENTRY) ? "set" : "?", getauxval(AT_PAGESZ),
           getauxval(AT_SECURE), getauxval(AT_RANDOM) != 0, getauxval(AT_UID) == getuid());
    char *before = sbrk(0); sbrk(1 << 20); printf("brk %d\n", (char *) sbrk(0) - before == 1 << 20);
    char line[5000]; int named = 0, strange = 0; file = fopen("/proc/self/maps", "r");
    while (file && fgets(line, sizeof line, file)) { named |= strstr(line, exe) != 0; strange |= strstr(line, "apppot-stub") || strstr(line, "window"); }
    printf("maps %d %d\n", named, strange); void *block = malloc(50 << 20); memset(block, 1, 50 << 20); free(block); printf("env %s\n", getenv("MARK") ? getenv("MARK") : "-");
    for (int fd = 0; fd < 50; fd++) if (fcntl(fd, F_GETFD) >= 0) printf("fd%d ", fd); printf("\n");
}

/* Path calls go on while another thread is in exec; none of them finds the name missing. */
static void *looks(void *name) { while (!access(name, F_OK)) continue; _exit(9); }

int main(int argc, char **argv) {
    char *way = argv[1], **rest = argv + 2; pid_t pid; setvbuf(stdout, 0, _IOLBF, 1 << 16);
#define WAY(name) if (argc > 1 && !strcmp(way, name))
    WAY("self") { self(argc, argv); return 0; }
    WAY("errors") { errors(); return 0; }
    WAY("execv") { execv(rest[0], rest); perror("execv"); return 1; }
    WAY("other-argv0") { char *path = rest[0]; rest[0] = "another name"; execv(path, rest); return 1; }
    WAY("thread") { pthread_t t; pthread_create(&t, 0, forever, 0); pthread_create(&t, 0, in_thread, rest); pthread_join(t, 0); return 1; }
    WAY("vfork") { pid = vfork(); if (!pid) { execv(rest[0], rest); _exit(127); } return wait_for(pid); }
    WAY("fork") { pid = fork(); if (!pid) { execv(rest[0], rest); _exit(127); } return wait_for(pid); }
    WAY("clone-vm") { static char stack[65536]; pid = clone(clone_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, rest); return wait_for(pid); }
    WAY("clone-files") { static char stack[65536]; pid = clone(clone_child, stack + sizeof stack, CLONE_FILES | CLONE_FS | SIGCHLD, rest); return wait_for(pid); }
    WAY("spawn") { posix_spawn_file_actions_t a; posix_spawn_file_actions_init(&a); posix_spawn_file_actions_addopen(&a, 7, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addchdir_np(&a, "/usr"); if ((errno = posix_spawn(&pid, rest[0], &a, 0, rest, environ))) { perror("spawn"); return 1; } return wait_for(pid); }
    WAY("spawnp") { if ((errno = posix_spawnp(&pid, rest[0], 0, 0, rest, environ))) { perror("spawnp"); return 1; } return wait_for(pid); }
    WAY("fexecve") { int fd = open(rest[0], O_RDONLY | O_CLOEXEC); fexecve(fd, rest, environ); perror("fexecve"); return 1; }
    WAY("fexecve-path") { int fd = open(rest[0], O_PATH); fexecve(fd, rest, environ); perror("fexecve"); return 1; }
    WAY("execveat") { int fd = open("/usr", O_PATH); execveat(fd, rest[0], rest, environ, 0); perror("execveat"); return 1; }
    WAY("memfd") { int in = open(rest[0], O_RDONLY), fd = syscall(SYS_memfd_create, "program", 1); char b[65536]; ssize_t n;
        while ((n = read(in, b, sizeof b)) > 0) write(fd, b, n); fexecve(fd, rest, environ); perror("memfd"); return 1; }
    WAY("deleted") { int fd = open(rest[0], O_RDONLY); unlink(rest[0]); fexecve(fd, rest, environ); perror("deleted"); return 1; }
    WAY("written") { int in = open("/proc/self/exe", O_RDONLY), fd = open("just-written", O_CREAT | O_WRONLY | O_TRUNC, 0755); char b[65536]; ssize_t n;
        while ((n = read(in, b, sizeof b)) > 0) write(fd, b, n); close(fd); execl("just-written", "just-written", "self", (char *) 0); perror("written"); return 1; }
    WAY("self-exe") { execv("/proc/self/exe", (char *[]) {"again", "self", 0}); perror("self-exe"); return 1; }
    WAY("signals") { signal(SIGUSR1, SIG_IGN); signal(SIGUSR2, exit); sigset_t set; sigemptyset(&set); sigaddset(&set, SIGHUP); sigprocmask(SIG_BLOCK, &set, 0); alarm(1);
        execl("/bin/sh", "sh", "-c", "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; sleep 5", (char *) 0); return 1; }
    WAY("many") { for (int i = 0; i < atoi(rest[0]); i++) { pid = i % 2 ? fork() : vfork(); if (!pid) { execv(rest[1], rest + 1); _exit(127); } int status = wait_for(pid); if (status) return status; } return 0; }
    WAY("race") { for (int i = 0; i < 40; i++) { pid = fork(); if (!pid) { pthread_t t; for (int k = 0; k < 4; k++) pthread_create(&t, 0, in_thread, rest); pause(); } int status = wait_for(pid); if (status) return status; } return 0; }
    WAY("calls") { for (int i = 0; i < 100; i++) { pid = fork(); if (!pid) { pthread_t t; pthread_create(&t, 0, looks, rest[0]);
        pthread_create(&t, 0, in_thread, rest + 1); looks(rest[0]); } int status = wait_for(pid); if (status) return status; } return 0; }
    WAY("exit") return atoi(rest[0]);
    fprintf(stderr, "no such way\n");
    return 2;
}
