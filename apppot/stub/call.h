/* System calls without a C library. */
#ifndef CALL_H
#define CALL_H
#include <stdint.h>

enum { NR_write = 1, NR_open = 2, NR_close = 3, NR_stat = 4, NR_fstat = 5, NR_lstat = 6, NR_mmap = 9, NR_mprotect = 10,
       NR_munmap = 11, NR_access = 21, NR_madvise = 28,
       NR_getsockname = 51, NR_getpeername = 52, NR_getsockopt = 55, NR_execve = 59, NR_uname = 63, NR_getcwd = 79, NR_chdir = 80, NR_rename = 82, NR_mkdir = 83, NR_rmdir = 84,
       NR_creat = 85, NR_link = 86, NR_unlink = 87, NR_readlink = 89, NR_statfs = 137, NR_prctl = 157, NR_getxattr = 191, NR_lgetxattr = 192,
       NR_fgetxattr = 193, NR_listxattr = 194, NR_llistxattr = 195, NR_flistxattr = 196, NR_getdents64 = 217,
       NR_exit_group = 231, NR_openat = 257, NR_mkdirat = 258, NR_newfstatat = 262, NR_unlinkat = 263, NR_renameat = 264,
       NR_linkat = 265, NR_readlinkat = 267, NR_faccessat = 269, NR_renameat2 = 316, NR_seccomp = 317, NR_statx = 332,
       NR_openat2 = 437, NR_faccessat2 = 439, NR_landlock_restrict_self = 446 };

static inline long call6(long nr, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#define CALL(nr, a, b, c) call6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(nr, a, b, c, d) call6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

#endif
