/* A hostile guest: makes system calls from the stub's code range, with the host's own names. stub_range HOST-DIRECTORY */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

static const unsigned long STUB = 0x7e8200000000;     /* its first instruction is `syscall`: see stub/entry.S */
static char dir[4096], file[4096], link_[4096], other[4096], new[4096];

/* The gadget takes back rdi rsi rdx r10 r8 r9 rbx and the address to go on at from where rbx points. */
static long from_stub(long nr, long a, long b, long c, long d, long e) {
    unsigned long save[8] = {0};
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("push %%rbx\n\t"
                     "mov %[save], %%rbx\n\t"
                     "lea 1f(%%rip), %%rcx\n\t"
                     "mov %%rcx, 56(%%rbx)\n\t"
                     "jmp *%[stub]\n"
                     "1:\tpop %%rbx"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8)
                     : "a"(nr), [save] "r"(save), [stub] "r"(STUB)
                     : "rcx", "r9", "r11", "memory");
    return result;
}

static void show(const char *what, long result) {
    printf("%s %s\n", what, result == 0 ? "done" : strerrorname_np(-result));
}

#define P(name) ((long)(name))
int main(int argc, char **argv) {
    snprintf(dir, sizeof dir, "%s/directory", argv[1]);
    snprintf(file, sizeof file, "%s/file", argv[1]);
    snprintf(link_, sizeof link_, "%s/link", argv[1]);
    snprintf(other, sizeof other, "%s/other", argv[1]);
    snprintf(new, sizeof new, "%s/new", argv[1]);
    show("mkdir", from_stub(SYS_mkdir, P(new), 0755, 0, 0, 0));
    show("rename-file", from_stub(SYS_rename, P(file), P(other), 0, 0, 0));
    show("link-file", from_stub(SYS_link, P(other), P(file), 0, 0, 0));
    show("unlink", from_stub(SYS_unlink, P(other), 0, 0, 0, 0));
    show("unlinkat-directory", from_stub(SYS_unlinkat, AT_FDCWD, P(dir), AT_REMOVEDIR, 0, 0));
    show("rename-directory", from_stub(SYS_rename, P(dir), P(other), 0, 0, 0));
    show("exchange", from_stub(SYS_renameat2, AT_FDCWD, P(dir), AT_FDCWD, P(file), 2));
    show("rename-link", from_stub(SYS_rename, P(link_), P(other), 0, 0, 0));
    show("link-link", from_stub(SYS_linkat, AT_FDCWD, P(link_), AT_FDCWD, P(other), 0));
    show("unlink-outside", from_stub(SYS_unlink, P(argv[2]), 0, 0, 0, 0));
    show("link-outside", from_stub(SYS_link, P(argv[2]), P(other), 0, 0, 0));
    /* These stop, as from anywhere: the host's names mean nothing in the machine. */
    show("rmdir", from_stub(SYS_rmdir, P(dir), 0, 0, 0, 0));
    show("symlink", from_stub(SYS_symlink, P("/etc"), P(other), 0, 0, 0));
    show("chmod", from_stub(SYS_chmod, P(file), 0, 0, 0, 0));
    for (int i = 0; i < 100; i++)                   /* what the fast path tells the supervisor, with lies in it */
        from_stub(SYS_rmdir | 1L << 32, 0, i, -i, i & 1, 0);
    show("report", from_stub(SYS_rmdir | 1L << 32, 0, 1, 1, 1, 0));
    return 0;
}
