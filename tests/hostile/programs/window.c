/* Tries to break: what the supervisor has checked is what the kernel uses. The window can't be written, nor unmapped,
 * covered or left out of a child, so that memory of the guest stands where the kernel reads the supervisor's words. */
#include "hostile.h"
#include <sys/shm.h>

static int is_ours(void) {                      /* can we write at the window's addresses? */
    int pipes[2];
    if (pipe(pipes)) return 0;
    write(pipes[1], "x", 1);
    for (unsigned long at = WINDOW_BASE; at < WINDOW_BASE + WINDOW_SIZE; at += 0x100000)
        if (read(pipes[0], (void *)at, 1) == 1) return 1;
    close(pipes[0]);
    close(pipes[1]);
    return 0;
}

static void check(const char *after) {
    if (is_ours()) ESCAPED("the window is writable after %s", after);
}

/* Whatever address the supervisor places there, it would be that of a socket outside. */
static void fill_and_connect(void) {
    struct sockaddr_un inside = unix_name("\1"), outside = unix_name(host_socket);
    inside.sun_path[0] = 0;
    strcpy(inside.sun_path + 1, "nobody-listens-here");
    for (unsigned long at = WINDOW_BASE; at < WINDOW_BASE + WINDOW_SIZE; at += 8)
        memcpy((void *)at, &outside, 8);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(s, (void *)&inside, sizeof inside) == 0) ESCAPED("connected to a socket outside");
}

static void cover(void *at, unsigned long length, const char *how) {
    mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    check(how);
    mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);      /* a hint, where a hole is */
    check(how);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    void *window = (void *)WINDOW_BASE;
    check("nothing");
    for (int i = 0; i < WAYS; i++) {
        way *how = ways[i].call;
        CALL(how, SYS_munmap, WINDOW_BASE, WINDOW_SIZE);
        CALL(how, SYS_munmap, WINDOW_BASE - 0x40000000UL, 0x80000000UL);
        CALL(how, SYS_mprotect, WINDOW_BASE, WINDOW_SIZE, PROT_READ | PROT_WRITE);
        CALL(how, SYS_pkey_mprotect, WINDOW_BASE, WINDOW_SIZE, PROT_READ | PROT_WRITE, -1);
        CALL(how, SYS_mremap, WINDOW_BASE, WINDOW_SIZE, WINDOW_SIZE, 1 | 2, 0x100000000000);
        CALL(how, SYS_mremap, WINDOW_BASE, WINDOW_SIZE, 4096, 1, 0);
        CALL(how, SYS_remap_file_pages, WINDOW_BASE, WINDOW_SIZE, 0, 16, 0);
        CALL(how, SYS_madvise, WINDOW_BASE, WINDOW_SIZE, MADV_REMOVE);
        CALL(how, SYS_mmap, WINDOW_BASE, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        check(ways[i].name);
    }
    cover(window, WINDOW_SIZE, "MAP_FIXED over it");
    cover(window - 0x10000, WINDOW_SIZE + 0x20000, "MAP_FIXED around it");
    void *elsewhere = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mremap(elsewhere, 4096, WINDOW_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, window);
    check("mremap onto it");
    int id = shmget(IPC_PRIVATE, WINDOW_SIZE, IPC_CREAT | 0600);
    shmat(id, window, SHM_REMAP);
    check("shmat onto it");
    shmctl(id, IPC_RMID, 0);
    brk(window);
    check("brk");

    int memory = open("/proc/self/mem", O_RDWR);
    if (memory >= 0 && pwrite(memory, "x", 1, WINDOW_BASE) == 1) ESCAPED("wrote it by /proc/self/mem");
    long ours = from_stub(SYS_openat, AT_FDCWD, (long)"/proc/self/mem", O_RDWR, 0, 0, 0);
    if (ours >= 0 && pwrite(ours, "x", 1, WINDOW_BASE) == 1) ESCAPED("wrote it by /proc/self/mem, opened by the stub");

    /* Its file is in a directory of the supervisor's, in one of the usual places. */
    for (int i = 0; i < 2; i++) {
        const char *places[] = {"/dev/shm", "/tmp"};
        long directory = from_stub(SYS_openat, AT_FDCWD, (long)places[i], O_RDONLY | O_DIRECTORY, 0, 0, 0);
        if (directory >= 0) ESCAPED("listed the host's %s", places[i]);
    }

    madvise(window, WINDOW_SIZE, MADV_DONTFORK);
    from_stub(SYS_madvise, WINDOW_BASE, WINDOW_SIZE, MADV_DONTFORK, 0, 0, 0);
    pid_t child = fork();
    if (!child) {
        mmap(window, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check("MADV_DONTFORK and a fork");
        if (is_ours()) fill_and_connect();
        _exit(0);
    }
    waitpid(child, 0, 0);
    return HELD();
}
