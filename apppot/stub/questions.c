/* What is asked of a file beside its status: its file system, which is the host's to tell, and extended attributes. Of these the host's
 * answer is the guest's where none is kept under a private name (apppot/image/xattrs.py); what the host says that the file has
 * of others' name spaces is for the supervisor to show. A descriptor tells only that there are none, and not even that when it is of
 * a lower file that was copied up: its name leads to another one then, and that is what is asked. */
#include "abi.h"
#include "call.h"
#include "inodes.h"
#include "names.h"

enum { LIST = 256 };                    /* bytes of names that are looked through */

static int starts(const char *text, const char *with) {
    while (*with)
        if (*text++ != *with++) return 0;
    return 1;
}

/* Whether none of the file's attributes is kept under a private name. A file system may have none at all. `nr`: the call that lists
 * those of `where`. */
static int keeps_none(int nr, long where) {
    char list[LIST];
    long length = CALL(nr, where, list, sizeof list);
    if (length < 0) return length == -EOPNOTSUPP;
    for (long at = 0; at < length; at++)
        if ((!at || !list[at - 1]) && starts(list + at, "user.apppot.")) return 0;
    return 1;
}

/* Finds the file: HIT when `f` has the answer already. `found`: see inodes.h */
static int look(struct frame *f, struct name *n, int follow, int *found) {
    struct stat64 status;
    struct inode i;
    char text;
    *found = UNKNOWN;
    if (!split(n, AT_FDCWD, (const char *)f->rdi)) return MISS;
    if (!translate(n)) {
        if (!translate_name(n, follow)) return MISS;
        if (n->kind == ABSENT) return f->result = -ENOENT, HIT;
    }
    if (header()->recorded) {
        long result = CALL4(NR_newfstatat, n->dirfd, n->host, &status, AT_SYMLINK_NOFOLLOW);
        if (result == -ENOENT) return f->result = result, HIT;
        if (result == 0 && !(follow && (status.mode & S_IFMT) == S_IFLNK)) *found = recorded(status.dev, status.ino, n->flags, &i);
    } else {
        long result = follow ? CALL4(NR_readlinkat, n->dirfd, n->host, &text, sizeof text) : -EINVAL;
        if (result == -ENOENT) return f->result = result, HIT;
        if (result == -EINVAL) *found = NO_RECORD;      /* no symlink, or it may be one */
    }
    return MISS;
}

/* Whether the host is to be asked for an attribute. Who may read those of users is decided by the file's mode, which must be the true
 * one then. */
static int may_ask(const char *name, int found) {
    return !starts(name, "trusted.")                        /* a supervisor that runs as root sees those */
           && !(starts(name, "user.") && (found == RECORD || state()->mode != FAST_PLAIN || starts(name, "user.apppot.")));
}

static int do_getxattr(struct frame *f, int follow) {
    struct name n;
    const char *name = (const char *)f->rsi;
    int found;
    if (look(f, &n, follow, &found)) return HIT;
    if (found == UNKNOWN || !may_ask(name, found) || !keeps_none(NR_llistxattr, (long)n.host)) return MISS;
    long result = CALL4(NR_lgetxattr, n.host, name, f->rdx, f->r10);
    if (result != -ENODATA && result != -EOPNOTSUPP && !(starts(name, "user.") && result >= 0)) return MISS;
    return f->result = result, HIT;
}

static int do_listxattr(struct frame *f, int follow) {
    struct name n;
    int found;
    if (look(f, &n, follow, &found)) return HIT;
    if (found == UNKNOWN || header()->uid == 0 || !keeps_none(NR_llistxattr, (long)n.host)) return MISS;
    long result = CALL(NR_llistxattr, n.host, f->rsi, f->rdx);
    return result < 0 ? MISS : (f->result = result, HIT);
}

/* Whether a descriptor is of a regular file that is still what its name leads to; `found` as above. */
static int look_open(int fd, int *found) {
    struct stat64 st;
    struct inode i;
    if (CALL(NR_fstat, fd, &st, 0) || (st.mode & S_IFMT) != S_IFREG) return 0;
    uint64_t bit = (st.dev * 31 + st.ino) * 0x9E3779B97F4A7C15 >> (64 - COPIED_BITS);
    *found = recorded(st.dev, st.ino, 0, &i);
    return *found != UNKNOWN && !(((volatile const unsigned char *)COPIED)[bit >> 3] >> (bit & 7) & 1);
}

static int do_fgetxattr(struct frame *f) {
    int found, fd = (int)f->rdi;
    const char *name = (const char *)f->rsi;
    if (!look_open(fd, &found) || !keeps_none(NR_flistxattr, fd) || !may_ask(name, found)) return MISS;
    long result = CALL4(NR_fgetxattr, fd, name, f->rdx, f->r10);
    return result == -ENODATA || result == -EOPNOTSUPP ? (f->result = result, HIT) : MISS;
}

/* Only of none at all: files of other kinds of mounts, which the host may have labelled, have none. */
static int do_flistxattr(struct frame *f) {
    int found, fd = (int)f->rdi;
    return look_open(fd, &found) && CALL(NR_flistxattr, fd, 0, 0) == 0 ? (f->result = 0, HIT) : MISS;
}

static int do_statfs(struct frame *f) {
    struct name n;
    int found;
    if (look(f, &n, 1, &found)) return HIT;
    if (found == UNKNOWN) return MISS;
    long result = CALL(NR_statfs, n.host, f->rsi, 0);
    return result < 0 ? MISS : (f->result = result, HIT);
}

int question_call(struct frame *f) {
    switch (f->nr) {
    case NR_statfs: return do_statfs(f);
    case NR_getxattr: return do_getxattr(f, 1);
    case NR_lgetxattr: return do_getxattr(f, 0);
    case NR_listxattr: return do_listxattr(f, 1);
    case NR_llistxattr: return do_listxattr(f, 0);
    case NR_fgetxattr: return do_fgetxattr(f);
    case NR_flistxattr: return do_flistxattr(f);
    default: return MISS;
    }
}
