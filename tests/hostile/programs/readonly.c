/* Tries to break: what was bound read-only, and the image, is not written, whoever asks. argv[3]: its name on the host. */
#include "hostile.h"

/* By a structure of its own, and by all that stands where the stub has its ways to open files, at any place in it. */
static void open2(way *how, const char *path, const char *name) {
    for (long mode = O_RDONLY; mode <= O_ACCMODE; mode++) {
        unsigned long own[3] = {mode | O_TRUNC, 0, 0};
        if (CALL(how, SYS_openat2, AT_FDCWD, (long)path, (long)own, sizeof own) >= 0) ESCAPED("cut %s off by openat2 %s", path, name);
        if (CALL(how, SYS_openat, AT_FDCWD, (long)path, mode | O_TRUNC) >= 0) ESCAPED("cut %s off, mode %ld %s", path, mode, name);
    }
    for (long at = HOWS - 64; at < HOWS + 2112; at += 4) {
        long fd = CALL(how, SYS_openat2, AT_FDCWD, (long)path, at, 24);     /* to read it may: it is there afterwards as before */
        if (fd >= 0) close(fd);
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    /* Ways that the stub has learnt, those to cut off among them. */
    for (int i = 0; i < 3; i++)
        for (int mode = O_RDONLY; mode <= O_RDWR; mode++) close(open("/tmp/own", mode | O_CREAT | O_TRUNC, 0600));
    const char *names[] = {"/ro/file", argv[3], "/ro/new"};
    struct timespec times[2] = {{1}, {1}};
    for (int i = 0; i < WAYS; i++)
        for (int k = 0; k < 3; k++) {
            way *how = ways[i].call;
            const char *path = names[k], *name = ways[i].name;
            if (CALL(how, SYS_open, (long)path, O_WRONLY) >= 0) ESCAPED("opened %s for writing %s", path, name);
            if (CALL(how, SYS_open, (long)path, O_RDONLY | O_TRUNC) >= 0) ESCAPED("cut %s off %s", path, name);
            open2(how, path, name);
            if (CALL(how, SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CREAT, 0600) >= 0) ESCAPED("made %s %s", path, name);
            if (CALL(how, SYS_truncate, (long)path, 0) >= 0) ESCAPED("truncated %s %s", path, name);
            if (CALL(how, SYS_chmod, (long)path, 0777) >= 0) ESCAPED("chmod %s %s", path, name);
            if (CALL(how, SYS_utimensat, AT_FDCWD, (long)path, (long)times, 0) >= 0) ESCAPED("utimensat %s %s", path, name);
            if (CALL(how, SYS_unlink, (long)path) >= 0) ESCAPED("unlink %s %s", path, name);
            if (CALL(how, SYS_rename, (long)path, (long)"/tmp/x") >= 0) ESCAPED("rename %s %s", path, name);
            if (CALL(how, SYS_link, (long)path, (long)"/tmp/y") >= 0) ESCAPED("link %s %s", path, name);
            if (CALL(how, SYS_mkdir, (long)path, 0700) >= 0) ESCAPED("mkdir %s %s", path, name);
            if (CALL(how, SYS_setxattr, (long)path, (long)"user.a", (long)"b", 1, 0) >= 0) ESCAPED("setxattr %s %s", path, name);
        }
    int fd = open("/ro/file", O_RDONLY);
    if (fd < 0) ESCAPED("it can't be read");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    for (int i = 0; i < WAYS; i++) {
        if (CALL(ways[i].call, SYS_open, (long)link, O_RDWR) >= 0) ESCAPED("opened again for writing %s", ways[i].name);
        if (CALL(ways[i].call, SYS_fchmod, fd, 0777) >= 0) ESCAPED("fchmod %s", ways[i].name);
        if (CALL(ways[i].call, SYS_ftruncate, fd, 0) >= 0) ESCAPED("ftruncate %s", ways[i].name);
        if (CALL(ways[i].call, SYS_ioctl, fd, 0x40086602, (long)&times) >= 0) ESCAPED("inode flags %s", ways[i].name);
        if (CALL(ways[i].call, SYS_truncate, (long)link, 0) >= 0) ESCAPED("truncate by its link %s", ways[i].name);
    }
    /* A descriptor of a file of the image, which has a copy of its own by then. */
    fd = open("/etc/image-file", O_RDONLY);
    chmod("/etc/image-file", 0600);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    for (int i = 0; i < WAYS; i++) {
        if (CALL(ways[i].call, SYS_open, (long)link, O_RDWR) >= 0) ESCAPED("opened a file of the image for writing %s", ways[i].name);
        if (CALL(ways[i].call, SYS_open, (long)link, O_RDONLY | O_TRUNC) >= 0) ESCAPED("cut a file of the image off %s", ways[i].name);
        CALL(ways[i].call, SYS_truncate, (long)link, 0);     /* may be the copy's */
        CALL(ways[i].call, SYS_fchmod, fd, 0777);
    }
    fd = open("/ro/file", O_RDONLY);
    void *map = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) ESCAPED("mapped it for writing");
    map = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (mprotect(map, 4096, PROT_READ | PROT_WRITE) == 0) ESCAPED("made its map writable");
    return HELD();
}
