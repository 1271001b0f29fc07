/* Gives away all that a guest can open, to whoever connects to the socket argv[3] (a guest of another machine): files and directories
 * of its image and its own, its run directory and its window, itself. Then looks whether anything of it was changed. */
#include "hostile.h"

static void give(int to, char letter, long fd) {
    char space[CMSG_SPACE(sizeof(int))];
    struct iovec data = {&letter, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (fd < 0) return;
    *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    *(int *)CMSG_DATA(head) = (int)fd;
    if (sendmsg(to, &message, 0) != 1) ESCAPED("nothing can be sent: %d", errno);
    close(fd);
}

/* The host's name of the window's file; "" where it can't be found out. */
static const char *window_file(void) {
    static char text[1 << 16];
    long maps = from_stub(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY, 0, 0, 0), length = 0, n;
    while (maps >= 0 && (n = read(maps, text + length, sizeof text - 1 - length)) > 0) length += n;
    char *end = strstr(text, "/window"), *start = end;
    if (!end) return "";
    while (start > text && start[-1] != ' ') start--;
    end[7] = 0;
    return start;
}

static void check_file(const char *name) {
    struct stat st;
    if (stat(name, &st) || st.st_size != 7 || (st.st_mode & 07777) != 0640 || st.st_nlink != 1) ESCAPED("%s was changed", name);
}

static void make_file(const char *name) {
    int fd = open(name, O_WRONLY | O_CREAT, 0640);
    write(fd, "canary\n", 7);
    fchmod(fd, 0640);
    close(fd);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    char run_directory[PATH_MAX], here[64];
    const char *window = window_file();
    snprintf(run_directory, sizeof run_directory, "%s", window);
    if (*window) *strrchr(run_directory, '/') = 0;
    mkdir("/tmp/own", 0700);
    make_file("/tmp/own/secret");
    make_file("secret");
    struct sockaddr_un name = unix_name(argv[3]);
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(server, (void *)&name, sizeof name) || listen(server, 1)) return ESCAPED("no socket: %d", errno);
    int to = accept(server, 0, 0);
    give(to, 'f', open("/tmp/own/secret", O_RDONLY));
    give(to, 'f', open("/tmp/own/secret", O_PATH));
    give(to, 'f', open("secret", O_RDONLY));
    give(to, 'd', open("/tmp/own", O_RDONLY | O_DIRECTORY));
    give(to, 'd', open("/tmp/own", O_PATH | O_DIRECTORY));
    give(to, 'd', open(".", O_RDONLY | O_DIRECTORY));
    snprintf(here, sizeof here, "/proc/%d", getpid());
    give(to, 'p', open(here, O_RDONLY | O_DIRECTORY));
    give(to, 'p', syscall(SYS_pidfd_open, getpid(), 0));
    give(to, 'f', from_stub(SYS_openat, AT_FDCWD, (long)window, O_RDONLY, 0, 0, 0));
    give(to, 'f', from_stub(SYS_openat, AT_FDCWD, (long)window, O_PATH, 0, 0, 0));
    give(to, 'r', from_stub(SYS_openat, AT_FDCWD, (long)run_directory, O_RDONLY | O_DIRECTORY, 0, 0, 0));
    give(to, 'r', from_stub(SYS_openat, AT_FDCWD, (long)run_directory, O_PATH | O_DIRECTORY, 0, 0, 0));
    shutdown(to, SHUT_WR);
    char rest;
    while (read(to, &rest, 1) > 0) continue;             /* until the other has tried all */
    check_file("/tmp/own/secret");
    check_file("secret");
    return HELD();
}
