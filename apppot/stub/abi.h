/* Constants and structures of the kernel that the fast path uses: <linux/fcntl.h>, <linux/stat.h>, <asm/stat.h>. */
#ifndef ABI_H
#define ABI_H
#include <stdint.h>

enum { AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, AT_EACCESS = 0x200, AT_SYMLINK_FOLLOW = 0x400, AT_NO_AUTOMOUNT = 0x800,
       AT_EMPTY_PATH = 0x1000, AT_STATX_SYNC_TYPE = 0x6000 };
enum { O_WRONLY = 1, O_ACCMODE = 3, O_CREAT = 0100, O_EXCL = 0200, O_TRUNC = 01000, O_NONBLOCK = 04000,
       O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000, O_CLOEXEC = 02000000, O_PATH = 010000000, O_TMPFILE = 020000000,
       O_KNOWN = 037777703 };
enum { RESOLVE_NO_SYMLINKS = 4, RENAME_NOREPLACE = 1 };
enum { S_IFMT = 0170000, S_IFLNK = 0120000, S_IFREG = 0100000, S_IFDIR = 0040000 };
enum { R_OK = 4, W_OK = 2, X_OK = 1 };
enum { STATX_BASIC_STATS = 0x7ff };
#define STATX__RESERVED 0x80000000u
enum { SOL_SOCKET = 1, SO_TYPE = 3 };
enum { ENOENT = 2, ENXIO = 6, EBADF = 9, EEXIST = 17, EISDIR = 21, EINVAL = 22, ENOSYS = 38, ENODATA = 61, ENOTSOCK = 88,
       EOPNOTSUPP = 95 };

struct stat64 {                         /* <asm/stat.h> of x86-64 */
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, pad;
    uint64_t rdev, size, blksize, blocks;
    struct { int64_t seconds; uint64_t nanoseconds; } accessed, modified, changed;
    uint64_t unused[3];
};
_Static_assert(sizeof(struct stat64) == 144, "what the kernel writes");
struct statx_time {
    int64_t seconds;
    uint32_t nanoseconds, pad;
};
struct statx64 {                        /* <linux/stat.h> */
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, pad;
    uint64_t ino, size, blocks, attributes_mask;
    struct statx_time accessed, born, changed, modified;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t newer[14];                 /* mount, alignments: fields of later kernels */
};
_Static_assert(sizeof(struct statx64) == 256, "what the kernel writes");

#endif
