/* Tries to break: what was checked is what is used. Threads change the memory that a path stands in, the directories and
 * symlinks on its way, what ".." leads to, and the current directory, while others open, change, connect and send. argv[3] is
 * the name of the race. */
#include "race.h"

static char path[PATH_MAX];
static struct sockaddr_un address;
static int own_server, other_server;

static void check(long fd, const char *how) {
    if (fd < 0) return;
    if (reads_secret(fd)) ESCAPED("read the secret %s", how);
    close(fd);
}

/* The memory of the path. */
static const char *inside = "/etc/image-file";
static void swap_path(void) {
    strcpy(path, secret);
    AND_NOW();
    strcpy(path, inside);
}
static void open_path(void) {
    check(TRY(open(path, O_RDONLY)), "by swapping its path");
    check(TRY(CALL(from_stub, SYS_openat, AT_FDCWD, (long)path, O_RDONLY)), "by swapping its path in the stub");
    struct stat st;
    TRY(stat(path, &st));
    TRY(chmod(path, 0600));
    TRY(rename(path, "/tmp/stolen"));
    TRY(unlink(path));
    TRY(truncate(path, 0));
    int fd = TRY(open(path, O_WRONLY));
    if (fd >= 0) { struct stat o, c; fstat(fd, &o); if (stat(inside, &c) == 0 && c.st_size != o.st_size && o.st_size == 7) ESCAPED("opened for writing"); close(fd); }
    if (access(inside, F_OK)) close(open(inside, O_WRONLY | O_CREAT, 0600));
}

/* The memory of a socket's address. */
static void swap_address(void) {
    struct sockaddr_un out = unix_name(host_socket), in = unix_name("/tmp/own");
    address = out;
    AND_NOW();
    address = in;
}
static void connect_address(void) {
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (TRY(connect(s, (void *)&address, sizeof address)) == 0) {
        struct ucred who;
        socklen_t size = sizeof who;
        if (getsockopt(s, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.pid == outsider) ESCAPED("connected outside");
        close(accept(own_server, 0, 0));                /* who is connected and not accepted keeps others waiting */
        close(accept(other_server, 0, 0));
    }
    close(s);
}

/* A directory on the way, which becomes a symlink to the outside. */
static void swap_directory(void) {
    syscall(SYS_renameat2, AT_FDCWD, "/tmp/d", AT_FDCWD, "/tmp/out", 2);           /* RENAME_EXCHANGE */
    syscall(SYS_renameat2, AT_FDCWD, "d", AT_FDCWD, "out", 2);
}
static void through_directory(void) {
    check(TRY(open("/tmp/d/secret", O_RDONLY)), "through a directory that became a symlink");
    check(TRY(open("d/secret", O_RDONLY)), "through a directory of the job that became a symlink");
    check(TRY(open("/tmp/d/../d/./secret", O_RDONLY)), "through dots and a symlink");
    check(open("/tmp/last", O_RDONLY), "through a symlink at the end");
    TRY(chmod("/tmp/d/secret", 0700));
    TRY(unlink("/tmp/d/made-by-guest"));
    close(TRY(open("/tmp/d/made-by-guest", O_WRONLY | O_CREAT, 0600)));
    TRY(mkdir("d/made-by-guest", 0700));
    TRY(rmdir("d/made-by-guest"));
    TRY(link("d/secret", "d/made-by-guest"));
    TRY(rename("d/made-by-guest", "d/moved"));
    TRY(unlink("d/moved"));
    strcpy(address.sun_path, "/tmp/d/socket");
    connect_address();
}

/* What ".." leads to: the directory that it stands behind is moved up while a name that goes through it is looked up. The job
 * directory is beside that of the canary on the host, so one ".." too many is out. */
static char beside[PATH_MAX], farther[PATH_MAX];
static void move_directory(void) {
    rename("/home/user/job/a/b", "/home/user/job/b");
    rename("/home/user/job/b", "/home/user/job/a/b");
}
static void by_dots(void) {
    check(TRY(open("a/b/../inner", O_RDONLY)), "by a name of the job");
    check(TRY(open(beside, O_RDONLY)), "by dots behind a directory that moves");
    check(TRY(open(farther, O_RDONLY)), "by many dots");
    check(TRY(CALL(from_stub, SYS_openat, AT_FDCWD, (long)beside, O_RDONLY)), "by dots, in the stub");
    TRY(chmod(beside, 0777));
    TRY(unlink(beside));
    TRY(rename(beside, "stolen"));
    TRY(link(beside, "stolen"));
    TRY(truncate(beside, 0));
    TRY(mkdir("a/b/../../outside/made-by-guest", 0700));
    close(TRY(open("a/b/../../outside/made-by-guest", O_WRONLY | O_CREAT, 0600)));
}

/* The current directory. */
static void swap_cwd(void) {
    chdir("/tmp/d");
    from_stub(SYS_chdir, (long)canary_dir, 0, 0, 0, 0, 0);
    chdir("/tmp");
}
static void relative(void) {
    int fd = TRY(open("secret", O_RDONLY));
    if (fd < 0) close(open("/tmp/d/secret", O_WRONLY | O_CREAT, 0600));
    check(fd, "in a current directory outside");
    TRY(chmod("secret", 0700));
    TRY(unlink("secret"));
    TRY(rename("made-by-guest", "moved"));
    strcpy(address.sun_path, "socket");
    connect_address();
    close(TRY(open("made-by-guest", O_WRONLY | O_CREAT, 0600)));
}

static int listening(const char *name) {
    struct sockaddr_un where = unix_name(name);
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    bind(server, (void *)&where, sizeof where);
    listen(server, 5);
    return server;
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
    mkdir("a", 0700);
    mkdir("a/b", 0700);
    close(open("a/inner", O_WRONLY | O_CREAT, 0600));
    snprintf(beside, sizeof beside, "a/b/../../%s/secret", strrchr(canary_dir, '/') + 1);
    snprintf(farther, sizeof farther, "a/b/../../../../../../../../../../../../../../..%s", secret);
    address.sun_family = AF_UNIX;
    own_server = listening("/tmp/own");
    other_server = listening("/tmp/d/socket");
    const struct { const char *name; void (*spoil)(void), (*use)(void); } races[] = {
        {"path", swap_path, open_path}, {"address", swap_address, connect_address}, {"directory", swap_directory, through_directory},
        {"dots", move_directory, by_dots}, {"cwd", swap_cwd, relative},
    };
    for (unsigned i = 0; i < sizeof races / sizeof *races; i++)
        if (argc > 3 && !strcmp(argv[3], races[i].name)) return race(races[i].name, races[i].spoil, races[i].use), HELD();
    return 1;
}
