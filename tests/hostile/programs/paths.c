/* Tries to break: a guest opens, changes, makes or removes no file outside, wherever in its memory it makes the call. */
#include <linux/openat2.h>
#include "hostile.h"

static void opening(way *how, const char *name) {
    static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_WRONLY | O_CREAT, O_WRONLY | O_APPEND};
    for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
        struct open_how open_how = {.flags = flags[i], .mode = flags[i] & O_CREAT ? 0600 : 0};
        const char *path = flags[i] & O_CREAT ? absent : secret;
        long fds[] = {CALL(how, SYS_open, (long)path, flags[i], 0600), CALL(how, SYS_openat, AT_FDCWD, (long)path, flags[i], 0600),
                      CALL(how, SYS_openat2, AT_FDCWD, (long)path, (long)&open_how, sizeof open_how)};
        for (int k = 0; k < 3; k++)
            if (fds[k] >= 0) ESCAPED("opened %s with %o %s (%d)", path, flags[i], name, k);
    }
    if (CALL(how, SYS_creat, (long)absent, 0600) >= 0) ESCAPED("creat %s", name);
    long directory = CALL(how, SYS_openat, AT_FDCWD, (long)canary_dir, O_RDONLY | O_DIRECTORY);
    if (directory >= 0) ESCAPED("opened the directory %s", name);
    if (CALL(how, SYS_openat, AT_FDCWD, (long)canary_dir, O_TMPFILE | O_RDWR, 0600) >= 0) ESCAPED("made a nameless file %s", name);
}

static void changing(way *how, const char *name) {
    struct timespec times[2] = {{1}, {1}};
    char *argv[] = {"x", 0};
    struct { const char *what; long result; } tried[] = {
        {"unlink", CALL(how, SYS_unlink, (long)secret)},
        {"unlinkat", CALL(how, SYS_unlinkat, AT_FDCWD, (long)secret, 0)},
        {"rename", CALL(how, SYS_rename, (long)secret, (long)absent)},
        {"renameat2", CALL(how, SYS_renameat2, AT_FDCWD, (long)secret, AT_FDCWD, (long)absent, 0)},
        {"rename away", CALL(how, SYS_rename, (long)secret, (long)"/tmp/stolen")},
        {"mkdir", CALL(how, SYS_mkdir, (long)absent, 0700)},
        {"mkdirat", CALL(how, SYS_mkdirat, AT_FDCWD, (long)absent, 0700)},
        {"rmdir", CALL(how, SYS_rmdir, (long)canary_dir)},
        {"symlink", CALL(how, SYS_symlink, (long)"/", (long)absent)},
        {"link out", CALL(how, SYS_link, (long)"/tmp/mine", (long)absent)},
        {"link in", CALL(how, SYS_link, (long)secret, (long)"/tmp/stolen")},
        {"linkat in", CALL(how, SYS_linkat, AT_FDCWD, (long)secret, AT_FDCWD, (long)"/home/user/job/stolen", 0)},
        {"mknod", CALL(how, SYS_mknod, (long)absent, S_IFREG | 0600, 0)},
        {"chmod", CALL(how, SYS_chmod, (long)secret, 0777)},
        {"fchmodat", CALL(how, SYS_fchmodat, AT_FDCWD, (long)secret, 0777)},
        {"fchmodat2", CALL(how, 452, AT_FDCWD, (long)secret, 0777, 0)},
        {"chown", CALL(how, SYS_chown, (long)secret, getuid(), getgid())},
        {"truncate", CALL(how, SYS_truncate, (long)secret, 0)},
        {"utimensat", CALL(how, SYS_utimensat, AT_FDCWD, (long)secret, (long)times, 0)},
        {"setxattr", CALL(how, SYS_setxattr, (long)secret, (long)"user.a", (long)"b", 1, 0)},
        {"removexattr", CALL(how, SYS_removexattr, (long)secret, (long)"user.canary")},
        {"execve", CALL(how, SYS_execve, (long)secret, (long)argv, (long)argv + 8)},
    };
    for (unsigned i = 0; i < sizeof tried / sizeof *tried; i++)
        if (tried[i].result >= 0) ESCAPED("%s %s", tried[i].what, name);
}

static void standing_there(way *how, const char *name) {
    if (CALL(how, SYS_chdir, (long)canary_dir) < 0) return;      /* to stand there is no harm yet */
    for (int i = 0; i < WAYS; i++) {
        if (CALL(ways[i].call, SYS_openat, AT_FDCWD, (long)"secret", O_RDONLY) >= 0) ESCAPED("opened from there %s", name);
        if (CALL(ways[i].call, SYS_unlink, (long)"secret") >= 0) ESCAPED("removed from there %s", name);
        CALL(ways[i].call, SYS_mkdir, (long)"made-by-guest", 0700);     /* may be made where the guest thinks it stands */
        if (CALL(ways[i].call, SYS_chmod, (long)"secret", 0777) >= 0) ESCAPED("chmod from there %s", name);
        if (CALL(ways[i].call, SYS_rename, (long)"secret", (long)"made-by-guest") >= 0) ESCAPED("renamed from there %s", name);
        if (CALL(ways[i].call, SYS_openat, AT_FDCWD, (long)"/proc/self/cwd/secret", O_RDONLY) >= 0) ESCAPED("by /proc/self/cwd");
    }
    chdir("/");
}

/* The call that 32-bit programs make: open is 5 there. */
static void by_interrupt(void) {
    char *low = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    strcpy(low, secret);
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(5L), "b"(low), "c"(0L), "d"(0L) : "r8", "r9", "r10", "r11", "memory");
    if ((int)result >= 0) ESCAPED("opened by int 0x80");
}

static void by_dots(void) {
    char path[PATH_MAX] = "";
    for (int i = 0; i < 60; i++) strcat(path, "../");
    strcat(path, secret + 1);
    static const char *starts[] = {"", "/", "/tmp/", "/home/user/job/", "/proc/self/cwd/", "/proc/self/root/", "/dev/fd/../../"};
    for (unsigned i = 0; i < sizeof starts / sizeof *starts; i++) {
        char whole[PATH_MAX];
        snprintf(whole, sizeof whole, "%s%s", starts[i], path);
        int fd = open(whole, O_RDONLY);
        if (fd >= 0 && reads_secret(fd)) ESCAPED("read %s", whole);
        symlink(whole, "/tmp/way-out");
        fd = open("/tmp/way-out", O_RDONLY);
        if (fd >= 0 && reads_secret(fd)) ESCAPED("read by a symlink to %s", whole);
        unlink("/tmp/way-out");
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    close(open("/tmp/mine", O_WRONLY | O_CREAT, 0600));
    for (int i = 0; i < WAYS; i++) {
        opening(ways[i].call, ways[i].name);
        changing(ways[i].call, ways[i].name);
        standing_there(ways[i].call, ways[i].name);
    }
    by_interrupt();
    by_dots();
    return HELD();
}
