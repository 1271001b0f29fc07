/* Tries to break: what was checked is what is used. Threads change the memory that a path stands in, the directories and
 * symlinks on its way and the current directory while others open, connect and send, as often as two seconds allow. */
#include "hostile.h"

static volatile int stop;
static char path[PATH_MAX];
static struct sockaddr_un address;
static long tries;

/* A race: `spoil` runs in one thread for ever, `use` in another until the time is over. */
static void *run(void *spoil) {
    while (!stop) ((void (*)(void))spoil)();
    return 0;
}
static void race(const char *name, void (*spoil)(void), void (*use)(void)) {
    pthread_t thread;
    stop = 0;
    pthread_create(&thread, 0, run, spoil);
    for (double end = now() + 2; now() < end; tries++) use();
    stop = 1;
    pthread_join(thread, 0);
}

static void check(long fd, const char *how) {
    if (fd < 0) return;
    if (reads_secret(fd)) ESCAPED("read the secret %s", how);
    close(fd);
}

/* The memory of the path. */
static const char *inside = "/etc/image-file";
static void swap_path(void) { strcpy(path, secret); strcpy(path, inside); }
static void open_path(void) {
    check(open(path, O_RDONLY), "by swapping its path");
    check(CALL(from_stub, SYS_openat, AT_FDCWD, (long)path, O_RDONLY), "by swapping its path in the stub");
    struct stat st;
    stat(path, &st);
    chmod(path, 0600);
    rename(path, "/tmp/stolen");
    unlink(path);
    truncate(path, 0);
    int fd = open(path, O_WRONLY);
    if (fd >= 0) { struct stat o, c; fstat(fd, &o); if (stat(inside, &c) == 0 && c.st_size != o.st_size && o.st_size == 7) ESCAPED("opened for writing"); close(fd); }
}

/* The memory of a socket's address. */
static void swap_address(void) {
    struct sockaddr_un out = unix_name(host_socket), in = unix_name("/tmp/own");
    address = out;
    address = in;
}
static void connect_address(void) {
    struct sockaddr_un peer;
    socklen_t length = sizeof peer;
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(s, (void *)&address, sizeof address) == 0) {
        struct ucred who;
        socklen_t size = sizeof who;
        if (getsockopt(s, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.pid == outsider) ESCAPED("connected outside");
    }
    close(s);
}

/* A directory on the way, which becomes a symlink to the outside. */
static void swap_directory(void) {
    syscall(SYS_renameat2, AT_FDCWD, "/tmp/d", AT_FDCWD, "/tmp/out", 2);           /* RENAME_EXCHANGE */
    syscall(SYS_renameat2, AT_FDCWD, "d", AT_FDCWD, "out", 2);
}
static void through_directory(void) {
    check(open("/tmp/d/secret", O_RDONLY), "through a directory that became a symlink");
    check(open("d/secret", O_RDONLY), "through a directory of the job that became a symlink");
    check(open("/tmp/d/../d/./secret", O_RDONLY), "through dots and a symlink");
    check(open("/tmp/last", O_RDONLY), "through a symlink at the end");
    chmod("/tmp/d/secret", 0777);
    unlink("/tmp/d/made-by-guest");
    close(open("/tmp/d/made-by-guest", O_WRONLY | O_CREAT, 0600));
    mkdir("d/made-by-guest", 0700);
    rmdir("d/made-by-guest");
    strcpy(address.sun_path, "/tmp/d/socket");
    connect_address();
}

/* The current directory. */
static void swap_cwd(void) {
    chdir("/tmp/d");
    from_stub(SYS_chdir, (long)canary_dir, 0, 0, 0, 0, 0);
    chdir("/tmp");
}
static void relative(void) {
    check(open("secret", O_RDONLY), "in a current directory outside");
    chmod("secret", 0777);
    unlink("secret");
    strcpy(address.sun_path, "socket");
    connect_address();
    close(open("made-by-guest", O_WRONLY | O_CREAT, 0600));
}

static void make(const char *top) {
    chdir(top);
    mkdir("d", 0700);
    close(open("d/secret", O_WRONLY | O_CREAT, 0600));
    symlink(canary_dir, "out");
    symlink(secret, "last");
}

int main(int argc, char **argv) {
    begin(argc, argv);
    make("/tmp");
    make("/home/user/job");
    address.sun_family = AF_UNIX;
    struct sockaddr_un own = unix_name("/tmp/own"), there = unix_name("/tmp/d/socket");
    int server = socket(AF_UNIX, SOCK_STREAM, 0), other = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(server, (void *)&own, sizeof own), listen(server, 5);
    bind(other, (void *)&there, sizeof there), listen(other, 5);
    race("path", swap_path, open_path);
    race("address", swap_address, connect_address);
    race("directory", swap_directory, through_directory);
    race("current directory", swap_cwd, relative);
    printf("%ld rounds\n", tries);
    return HELD();
}
