/* The fast path: answers repeated path calls of a patched call site from the translation cache in the window.
 *
 * A site's `mov $NR, %eax` was replaced by a jump to a trampoline that comes to fast_entry (entry.S) and so here. A hit
 * makes the call with the host's name from the stub's own code range, which the seccomp filter lets through; whatever
 * is not plainly right is a miss: the site's own `syscall` is executed and stops, and the supervisor answers it and
 * fills the cache. Nothing here decides what a name means. The layout of the cache is that of apppot/platform/tlb.py.
 *
 * Only the kernel touches the guest's buffers. The path is read here; a fault in that comes to the supervisor as
 * SIGSEGV first, which turns it into a miss, as it does with signals that come before anything was done. */
#include "call.h"
#include "fast.h"
#include "layout.h"

enum { AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, AT_NO_AUTOMOUNT = 0x800, AT_EMPTY_PATH = 0x1000,
       AT_STATX_SYNC_TYPE = 0x6000 };
enum { O_ACCMODE = 3, O_CREAT = 0100, O_EXCL = 0200, O_TRUNC = 01000, O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000,
       O_PATH = 010000000, O_TMPFILE = 020000000, O_KNOWN = 037777703 };
enum { RESOLVE_NO_SYMLINKS = 4 };
enum { S_IFMT = 0170000, S_IFLNK = 0120000, S_IFDIR = 0040000 };
enum { ENOENT = 2 };
enum { MISS = 0, HIT = 1 };
enum { HOST_MAX = 512 };                /* longest host path made here; bounds the stack that a call takes */
enum { FOLLOW = 1, BY_NAME = 2 };

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

/* One name, taken apart: where it starts from, the text of its directory, its last component. */
struct name {
    int dirfd;
    const char *path, *last;
    uint32_t head, length;              /* of the directory text without its last "/", of the whole */
    uint64_t dev, ino;                  /* of the directory a relative name starts from */
    uint64_t host_dev, host_ino;        /* of the entry that was found */
    uint32_t kind, flags, host_length, generation;
    char host[HOST_MAX];                /* what to call with; relative to dirfd when `direct` */
    int direct;
};

static inline volatile struct header *header(void) { return (volatile struct header *)TLB_BASE; }

