/* Calls that change names, where that is the host's kernel's business alone: in a writable directory of one layer, of
 * what is no directory and no symlink, and has no record of owner or mode. Landlock keeps guests from making or moving
 * symlinks, and from moving or removing directories, by themselves: what the supervisor knows of those stays true. */
#include "abi.h"
#include "call.h"
#include "inodes.h"
#include "names.h"

enum { MISSING, ORDINARY, SPECIAL };    /* what has a name */
enum { MISSED = 32 };                   /* bit of `rax` that entry.S sets too. With rmdir, which is not patched: a report */

static int writable(struct name *n, int dirfd, const char *path) {
    return split(n, dirfd, path) && translate(n) && n->flags & WRITABLE
           && (!(n->flags & OWNED) || state()->mode == FAST_ROOT);
}

static int look(struct name *n, struct stat64 *st) {
    long result = CALL4(NR_newfstatat, n->dirfd, n->host, st, AT_SYMLINK_NOFOLLOW);
    if (result) return result == -ENOENT ? MISSING : SPECIAL;
    uint32_t kind = st->mode & S_IFMT;
    if (kind == S_IFDIR || (kind == S_IFLNK && !(n->flags & VERIFY))) return SPECIAL;
    return unrecorded(st->dev, st->ino) ? ORDINARY : SPECIAL;
}

static int call(struct frame *f, long nr, long a, long b, long c, long d, long e) {
    long result = commit(nr, a, b, c, d, e);
    if (result == 0 || result == -EEXIST) return f->result = result, HIT;
    f->committed = 0;
    return MISS;
}

/* The supervisor made a symlink since we looked, perhaps here, or a record of this inode: it must know what was removed
 * or renamed. */
static void report(uint32_t before, const struct stat64 *st, int removed) {
    if (header()->unsettled == before && unrecorded(st->dev, st->ino)) return;
    CALL4(NR_rmdir | 1L << MISSED, 0, st->dev, st->ino, removed && st->nlink == 1);
}

static int do_mkdir(struct frame *f, int dirfd, const char *path, long mode) {
    struct name n;
    /* Virtual root may use a directory whatever its mode is; the host's user may not: that takes a record. So does the
     * group that a directory with a record may give to those made in it. */
    if ((state()->mode == FAST_ROOT && (mode & 0700) != 0700) || !writable(&n, dirfd, path) || n.flags & OWNED) return MISS;
    return call(f, NR_mkdirat, n.dirfd, (long)n.host, mode, 0, 0);
}

static int do_unlink(struct frame *f, int dirfd, const char *path) {
    struct name n;
    struct stat64 st;
    uint32_t before = header()->unsettled;
    if (before & 1 || !writable(&n, dirfd, path)) return MISS;
    int found = look(&n, &st);
    if (found == MISSING) return f->result = -ENOENT, HIT;
    if (found == SPECIAL || !call(f, NR_unlinkat, n.dirfd, (long)n.host, 0, 0, 0)) return MISS;
    report(before, &st, 1);
    return HIT;
}

static int do_rename(struct frame *f, int old_dirfd, const char *old, int new_dirfd, const char *new, long flags) {
    struct name from, to;
    struct stat64 moved, replaced;
    uint32_t before = header()->unsettled;
    if (before & 1 || flags & ~(long)RENAME_NOREPLACE || !writable(&from, old_dirfd, old)
        || !writable(&to, new_dirfd, new) || from.mount != to.mount)
        return MISS;
    int source = look(&from, &moved), target = look(&to, &replaced);
    if (source == SPECIAL || target == SPECIAL) return MISS;        /* what is wrong with the new name may come first */
    if (source == MISSING) return f->result = -ENOENT, HIT;
    if (!call(f, NR_renameat2, from.dirfd, (long)from.host, to.dirfd, (long)to.host, flags)) return MISS;
    report(before, &moved, 0);
    if (target == ORDINARY && f->result == 0) report(before, &replaced, 1);
    return HIT;
}

static int do_link(struct frame *f, int old_dirfd, const char *old, int new_dirfd, const char *new, int flags) {
    struct name from, to;
    struct stat64 st;
    if (flags & ~AT_SYMLINK_FOLLOW || !writable(&from, old_dirfd, old) || !writable(&to, new_dirfd, new) || from.mount != to.mount
        || look(&from, &st) != ORDINARY || (flags && (st.mode & S_IFMT) == S_IFLNK))
        return MISS;
    return call(f, NR_linkat, from.dirfd, (long)from.host, to.dirfd, (long)to.host, 0);
}

int change_call(struct frame *f) {
    const char *first = (const char *)f->rdi, *second = (const char *)f->rsi, *fourth = (const char *)f->r10;
    switch (f->nr) {
    case NR_mkdir: return do_mkdir(f, AT_FDCWD, first, (int)f->rsi);
    case NR_mkdirat: return do_mkdir(f, (int)f->rdi, second, (int)f->rdx);
    case NR_unlink: return do_unlink(f, AT_FDCWD, first);
    case NR_unlinkat: return (int)f->rdx ? MISS : do_unlink(f, (int)f->rdi, second);
    case NR_rename: return do_rename(f, AT_FDCWD, first, AT_FDCWD, second, 0);
    case NR_renameat: return do_rename(f, (int)f->rdi, second, (int)f->rdx, fourth, 0);
    case NR_renameat2: return do_rename(f, (int)f->rdi, second, (int)f->rdx, fourth, (uint32_t)f->r8);
    case NR_link: return do_link(f, AT_FDCWD, first, AT_FDCWD, second, 0);
    case NR_linkat: return do_link(f, (int)f->rdi, second, (int)f->rdx, fourth, (int)f->r8);
    default: return MISS;
    }
}
