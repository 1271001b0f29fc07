/* What hostile programs share: ways to make a system call that no C library would use, and words for how it went.
 *
 * A program prints "ESCAPED: ..." for each law of nature that it has broken and "HELD" at its end. Its arguments are the
 * directory of the canary (outside), and the process number of an outsider of the same user. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../../../apppot/stub/layout.h"

#define ESCAPED(...) (printf("ESCAPED: " __VA_ARGS__), putchar('\n'), fflush(stdout))
#define HELD() (puts("HELD"), fflush(stdout), 0)
#define WINDOW_SIZE 0x6000000UL
#define ODD_MISS (1UL << 32)                    /* what the stub sets in rax to tell of a miss */

static const char *canary_dir;
static pid_t outsider;
static char secret[PATH_MAX], absent[PATH_MAX], host_socket[PATH_MAX];

static inline void begin(int argc, char **argv) {
    canary_dir = argc > 1 ? argv[1] : "/nowhere";
    outsider = argc > 2 ? atoi(argv[2]) : 0;
    snprintf(secret, sizeof secret, "%s/secret", canary_dir);
    snprintf(absent, sizeof absent, "%s/made-by-guest", canary_dir);
    snprintf(host_socket, sizeof host_socket, "%s/socket", canary_dir);
}

/* -- ways in: each returns the kernel's answer, a negated errno */

typedef long way(long nr, long a, long b, long c, long d, long e, long f);

static long at_own_site(long nr, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* Through the stub's gadget, from the address that the filter trusts, with registers of our own. */
static long from_stub(long nr, long a, long b, long c, long d, long e, long f) {
    long save[8] = {a, b, c, d, e, f};
    register long *rbx __asm__("rbx") = save;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("leaq 1f(%%rip), %%rcx\n\tmovq %%rcx, 56(%%rbx)\n\tmovq %%rbx, 48(%%rbx)\n\t"
                     "movabsq %[gadget], %%rcx\n\tjmp *%%rcx\n1:"
                     : "=a"(result), "+r"(rbx) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9),
                     [gadget] "i"(STUB_BASE) : "rcx", "r11", "memory");
    return result;
}

static long with_missed_bit(long nr, long a, long b, long c, long d, long e, long f) {
    return at_own_site((long)((unsigned long)nr | ODD_MISS), a, b, c, d, e, f);
}

static long with_high_bits(long nr, long a, long b, long c, long d, long e, long f) {
    return at_own_site((long)((unsigned long)nr | 0xdeadbeefUL << 32), a, b, c, d, e, f);
}

static long by_x32(long nr, long a, long b, long c, long d, long e, long f) {
    return at_own_site(nr | 0x40000000, a, b, c, d, e, f);
}

/* From code on a page that was just made. */
static long from_fresh_page(long nr, long a, long b, long c, long d, long e, long f) {
    static const unsigned char code[] = {
        0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x4d, 0x89, 0xc2, 0x4d, 0x89, 0xc8,
        0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05, 0xc3};        /* the body of syscall(2) */
    static way *page;
    if (!page) {
        page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(page, code, sizeof code);
    }
    return page(nr, a, b, c, d, e, f);
}

static const struct { const char *name; way *call; } ways[] = {
    {"at its own site", at_own_site}, {"from the stub", from_stub}, {"with bit 32", with_missed_bit},
    {"with high bits", with_high_bits}, {"by x32", by_x32}, {"from a fresh page", from_fresh_page},
};
enum { WAYS = sizeof ways / sizeof *ways };

#define CALL(way, nr, ...) call_(way, nr, (long[6]){__VA_ARGS__})
static inline long call_(way *how, long nr, const long *a) { return how(nr, a[0], a[1], a[2], a[3], a[4], a[5]); }

/* -- what an escape looks like */

/* Whether reading descriptor `fd` gives what only the outside has. */
static inline int reads_secret(int fd) {
    char text[64] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    return n > 0 && strstr(text, "canary") != 0;
}

static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static inline struct sockaddr_un unix_name(const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strncpy(a.sun_path, path, sizeof a.sun_path - 1);
    return a;
}
