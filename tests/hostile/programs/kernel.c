/* Tries to break: no part of the kernel that no guest needs answers, and no object of the host that has no path is reached:
 * handles, key rings, rings, namespaces, sockets by abstract name, terminals, System V IPC and message queues.
 * argv[3]: identifier of a shared memory segment outside; argv[4]: its key; argv[5]: a terminal of the caller's. */
#include "hostile.h"
#include <mqueue.h>
#include <sys/shm.h>
#include <linux/netlink.h>

static void refused(way *how, const char *name) {
    static char space[256];
    unsigned long handle[40] = {128};
    struct { const char *what; long nr, a, b, c, d, e; } calls[] = {
        {"io_uring_setup", 425, 1, (long)space}, {"io_uring_enter", 426, 0}, {"io_uring_register", 427, 0},
        {"bpf", 321, 5, (long)space, 64}, {"userfaultfd", 323, 1}, {"perf_event_open", 298, (long)space, 0, -1, -1, 0},
        {"add_key", 248, (long)"user", (long)"k", (long)"v", 1, -3}, {"keyctl", 250, 0, -3, 1}, {"request_key", 249, (long)"user", (long)"k", 0, -3},
        {"mount", 165, (long)"none", (long)"/tmp", (long)"tmpfs", 0, 0}, {"umount2", 166, (long)"/tmp", 2}, {"pivot_root", 155, (long)"/", (long)"/tmp"},
        {"open_tree", 428, AT_FDCWD, (long)"/", 1}, {"move_mount", 429, AT_FDCWD, (long)"/", AT_FDCWD, (long)"/tmp"}, {"fsopen", 430, (long)"tmpfs", 0},
        {"fsmount", 432, 3}, {"fspick", 433, AT_FDCWD, (long)"/"}, {"mount_setattr", 442, AT_FDCWD, (long)"/", 0, (long)space, 32},
        {"open_tree_attr", 467, AT_FDCWD, (long)"/", 1}, {"statmount", 457, (long)space, (long)space, 64}, {"listmount", 458, (long)space, (long)space, 8},
        {"name_to_handle_at", 303, AT_FDCWD, (long)"/etc/image-file", (long)handle, (long)space}, {"open_by_handle_at", 304, AT_FDCWD, (long)handle, O_RDONLY},
        {"fanotify_init", 300, 0, 0}, {"fanotify_mark", 301, 3, 1, 1, AT_FDCWD, (long)"/"}, {"setns", 308, 3, 0}, {"unshare user", 272, 0x10000000},
        {"unshare net", 272, 0x40000000}, {"unshare mount", 272, 0x20000}, {"clone user", 56, 0x10000000 | SIGCHLD}, {"clone pid", 56, 0x20000000 | SIGCHLD},
        {"clone untraced", 56, 0x800000 | SIGCHLD}, {"quotactl", 179, 0x80000700, 0, 0, (long)space}, {"swapon", 167, (long)"/tmp/x", 0},
        {"reboot", 169, 0xfee1dead, 672274793, 0}, {"kexec_load", 246, 0, 0, 0, 0}, {"init_module", 175, (long)space, 1, (long)""},
        {"finit_module", 313, 0, (long)"", 0}, {"delete_module", 176, (long)"x", 0}, {"acct", 163, (long)"/tmp/x"}, {"syslog", 103, 3, (long)space, 64},
        {"settimeofday", 164, (long)space, 0}, {"clock_settime", 227, 0, (long)space}, {"iopl", 172, 3}, {"ioperm", 173, 0, 8, 1}, {"vhangup", 153},
        {"lookup_dcookie", 212, 1, (long)space, 64}, {"uselib", 134, (long)"/tmp/x"}, {"ptrace", 101, 0, 0, 0, 0}, {"PR_SET_MM", 157, 35, 1, 0x1000},
        {"syscall user dispatch", 157, 59, 1, 0, 0}, {"landlock_create_ruleset", 444, (long)space, 8, 0}, {"seccomp listener", 317, 1, 8, (long)space},
    };
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        long r = CALL(how, calls[i].nr, calls[i].a, calls[i].b, calls[i].c, calls[i].d, calls[i].e);
        if (r >= 0) ESCAPED("%s answered %ld %s", calls[i].what, r, name);
    }
}

