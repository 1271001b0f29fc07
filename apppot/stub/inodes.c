/* Shows files with ownership records as the supervisor would: Ownership.attributes() and permitted() of
 * apppot/vfs/ownership.py for the two kinds of callers that use the fast path. */
#include "inodes.h"
#include "layout.h"
#include "names.h"

enum { SECOND = 1000000000 };

int recorded(uint64_t dev, uint64_t ino, uint32_t flags, struct inode *found) {
    if (!header()->recorded) return NO_RECORD;
    uint64_t hash = (dev * 31 + ino) * 0x9E3779B97F4A7C15;
    uint64_t bit = hash >> (64 - RECORD_BITS);
    if (!(flags & RECORDED)
        && !(((volatile const unsigned char *)(TLB_BASE + TLB_RECORDS))[bit >> 3] >> (bit & 7) & 1))
        return NO_RECORD;
    for (uint32_t probe = 0; probe < INODE_PROBES; probe++) {
        volatile struct inode *i = (volatile struct inode *)(TLB_BASE + TLB_INODES)
                                   + (((hash >> (64 - INODE_BITS)) + probe) & ((1 << INODE_BITS) - 1));
        uint32_t sequence = i->sequence;
        if (i->ino != ino || i->dev != dev || sequence & 1) continue;
        *found = *(struct inode *)i;
        __asm__ volatile("" ::: "memory");
        if (i->sequence == sequence && found->ino == ino && found->dev == dev)
            return found->flags & NOTHING ? NO_RECORD : RECORD;
    }
    return UNKNOWN;
}

int unrecorded(uint64_t dev, uint64_t ino) {
    struct inode i;
    return recorded(dev, ino, 0, &i) == NO_RECORD;
}

/* Virtual root is shown its own ids for the host user's. */
static uint32_t shown(uint32_t recorded, uint32_t id, uint32_t own) {
    if (recorded != KEEP) return recorded;
    return state()->mode == FAST_ROOT && id == own ? 0 : id;
}

static uint32_t true_mode(struct inode *i, uint32_t mode) {
    if (i->mode == KEEP) return mode;
    return (i->mode & S_IFMT ? i->mode & S_IFMT : mode & S_IFMT) | (i->mode & 07777);
}

/* Whole ones, as the kernel counts: nanoseconds are never negative. */
static int64_t seconds(int64_t time) { return time / SECOND - (time % SECOND < 0); }

int show_stat(struct stat64 *b, uint32_t flags) {
    struct inode i;
    int found = recorded(b->dev, b->ino, flags, &i);
    if (found == UNKNOWN) return 0;
    if (found == NO_RECORD) i.uid = i.gid = KEEP;
    b->uid = shown(i.uid, b->uid, header()->uid);
    b->gid = shown(i.gid, b->gid, header()->gid);
    if (found == NO_RECORD) return 1;
    b->mode = true_mode(&i, b->mode);
    if (i.rdev != KEEP) b->rdev = i.rdev;
    if (i.flags & TOLD) {
        b->nlink = i.nlink;
        b->blocks = i.blocks;
        b->modified.seconds = seconds(i.mtime);
        b->modified.nanoseconds = i.mtime - b->modified.seconds * SECOND;
    }
    return 1;
}

/* Of a file with a record the supervisor tells the basic fields alone. */
int show_statx(struct statx64 *b, uint64_t dev, uint64_t ino, uint32_t flags) {
    struct inode i;
    int found = recorded(dev, ino, flags, &i);
    if (found == UNKNOWN) return 0;
    if (found == NO_RECORD) i.uid = i.gid = KEEP;
    b->uid = shown(i.uid, b->uid, header()->uid);
    b->gid = shown(i.gid, b->gid, header()->gid);
    if (found == NO_RECORD) return 1;
    b->mode = true_mode(&i, b->mode);
    if (i.rdev != KEEP) {
        b->rdev_major = i.rdev >> 8 & 0xfff;
        b->rdev_minor = (i.rdev & 0xff) | (i.rdev >> 12 & 0xfff00);
    }
    if (i.flags & TOLD) {
        b->nlink = i.nlink;
        b->blocks = i.blocks;
        b->modified.seconds = seconds(i.mtime);
        b->modified.nanoseconds = i.mtime - b->modified.seconds * SECOND;
    }
    b->mask = STATX_BASIC_STATS;
    b->attributes = b->attributes_mask = 0;
    b->born.seconds = b->born.nanoseconds = 0;
    for (uint32_t at = 0; at < sizeof b->newer / sizeof *b->newer; at++) ((volatile uint64_t *)b->newer)[at] = 0;
    return 1;
}

/* A plain process's groups are not known here: what not everybody may do is a miss. Nor are lists read. */
int permitted(struct inode *i, struct stat64 *status, int mask) {
    uint32_t mode = true_mode(i, status->mode);
    if (state()->mode == FAST_ROOT || header()->uid == 0)
        return !(mask & X_OK) || (mode & S_IFMT) == S_IFDIR || mode & 0111;
    return !mask || (!(i->flags & LISTED) && (mode & mode >> 3 & mode >> 6 & mask) == mask);
}

/* A regular file may be a hole still, or stand for a device. */
int openable(struct inode *i, struct stat64 *status) {
    uint32_t kind = status->mode & S_IFMT;
    if (kind == S_IFREG ? !(i->flags & WHOLE) || i->rdev != KEEP : kind != S_IFDIR) return 0;
    return permitted(i, status, R_OK);
}