static uint32_t hash(const char *text, uint32_t length, uint64_t dev, uint64_t ino, uint32_t space) {
    uint64_t h = (dev * 31 + ino) * 0x9E3779B97F4A7C15 + space;
    for (uint32_t i = 0; i < length; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001B3;
    h ^= h >> 29;
    return (uint32_t)(h ^ h >> 32) | 1;
}

static int same(const char *a, volatile const char *b, uint32_t length) {
    for (uint32_t i = 0; i < length; i++)
        if (a[i] != b[i]) return 0;
    return 1;
}

/* Copies the entry for (base, text) if there is one and it did not change meanwhile. */
static int find(struct name *n, uint32_t length, uint32_t space) {
    uint32_t wanted = hash(n->path, length, n->dev, n->ino, space);
    if (length > TLB_TEXT) return 0;
    for (uint32_t probe = 0; probe < TLB_PROBES; probe++) {
        volatile struct entry *e = (volatile struct entry *)(TLB_BASE + TLB_HEADER)
                                   + ((wanted + probe) & (TLB_ENTRIES - 1));
        uint32_t sequence = e->sequence;
        if (sequence & 1 || e->hash != wanted || e->length != length || e->dev != n->dev || e->ino != n->ino
            || e->space != space)
            continue;
        if (e->generation != (space == SPACE_NAME ? header()->names : header()->directories)) continue;
        if (!same(n->path, e->text, length)) continue;
        n->kind = e->kind;
        n->flags = e->flags;
        n->host_length = e->host_length;
        n->generation = e->generation;
        n->host_dev = e->host_dev;
        n->host_ino = e->host_ino;
        if (n->host_length > TLB_HOST) return 0;
        for (uint32_t i = 0; i < n->host_length; i++) n->host[i] = e->host[i];
        n->host[n->host_length] = 0;
        if (e->sequence == sequence) return 1;
    }
    return 0;
}

static volatile struct seen *place_of(uint64_t dev, uint64_t ino) {
    return &((volatile struct state *)FAST_STATE)->seen[(dev * 31 + ino) * 0x9E3779B97F4A7C15 >> 57];
}

/* Finds the entry of the directory (dev, ino) itself. */
static int find_directory(struct name *n) {
    volatile struct seen *s = place_of(n->dev, n->ino);
    if (s->ino == n->ino && s->dev == n->dev && s->generation == header()->directories) {
        n->kind = PURE;
        n->flags = s->flags;
        n->host_length = 0;
        n->generation = s->generation;
        return 1;
    }
    return find(n, 0, SPACE_DIRECTORY);
}

/* Another thread may write at the same place: no half of an entry is ever valid, since the inode is written last. */
static void remember(struct name *n, int fd) {
    struct stat64 st;
    if (CALL4(NR_newfstatat, fd, "", &st, AT_EMPTY_PATH) || (st.mode & S_IFMT) != S_IFDIR) return;
    volatile struct seen *s = place_of(st.dev, st.ino);
    s->ino = 0;
    s->dev = st.dev;
    /* A directory of the upper layer may hold markers, which no listing shows: that is for the supervisor to see. */
    s->flags = n->flags & ~(n->flags & WRITABLE && !(n->flags & VERIFY) ? LISTABLE : 0) & ~VERIFY;
    s->generation = n->generation;
    s->ino = st.ino;
}

/* The directory's device and inode number are what relative names are kept under. */
static int base(struct name *n, int dirfd) {
    struct stat64 st;
    long result = dirfd == AT_FDCWD
        ? CALL4(NR_newfstatat, AT_FDCWD, ".", &st, AT_SYMLINK_NOFOLLOW)
        : CALL4(NR_newfstatat, dirfd, "", &st, AT_EMPTY_PATH);
    if (result < 0 || (st.mode & S_IFMT) != S_IFDIR) return 0;
    n->dev = st.dev;
    n->ino = st.ino;
    return 1;
}

static int split(struct name *n, int dirfd, const char *path) {
    uint32_t i, slash = 0;
    n->dirfd = dirfd;
    n->path = path;
    n->dev = n->ino = 0;
    for (i = 0; path[i]; i++) {
        if (path[i] == '/') slash = i + 1;
        if (i == HOST_MAX - 1) return 0;
    }
    n->length = i;
    n->last = path + slash;
    n->head = slash ? slash - 1 : 0;
    if (!n->last[0] || i - slash > 255) return 0;
    if (n->last[0] == '.' && (!n->last[1] || (n->last[1] == '.' && !n->last[2])
                              || (n->last[1] == 'w' && n->last[2] == 'h' && n->last[3] == '.')))
        return 0;
    n->direct = path[0] != '/' && !slash;
    return path[0] == '/' || base(n, dirfd);
}

/* On a hostfs mount others may put a symlink in the way: is the directory still the one the entry was made for? */
static int unchanged(struct name *n) {
    struct stat64 st;
    if (!(n->flags & VERIFY) || n->direct) return 1;
    return CALL4(NR_newfstatat, AT_FDCWD, n->host, &st, AT_SYMLINK_NOFOLLOW) == 0
           && st.dev == n->host_dev && st.ino == n->host_ino;
}

/* Finds the host's name: of the directory's entry with the last component behind it. */
static int translate(struct name *n) {
    if (n->direct ? !find_directory(n) : !find(n, n->head, SPACE_DIRECTORY)) return 0;
    if (n->kind == MERGED || !unchanged(n)) return 0;
    if (n->direct) {
        n->host_length = 0;
    } else {
        n->dirfd = AT_FDCWD;
        n->host[n->host_length++] = '/';
    }
    uint32_t at = n->host_length;
    for (const char *c = n->last; (n->host[at] = *c); c++)
        if (++at >= HOST_MAX) return 0;
    return 1;
}

/* An entry of the whole name: a file in a directory of several layers, or behind a symlink. */
static int translate_name(struct name *n) {
    if (!find(n, n->length, SPACE_NAME)) return 0;
    n->dirfd = AT_FDCWD;
    n->direct = 0;
    return 1;
}

/* Whether what the host says of this inode may be shown: no record of another owner or mode exists. */
static int unrecorded(uint64_t dev, uint64_t ino) {
    if (!header()->recorded) return 1;
    uint64_t bit = (dev * 31 + ino) * 0x9E3779B97F4A7C15 >> 44;
    return !(((volatile const unsigned char *)(TLB_BASE + TLB_RECORDS))[bit >> 3] >> (bit & 7) & 1);
}

static void show_owner(uint32_t *uid, uint32_t *gid) {
    volatile struct state *s = (volatile struct state *)FAST_STATE;
    if (s->mode != FAST_ROOT) return;
    if (*uid == header()->uid) *uid = 0;
    if (*gid == header()->gid) *gid = 0;
}

static int stat_at(struct frame *f, struct name *n, struct stat64 *buffer, int flags, int how) {
    long result = CALL4(NR_newfstatat, n->dirfd, n->host, buffer, flags | AT_SYMLINK_NOFOLLOW);
    if (result == -ENOENT) return f->result = result, HIT;
    if (result < 0 || (how & FOLLOW && (buffer->mode & S_IFMT) == S_IFLNK)) return MISS;
    if (!unrecorded(buffer->dev, buffer->ino)) return MISS;
    show_owner(&buffer->uid, &buffer->gid);
    return f->result = 0, HIT;
}

static int absent(struct frame *f, struct name *n) {
    if (n->kind != ABSENT) return 0;
    f->result = -ENOENT;
    return 1;
}

static int do_stat(struct frame *f, int dirfd, const char *path, void *buffer, int flags) {
    struct name n;
    int how = flags & AT_SYMLINK_NOFOLLOW ? 0 : FOLLOW;
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) || !split(&n, dirfd, path)) return MISS;
    if (translate(&n) && stat_at(f, &n, buffer, flags, how)) return HIT;
    if (!how || !translate_name(&n)) return MISS;
    return absent(f, &n) || stat_at(f, &n, buffer, flags, how);
}

