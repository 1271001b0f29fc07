/* Tries to break: what a guest can do by a descriptor is what it was opened for inside; an O_PATH descriptor of a file
 * outside, which the kernel's wall does not mediate, and one that is swapped while it is looked at, give nothing.
 * With argv[3], the name of a socket: descriptors that it sends (SCM_RIGHTS) give what they were opened for, and nothing else. */
#include "race.h"

static void by_link(int fd, const char *kind) {
    int readable = reads_secret(fd);        /* then that is what it was opened for */
    char link[64];
    struct timespec times[2] = {{1}, {1}};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    for (int i = 0; i < WAYS; i++) {
        way *how = ways[i].call;
        long opened = CALL(how, SYS_openat, AT_FDCWD, (long)link, O_RDONLY);
        if (opened >= 0 && reads_secret(opened) && !readable) ESCAPED("read %s by its link %s", kind, ways[i].name);
        if (CALL(how, SYS_openat, AT_FDCWD, (long)link, O_WRONLY) >= 0) ESCAPED("opened %s for writing %s", kind, ways[i].name);
        if (CALL(how, SYS_openat, AT_FDCWD, (long)link, O_RDONLY | O_TRUNC) >= 0) ESCAPED("cut %s off %s", kind, ways[i].name);
        if (CALL(how, SYS_chmod, (long)link, 0777) >= 0) ESCAPED("chmod of %s %s", kind, ways[i].name);
        if (CALL(how, SYS_truncate, (long)link, 0) >= 0) ESCAPED("truncate of %s %s", kind, ways[i].name);
        if (CALL(how, SYS_utimensat, AT_FDCWD, (long)link, (long)times, 0) >= 0) ESCAPED("utimensat of %s %s", kind, ways[i].name);
        if (CALL(how, SYS_setxattr, (long)link, (long)"user.a", (long)"b", 1, 0) >= 0) ESCAPED("setxattr of %s", kind);
        if (CALL(how, SYS_linkat, AT_FDCWD, (long)link, AT_FDCWD, (long)"/tmp/stolen", AT_SYMLINK_FOLLOW) >= 0)
            ESCAPED("linked %s inside %s", kind, ways[i].name);
        if (CALL(how, SYS_linkat, AT_FDCWD, (long)link, AT_FDCWD, (long)"/home/user/job/stolen", AT_SYMLINK_FOLLOW) >= 0)
            ESCAPED("linked %s to the job directory %s", kind, ways[i].name);
    }
}

static void executed(pid_t child, const char *kind, const char *how) {
    int status;
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) && WEXITSTATUS(status) != 42) ESCAPED("executed %s %s: %x", kind, how, status);
}

static void by_descriptor(int fd, const char *kind) {
    struct timespec times[2] = {{1}, {1}};
    char *nothing[] = {0}, link[64];
    for (int i = 0; i < WAYS; i++) {
        way *how = ways[i].call;
        if (CALL(how, SYS_fchmod, fd, 0777) >= 0) ESCAPED("fchmod of %s %s", kind, ways[i].name);
        if (CALL(how, SYS_fchownat, fd, (long)"", getuid(), getgid(), AT_EMPTY_PATH) >= 0) ESCAPED("fchownat of %s", kind);
        if (CALL(how, 452, fd, (long)"", 0777, AT_EMPTY_PATH) >= 0) ESCAPED("fchmodat2 of %s", kind);
        if (CALL(how, SYS_utimensat, fd, 0, (long)times, 0) >= 0) ESCAPED("futimens of %s", kind);
        if (CALL(how, SYS_utimensat, fd, (long)"", (long)times, AT_EMPTY_PATH) >= 0) ESCAPED("utimensat of %s itself", kind);
        if (CALL(how, SYS_fsetxattr, fd, (long)"user.a", (long)"b", 1, 0) >= 0) ESCAPED("fsetxattr of %s", kind);
        if (CALL(how, SYS_ftruncate, fd, 0) >= 0) ESCAPED("ftruncate of %s", kind);
        if (CALL(how, SYS_linkat, fd, (long)"", AT_FDCWD, (long)"/tmp/stolen", AT_EMPTY_PATH) >= 0) ESCAPED("linkat of %s", kind);
        pid_t child = fork();
        if (!child) {
            CALL(how, SYS_execveat, fd, (long)"", (long)nothing, (long)nothing, AT_EMPTY_PATH);
            _exit(42);
        }
        executed(child, kind, ways[i].name);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        child = fork();
        if (!child) {
            CALL(how, SYS_execve, (long)link, (long)nothing, (long)nothing);
            _exit(42);
        }
        executed(child, kind, "by its link");
    }
}

static void of_directory(int fd, const char *file) {
    int listed = fcntl(fd, F_GETFL) & O_PATH ? 0 : 1;
    for (int i = 0; i < WAYS; i++) {
        way *how = ways[i].call;
        if (CALL(how, SYS_openat, fd, (long)file, O_RDONLY) >= 0) ESCAPED("openat of a directory outside %s", ways[i].name);
        if (CALL(how, SYS_openat, fd, (long)file, O_RDWR) >= 0) ESCAPED("opened below a directory outside for writing %s", ways[i].name);
        if (CALL(how, SYS_mkdirat, fd, (long)"made-by-guest", 0700) >= 0) ESCAPED("mkdirat outside %s", ways[i].name);
        if (CALL(how, SYS_unlinkat, fd, (long)file, 0) >= 0) ESCAPED("unlinkat outside %s", ways[i].name);
        if (CALL(how, SYS_renameat, fd, (long)file, AT_FDCWD, (long)"/tmp/stolen") >= 0) ESCAPED("renameat from outside");
        if (CALL(how, SYS_linkat, fd, (long)file, AT_FDCWD, (long)"/tmp/stolen", 0) >= 0) ESCAPED("linkat from outside");
        if (CALL(how, SYS_symlinkat, (long)"/", fd, (long)"made-by-guest") >= 0) ESCAPED("symlinkat outside");
        if (CALL(how, SYS_fchmodat, fd, (long)file, 0777) >= 0) ESCAPED("fchmodat outside %s", ways[i].name);
        char entries[4096];
        if (CALL(how, SYS_getdents64, fd, (long)entries, sizeof entries) > 0 && !listed) ESCAPED("listed a directory outside");
        if (fchdir(fd) == 0 && open(file, O_RDONLY) >= 0) ESCAPED("opened after fchdir");
        chdir("/");
    }
}

