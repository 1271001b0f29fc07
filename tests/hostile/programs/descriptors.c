/* Tries to break: what a guest can do by a descriptor is what it was opened for inside; an O_PATH descriptor of a file
 * outside, which the kernel's wall does not mediate, and one that is swapped while it is looked at, give nothing. */
#include "race.h"

static void by_link(int fd, const char *kind) {
    char link[64];
    struct timespec times[2] = {{1}, {1}};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    for (int i = 0; i < WAYS; i++) {
        way *how = ways[i].call;
        long opened = CALL(how, SYS_openat, AT_FDCWD, (long)link, O_RDONLY);
        if (opened >= 0 && reads_secret(opened)) ESCAPED("read %s by its link %s", kind, ways[i].name);
        if (CALL(how, SYS_openat, AT_FDCWD, (long)link, O_WRONLY) >= 0) ESCAPED("opened %s for writing %s", kind, ways[i].name);
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

static void by_descriptor(int fd, const char *kind) {
    struct timespec times[2] = {{1}, {1}};
    char *nothing[] = {0};
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
        int status;
        waitpid(child, &status, 0);
        if (!WIFSIGNALED(status) && WEXITSTATUS(status) != 42) ESCAPED("executed %s %s: %x", kind, ways[i].name, status);
    }
}

static void of_directory(int fd) {
    for (int i = 0; i < WAYS; i++) {
        way *how = ways[i].call;
        if (CALL(how, SYS_openat, fd, (long)"secret", O_RDONLY) >= 0) ESCAPED("openat of a directory outside %s", ways[i].name);
        if (CALL(how, SYS_mkdirat, fd, (long)"made-by-guest", 0700) >= 0) ESCAPED("mkdirat outside %s", ways[i].name);
        if (CALL(how, SYS_unlinkat, fd, (long)"secret", 0) >= 0) ESCAPED("unlinkat outside %s", ways[i].name);
        if (CALL(how, SYS_renameat, fd, (long)"secret", AT_FDCWD, (long)"/tmp/stolen") >= 0) ESCAPED("renameat from outside");
        if (CALL(how, SYS_symlinkat, (long)"/", fd, (long)"made-by-guest") >= 0) ESCAPED("symlinkat outside");
        if (CALL(how, SYS_fchmodat, fd, (long)"secret", 0777) >= 0) ESCAPED("fchmodat outside %s", ways[i].name);
        char entries[4096];
        if (CALL(how, SYS_getdents64, fd, (long)entries, sizeof entries) > 0) ESCAPED("listed a directory outside");
        if (fchdir(fd) == 0 && open("secret", O_RDONLY) >= 0) ESCAPED("opened after fchdir");
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

int main(int argc, char **argv) {
    begin(argc, argv);
    long fd = from_stub(SYS_openat, AT_FDCWD, (long)secret, O_PATH, 0, 0, 0);
    if (fd >= 0) by_link(fd, "a file"), by_descriptor(fd, "a file");
    fd = from_stub(SYS_openat, AT_FDCWD, (long)canary_dir, O_PATH, 0, 0, 0);
    if (fd >= 0) of_directory(fd), by_descriptor(fd, "a directory");
    fd = from_stub(SYS_openat, AT_FDCWD, (long)host_socket, O_PATH, 0, 0, 0);
    if (fd >= 0) of_socket(fd), by_link(fd, "a socket");
    swapped();
    return HELD();
}