/* fstat in the form that some C libraries give it. A directory of several layers is not what its descriptor says. */
static int do_fstat(struct frame *f, int fd, struct stat64 *buffer) {
    struct name n;
    long result = CALL4(NR_newfstatat, fd, "", buffer, AT_EMPTY_PATH);
    if (result < 0) return MISS;
    if ((buffer->mode & S_IFMT) == S_IFDIR) {
        n.path = "";
        n.dev = buffer->dev;
        n.ino = buffer->ino;
        if (!find_directory(&n) || n.kind == MERGED) return MISS;
    }
    if (!unrecorded(buffer->dev, buffer->ino)) return MISS;
    show_owner(&buffer->uid, &buffer->gid);
    return f->result = 0, HIT;
}

static int do_statx(struct frame *f) {
    struct name n;
    struct stat64 st;
    struct statx64 *buffer = (struct statx64 *)f->r8;
    int flags = (int)f->rdx;
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE)
        || !split(&n, (int)f->rdi, (const char *)f->rsi) || !translate(&n))
        return MISS;
    long result = CALL4(NR_newfstatat, n.dirfd, n.host, &st, AT_SYMLINK_NOFOLLOW);
    if (result == -ENOENT) return f->result = result, HIT;
    if (result < 0 || (!(flags & AT_SYMLINK_NOFOLLOW) && (st.mode & S_IFMT) == S_IFLNK)
        || !unrecorded(st.dev, st.ino))
        return MISS;
    result = call6(NR_statx, n.dirfd, (long)n.host, flags | AT_SYMLINK_NOFOLLOW, (long)f->r10, (long)buffer, 0);
    if (result < 0) return MISS;
    show_owner(&buffer->uid, &buffer->gid);
    return f->result = 0, HIT;
}

static int do_access(struct frame *f, int dirfd, const char *path, int mode) {
    struct name n;
    struct stat64 st;
    /* What the host user may read or execute, virtual root may too; whatever is refused is a miss. */
    if (mode & ~5 || !split(&n, dirfd, path)) return MISS;
    if (!translate(&n)) {
        if (!translate_name(&n)) return MISS;
        if (absent(f, &n)) return HIT;
    }
    long result = CALL4(NR_newfstatat, n.dirfd, n.host, &st, AT_SYMLINK_NOFOLLOW);
    if (result == -ENOENT) return f->result = result, HIT;
    if (result < 0 || (st.mode & S_IFMT) == S_IFLNK || !unrecorded(st.dev, st.ino)) return MISS;
    result = CALL4(NR_faccessat, n.dirfd, n.host, mode, 0);
    return result < 0 ? MISS : (f->result = 0, HIT);
}

static int do_readlink(struct frame *f, int dirfd, const char *path, char *buffer, long size) {
    struct name n;
    if (!split(&n, dirfd, path) || !translate(&n)) return MISS;
    long result = CALL4(NR_readlinkat, n.dirfd, n.host, buffer, size);
    return result < 0 && result != -ENOENT ? MISS : (f->result = result, HIT);
}