/* The terminal of another session of the caller's. */
static void other_terminal(const char *path) {
    for (int i = 0; i < WAYS; i++)
        for (int flags = O_RDONLY; flags <= O_RDWR; flags++) {
            if (CALL(ways[i].call, SYS_openat, AT_FDCWD, (long)path, flags | O_NOCTTY) >= 0) ESCAPED("opened %s %s", path, ways[i].name);
            if (CALL(ways[i].call, SYS_open, (long)path, flags | O_NOCTTY | O_NONBLOCK) >= 0) ESCAPED("opened %s %s", path, ways[i].name);
        }
    long fd = from_stub(SYS_openat, AT_FDCWD, (long)path, O_PATH, 0, 0, 0);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%ld", fd);
    if (fd >= 0 && open(link, O_RDWR | O_NOCTTY) >= 0) ESCAPED("opened %s by its link", path);
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), unlock = 0, number = -1;
    char own[64];
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) || ioctl(master, TIOCGPTN, &number)) ESCAPED("no terminal of one's own");
    snprintf(own, sizeof own, "/dev/pts/%d", number);
    if (open(own, O_RDWR | O_NOCTTY) < 0) ESCAPED("one's own terminal can't be opened");
    for (long i = 0; i < 100; i++) at_own_site(183, i, i, i, 0, 0, 0);
}

static void terminals(void) {
    for (int fd = 0; fd < 3; fd++) {
        if (ioctl(fd, 0x5412, "x") == 0) ESCAPED("TIOCSTI on %d", fd);
        if (ioctl(fd, 0x541c, "\3") == 0) ESCAPED("TIOCLINUX on %d", fd);
        if (syscall(SYS_ioctl, fd, 0x5412UL | 1UL << 32, "x") == 0) ESCAPED("TIOCSTI with high bits on %d", fd);
    }
}

static void sockets(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = 2 + 1 + snprintf(address.sun_path + 1, 100, "apppot-canary-%d", outsider);
    for (int kind = SOCK_STREAM; kind <= SOCK_SEQPACKET; kind += SOCK_SEQPACKET - SOCK_STREAM) {
        int s = socket(AF_UNIX, kind, 0);
        if (connect(s, (void *)&address, length) == 0) ESCAPED("connected to an abstract socket outside");
        if (from_stub(SYS_connect, s, (long)&address, length, 0, 0, 0) == 0) ESCAPED("connected from the stub");
    }
    struct sockaddr_un named = unix_name(host_socket);
    int s = socket(AF_UNIX, SOCK_STREAM, 0), d = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (connect(s, (void *)&named, sizeof named) == 0) ESCAPED("connected to a socket outside");
    if (from_stub(SYS_connect, s, (long)&named, sizeof named, 0, 0, 0) == 0) ESCAPED("connected to a socket outside from the stub");
    if (sendto(d, "x", 1, 0, (void *)&named, sizeof named) == 1) ESCAPED("sent to a socket outside");
    if (bind(d, (void *)&named, sizeof named) == 0) ESCAPED("bound a socket outside");
    static const int families[] = {40, 38, 30, 31, 29, 21, 44, 9, 5};       /* VSOCK ALG TIPC BLUETOOTH CAN RDS XDP X25 APPLETALK */
    for (unsigned i = 0; i < sizeof families / sizeof *families; i++)
        for (int kind = 1; kind < 6; kind++)
            if (socket(families[i], kind, 0) >= 0) ESCAPED("a socket of family %d", families[i]);
}

static void objects(int id, int key) {
    if (shmat(id, 0, 0) != (void *)-1) ESCAPED("attached shared memory outside");
    if (from_stub(SYS_shmat, id, 0, 0, 0, 0, 0) > 0) ESCAPED("attached shared memory outside from the stub");
    if (shmget(key, 0, 0) >= 0) ESCAPED("found shared memory outside by its key");
    struct shmid_ds data;
    if (shmctl(id, IPC_STAT, &data) == 0) ESCAPED("IPC_STAT outside");
    if (shmctl(id, IPC_RMID, 0) == 0) ESCAPED("removed shared memory outside");
    for (int i = 0; i < 64; i++)
        if (shmctl(i, 13, &data) >= 0) ESCAPED("SHM_STAT of index %d", i);
    if (syscall(SYS_mq_open, "apppot-canary", O_RDWR, 0, 0) >= 0) ESCAPED("opened a message queue outside");
    if (syscall(SYS_mq_unlink, "apppot-canary") == 0) ESCAPED("removed a message queue outside");
    int own = shmget(4711, 4096, IPC_CREAT | 0600);
    if (own < 0 || shmat(own, 0, 0) == (void *)-1) ESCAPED("own shared memory does not work");
}

int main(int argc, char **argv) {
    begin(argc, argv);
    for (int i = 0; i < WAYS; i++) refused(ways[i].call, ways[i].name);
    terminals();
    sockets();
    if (argc > 4) objects(atoi(argv[3]), atoi(argv[4]));
    if (argc > 5) other_terminal(argv[5]);
    return HELD();
}