static void of_socket(int fd) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    struct sockaddr_un address = unix_name(link);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(s, (void *)&address, sizeof address) == 0) ESCAPED("connected to a socket outside by its link");
}

/* A thread puts a descriptor of a file of the image, open for reading, in the place of a nameless one. */
static int shared, image_file, nameless;
static char shared_link[64];
static void swap_descriptor(void) { dup2(image_file, shared); dup2(nameless, shared); }
static void change_descriptor(void) {
    struct timespec times[2] = {{1}, {1}};
    TRY(fchmod(shared, 0600));
    TRY(utimensat(AT_FDCWD, shared_link, times, 0));
    TRY(chmod(shared_link, 0600));
    TRY(truncate(shared_link, 1));
    TRY(ftruncate(shared, 1));
}
static void swapped(void) {
    image_file = open("/etc/image-file", O_RDONLY);
    nameless = memfd_create("x", 0);
    shared = dup(nameless);
    snprintf(shared_link, sizeof shared_link, "/proc/self/fd/%d", shared);
    race("descriptor", swap_descriptor, change_descriptor);
}

static void of_file(int fd, const char *kind) {
    if (mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED) ESCAPED("mapped %s for writing", kind);
    by_link(fd, kind);
    by_descriptor(fd, kind);
}

/* A process, by a descriptor of it or of its directory in /proc. */
static void of_process(int fd, const char *kind) {
    struct iovec page = {(void *)0x400000, 4096};
    static const char *files[] = {"mem", "environ", "maps", "fd/0", "root/etc/hostname", "cwd/.", "exe", "oom_score_adj"};
    char text[8];
    for (int i = 0; i < WAYS; i++) {
        way *how = ways[i].call;
        if (CALL(how, SYS_pidfd_send_signal, fd, SIGUSR1, 0, 0) >= 0) ESCAPED("signalled %s %s", kind, ways[i].name);
        if (CALL(how, SYS_pidfd_getfd, fd, 0, 0) >= 0) ESCAPED("took a descriptor of %s %s", kind, ways[i].name);
        if (CALL(how, SYS_process_madvise, fd, (long)&page, 1, MADV_COLD, 0) >= 0) ESCAPED("process_madvise of %s %s", kind, ways[i].name);
        if (CALL(how, SYS_setns, fd, CLONE_NEWNS) >= 0) ESCAPED("entered the namespace of %s", kind);
        for (unsigned k = 0; k < sizeof files / sizeof *files; k++) {
            long file = CALL(how, SYS_openat, fd, (long)files[k], O_RDONLY);
            if (file >= 0 && k < 7 && read(file, text, 1) > 0) ESCAPED("read %s of %s %s", files[k], kind, ways[i].name);
            if (CALL(how, SYS_openat, fd, (long)files[k], O_WRONLY) >= 0) ESCAPED("opened %s of %s for writing", files[k], kind);
        }
    }
}

/* Takes what is sent with a letter that says what it is, until the other side has no more. */
static int receive(int from, char *letter) {
    char space[CMSG_SPACE(sizeof(int))];
    struct iovec data = {letter, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (recvmsg(from, &message, 0) != 1 || !CMSG_FIRSTHDR(&message)) return -1;
    return *(int *)CMSG_DATA(CMSG_FIRSTHDR(&message));
}

static int take_all(const char *name) {
    struct sockaddr_un there = unix_name(name);
    int s = socket(AF_UNIX, SOCK_STREAM, 0), fd, taken = 0;
    for (int i = 0; i < 3000 && connect(s, (void *)&there, sizeof there); i++) usleep(10000);     /* the other may be slow */
    for (char letter; (fd = receive(s, &letter)) >= 0; taken++, close(fd))
        switch (letter) {
        case 'f': of_file(fd, "a file that was sent"); break;
        case 'd': of_directory(fd, "secret"), by_link(fd, "a directory that was sent"); break;
        case 'r': of_directory(fd, "window"), by_link(fd, "a run directory"); break;
        case 'p': of_process(fd, "a process that was sent"); break;
        default: ESCAPED("no such letter: %c", letter);
        }
    printf("%d descriptors taken\n", taken);
    return HELD();
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "again")) return 0;
    begin(argc, argv);
    if (argc > 3) return take_all(argv[3]);
    long fd = from_stub(SYS_openat, AT_FDCWD, (long)secret, O_PATH, 0, 0, 0);
    if (fd >= 0) by_link(fd, "a file"), by_descriptor(fd, "a file");
    fd = from_stub(SYS_openat, AT_FDCWD, (long)canary_dir, O_PATH, 0, 0, 0);
    if (fd >= 0) of_directory(fd, "secret"), by_descriptor(fd, "a directory");
    fd = from_stub(SYS_openat, AT_FDCWD, (long)host_socket, O_PATH, 0, 0, 0);
    if (fd >= 0) of_socket(fd), by_link(fd, "a socket");
    swapped();
    return HELD();
}