static int open_at(struct frame *f, struct name *n, int flags, int mode) {
    struct { uint64_t flags, mode, resolve; } how;
    struct stat64 st;
    int writing = flags & (O_ACCMODE | O_CREAT | O_TRUNC);
    if (writing && !(n->flags & WRITABLE)) return MISS;
    if (header()->recorded) {
        long result = CALL4(NR_newfstatat, n->dirfd, n->host, &st, AT_SYMLINK_NOFOLLOW);
        if (result == 0 && !unrecorded(st.dev, st.ino)) return MISS;
    }
    how.flags = (uint32_t)flags & O_KNOWN;
    how.mode = flags & O_CREAT ? mode & 07777 : 0;
    how.resolve = RESOLVE_NO_SYMLINKS;
    f->committed = 1;
    long result = CALL4(NR_openat2, n->dirfd, n->host, &how, sizeof how);
    if (result >= 0 && flags & O_DIRECTORY && n->flags & DEEP) remember(n, (int)result);
    if (result >= 0 || result == -ENOENT) return f->result = result, HIT;
    f->committed = 0;
    return MISS;
}

static int do_open(struct frame *f, int dirfd, const char *path, int flags, int mode) {
    struct name n;
    if (flags & (O_PATH | (O_TMPFILE & ~O_DIRECTORY)) || (flags & O_ACCMODE) == O_ACCMODE || !split(&n, dirfd, path))
        return MISS;
    if (translate(&n) && open_at(f, &n, flags, mode)) return HIT;
    if (flags & (O_NOFOLLOW | O_CREAT | O_TRUNC | O_ACCMODE) || !translate_name(&n)) return MISS;
    return absent(f, &n) || open_at(f, &n, flags, mode);
}

static int do_getdents(struct frame *f) {
    struct name n;
    n.path = "";
    if (!base(&n, (int)f->rdi) || !find_directory(&n) || !(n.flags & LISTABLE)) return MISS;
    f->committed = 1;
    f->result = CALL4(NR_getdents64, f->rdi, f->rsi, f->rdx, 0);
    return HIT;
}

static int do_getcwd(struct frame *f, char *buffer, uint64_t size) {
    struct name n;
    n.path = "";
    if (!base(&n, AT_FDCWD) || !find(&n, 0, SPACE_CWD) || size <= n.host_length) return MISS;
    for (uint32_t i = 0; i <= n.host_length; i++) ((volatile char *)buffer)[i] = n.host[i];
    return f->result = n.host_length + 1, HIT;
}

int fast_call(struct frame *f) {
    volatile struct state *s = (volatile struct state *)FAST_STATE;
    if (s->mode == FAST_OFF || !header()->on) return MISS;
    switch (f->nr) {
    case NR_open: return do_open(f, AT_FDCWD, (const char *)f->rdi, (int)f->rsi, (int)f->rdx);
    case NR_openat: return do_open(f, (int)f->rdi, (const char *)f->rsi, (int)f->rdx, (int)f->r10);
    case NR_stat: return do_stat(f, AT_FDCWD, (const char *)f->rdi, (void *)f->rsi, 0);
    case NR_lstat: return do_stat(f, AT_FDCWD, (const char *)f->rdi, (void *)f->rsi, AT_SYMLINK_NOFOLLOW);
    case NR_newfstatat:
        if (f->r10 == AT_EMPTY_PATH && (int)f->rdi >= 0 && f->rsi && !*(const char *)f->rsi)
            return do_fstat(f, (int)f->rdi, (struct stat64 *)f->rdx);
        return do_stat(f, (int)f->rdi, (const char *)f->rsi, (void *)f->rdx, (int)f->r10);
    case NR_statx: return do_statx(f);
    case NR_access: return do_access(f, AT_FDCWD, (const char *)f->rdi, (int)f->rsi);
    case NR_faccessat: return do_access(f, (int)f->rdi, (const char *)f->rsi, (int)f->rdx);
    case NR_readlink: return do_readlink(f, AT_FDCWD, (const char *)f->rdi, (char *)f->rsi, (int)f->rdx);
    case NR_readlinkat: return do_readlink(f, (int)f->rdi, (const char *)f->rsi, (char *)f->rdx, (int)f->r10);
    case NR_getcwd: return do_getcwd(f, (char *)f->rdi, f->rsi);
    case NR_getdents64: return do_getdents(f);
    default: return MISS;
    }
}
