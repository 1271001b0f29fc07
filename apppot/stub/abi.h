/* Constants and structures of the kernel that the fast path uses: <linux/fcntl.h>, <linux/stat.h>, <asm/stat.h>. */
#ifndef ABI_H
#define ABI_H
#include <stdint.h>

enum { AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, AT_NO_AUTOMOUNT = 0x800, AT_EMPTY_PATH = 0x1000,
       AT_STATX_SYNC_TYPE = 0x6000 };
enum { O_ACCMODE = 3, O_CREAT = 0100, O_EXCL = 0200, O_TRUNC = 01000, O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000,
       O_PATH = 010000000, O_TMPFILE = 020000000, O_KNOWN = 037777703 };
enum { RESOLVE_NO_SYMLINKS = 4 };
enum { S_IFMT = 0170000, S_IFLNK = 0120000, S_IFDIR = 0040000 };
enum { ENOENT = 2 };

struct stat64 {                         /* <asm/stat.h> of x86-64 */
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, pad;
    uint64_t rest[14];
};
struct statx64 {                        /* <linux/stat.h>, as far as it is looked at */
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, pad;
    uint64_t rest[28];
};

#endif
