/* The fast path: answers repeated path calls of a patched call site from the translation cache in the window.
 *
 * A site's `mov $NR, %eax` was replaced by a jump to a trampoline that comes to fast_entry (entry.S) and so here. A hit
 * makes the call with the host's name from the stub's own code range, which the seccomp filter lets through; whatever
 * is not plainly right is a miss: the site's own `syscall` is executed and stops, and the supervisor answers it and
 * fills the cache. Nothing here decides what a name means.
 *
 * Only the kernel touches the guest's buffers. The path is read here; a fault in that comes to the supervisor as
 * SIGSEGV first, which turns it into a miss, as it does with signals that come before anything was done. */
#include "abi.h"
#include "call.h"
#include "inodes.h"
#include "names.h"

enum { FOLLOW = 1 };

/* Whether the caller may do that with a file that is no symlink. What the host's user may do, virtual root may too; where it is
 * refused the supervisor says so. */
static int allows(struct name *n, struct stat64 *st, int mode) {
    struct inode i;
    int found = recorded(st->dev, st->ino, n->flags, &i);
    if (found != NO_RECORD) return found == RECORD && permitted(&i, st, mode);
    return !mode || CALL4(NR_faccessat, n->dirfd, n->host, mode, 0) == 0;   /* F_OK: it is there */
}

static int stat_at(struct frame *f, struct name *n, struct stat64 *buffer, int flags, int how) {
    long result = CALL4(NR_newfstatat, n->dirfd, n->host, buffer, flags | AT_SYMLINK_NOFOLLOW);
    if (result == -ENOENT) return f->result = result, HIT;
    if (result < 0 || (how & FOLLOW && (buffer->mode & S_IFMT) == S_IFLNK)
        || (n->slash && (buffer->mode & S_IFMT) != S_IFDIR) || (n->dotted && !allows(n, buffer, X_OK)))
        return MISS;
    return show_stat(buffer, n->flags) ? (f->result = 0, HIT) : MISS;
}

static int absent(struct frame *f, struct name *n) {
    if (n->kind != ABSENT) return 0;
    f->result = -ENOENT;
    return 1;
}

/* A directory of several layers is not what its descriptor says. */
static int show_open(struct frame *f, struct stat64 *buffer) {
    struct name n;
    n.flags = 0;
    if ((buffer->mode & S_IFMT) == S_IFDIR) {
        n.path = "";
        n.dev = buffer->dev;
        n.ino = buffer->ino;
        if (!find_directory(&n) || n.kind == MERGED) return MISS;
    }
    return show_stat(buffer, n.flags) ? (f->result = 0, HIT) : MISS;
}

/* A directory of several layers, by its name, looks like its upper part and is the lower one. */
static __attribute__((noinline)) int stat_merged(struct frame *f, struct name *n, struct stat64 *buffer) {
    if (n->dotted || !merged_place(n) || CALL4(NR_newfstatat, AT_FDCWD, n->host, buffer, AT_SYMLINK_NOFOLLOW)
        || (buffer->mode & S_IFMT) != S_IFDIR || !show_stat(buffer, n->flags))
        return MISS;
    buffer->dev = n->host_dev;
    buffer->ino = n->host_ino;
    buffer->nlink = 1;
    return f->result = 0, HIT;
}

static int do_stat(struct frame *f, int dirfd, const char *path, void *buffer, int flags) {
    struct name n;
    if (dirfd == AT_FDCWD && path[0] == '.' && !path[1])
        return !(flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
               && CALL4(NR_newfstatat, AT_FDCWD, ".", buffer, AT_SYMLINK_NOFOLLOW) == 0 ? show_open(f, buffer) : MISS;
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) || !split_dotted(&n, dirfd, path)) return MISS;
    int how = flags & AT_SYMLINK_NOFOLLOW && !n.dotted ? 0 : FOLLOW;
    for (int known = translate(&n);; known = 0) {
        if (!known && !translate_name(&n, how)) return stat_merged(f, &n, buffer);
        if (!known && absent(f, &n)) return HIT;
        if (stat_at(f, &n, buffer, flags, how)) return HIT;
        if (!known) return MISS;
    }
}

/* fstat, also in the form that some C libraries give it. */
static int do_fstat(struct frame *f, int fd, struct stat64 *buffer) {
    return CALL(NR_fstat, fd, buffer, 0) == 0 ? show_open(f, buffer) : MISS;
}

static int do_statx(struct frame *f) {
    struct name n;
    struct stat64 st;
    struct statx64 *buffer = (struct statx64 *)f->r8;
    int flags = (int)f->rdx;
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE)
        || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE || (uint32_t)f->r10 & STATX__RESERVED     /* EINVAL comes first */
        || !split(&n, (int)f->rdi, (const char *)f->rsi))
        return MISS;
    if (!translate(&n)) {
        if (!translate_name(&n, !(flags & AT_SYMLINK_NOFOLLOW))) return MISS;
        if (absent(f, &n)) return HIT;
    }
    long result = CALL4(NR_newfstatat, n.dirfd, n.host, &st, AT_SYMLINK_NOFOLLOW);
    if (result == -ENOENT) return f->result = result, HIT;
    if (result < 0 || (!(flags & AT_SYMLINK_NOFOLLOW) && (st.mode & S_IFMT) == S_IFLNK)) return MISS;
    result = call6(NR_statx, n.dirfd, (long)n.host, flags | AT_SYMLINK_NOFOLLOW, (long)f->r10, (long)buffer, 0);
    if (result < 0) return MISS;
    return show_statx(buffer, st.dev, st.ino, n.flags) ? (f->result = 0, HIT) : MISS;
}

/* The host follows symlinks here, so what is called must be none. An entry of a file says so, unless one is put there
 * just now. */
static int access_at(struct frame *f, struct name *n, int mode, uint32_t before) {
    struct stat64 st;
    long result;
    if (mode & W_OK && !(n->flags & WRITABLE)) return MISS;
    if (n->kind == FILE && !(n->flags & LINK) && !header()->recorded && !(before & 1)) {
        result = CALL4(NR_faccessat, n->dirfd, n->host, mode, 0);
        return result < 0 || header()->unsettled != before ? MISS : (f->result = 0, HIT);
    }
    if (!header()->recorded && !n->slash) {
        char text;
        result = CALL4(NR_readlinkat, n->dirfd, n->host, &text, sizeof text);   /* two thirds of a stat's time */
        if (result == -ENOENT) return f->result = result, HIT;
        if (result != -EINVAL || (mode && CALL4(NR_faccessat, n->dirfd, n->host, mode, 0))) return MISS;
        return f->result = 0, HIT;
    }
    result = CALL4(NR_newfstatat, n->dirfd, n->host, &st, AT_SYMLINK_NOFOLLOW);
    if (result == -ENOENT) return f->result = result, HIT;
    if (result < 0 || (st.mode & S_IFMT) == S_IFLNK || (n->slash && (st.mode & S_IFMT) != S_IFDIR)) return MISS;
    return allows(n, &st, mode) ? (f->result = 0, HIT) : MISS;
}

static int do_access(struct frame *f, int dirfd, const char *path, int mode, int flags) {
    struct name n;
    uint32_t before = header()->unsettled;
    if (mode & ~7 || flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW) || !split_any(&n, dirfd, path)) return MISS;
    for (int known = translate(&n);; known = 0) {
        if (!known && !translate_name(&n, !(flags & AT_SYMLINK_NOFOLLOW)) && !merged_place(&n)) return MISS;
        if (!known && absent(f, &n)) return HIT;
        if (access_at(f, &n, mode, before)) return HIT;
        if (!known) return MISS;
    }
}

static int do_readlink(struct frame *f, int dirfd, const char *path, char *buffer, long size) {
    struct name n;
    if (!split(&n, dirfd, path)) return MISS;
    if (!translate(&n)) return names_no_link(&n) ? (f->result = -EINVAL, HIT) : MISS;
    long result = CALL4(NR_readlinkat, n.dirfd, n.host, buffer, size);
    return result < 0 && result != -ENOENT && result != -EINVAL ? MISS : (f->result = result, HIT);
}

/* The same in the window; 0: it is not there yet. */
static volatile struct known_how *known(const struct open_how *how) {
    uint32_t at = (how->flags * 31 + how->mode) * 0x9E3779B97F4A7C15 >> 58;
    for (uint32_t i = 0; i < HOW_PROBES; i++) {
        volatile struct known_how *k = hows() + (at + i) % HOW_COUNT;
        if (k->there && k->how.flags == how->flags && k->how.mode == how->mode) return k;
    }
    return 0;
}

static long open_host(struct name *n, int flags, int mode) {
    struct open_how how = {(uint32_t)flags & O_KNOWN, flags & O_CREAT ? mode & 07777 : 0, RESOLVE_NO_SYMLINKS};
    long place = header()->by_flags ? (long)known(&how) : (long)&how;
    return place ? commit(NR_openat2, n->dirfd, (long)n->host, place, sizeof how, 0) : -ENOSYS;
}

static int open_at(struct frame *f, struct name *n, int flags, int mode) {
    struct stat64 st;
    int writing = flags & (O_ACCMODE | O_CREAT | O_TRUNC);
    if (writing && !(n->flags & WRITABLE)) return MISS;
    if (flags & O_CREAT && n->flags & OWNED && state()->mode != FAST_ROOT) return MISS;
    if (header()->recorded) {
        struct inode i;
        long result = CALL4(NR_newfstatat, n->dirfd, n->host, &st, AT_SYMLINK_NOFOLLOW);
        int found = result == 0 ? recorded(st.dev, st.ino, n->flags, &i) : NO_RECORD;
        if (found == UNKNOWN || (found == RECORD && (writing || !openable(&i, &st)))) return MISS;
    }
    long result = open_host(n, flags, mode);
    /* tar opens directories so before it knows that they are, and Go, whose frames are on lent stacks, like anything else. */
    if (result >= 0 && (flags & (O_DIRECTORY | O_NONBLOCK) || f->taken) && n->flags & DEEP) remember(n, (int)result);
    /* ENXIO: of /dev/tty, where there is none. */
    if (result >= 0 || result == -ENOENT || result == -ENXIO) return f->result = result, HIT;
    f->committed = 0;
    return MISS;
}

static int is_text(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

/* The dynamic loader is to get the patched copy of the C library, and nobody else: so it misses if there is none yet. */
static int open_library(struct frame *f, struct name *n) {
    if (!find(n, n->length, SPACE_LIBRARY) || (n->flags & FOR_ROOT && state()->mode != FAST_ROOT)) return MISS;
    long result = commit(NR_openat, AT_FDCWD, (long)n->host, O_CLOEXEC, 0, 0);
    if (result < 0) return f->committed = 0, MISS;
    if (n->last[3] == 'c') state()->loading = NEARLY;
    return f->result = result, HIT;
}

/* The current directory, or that of a descriptor, itself. */
static int open_itself(struct frame *f, int dirfd, int flags) {
    struct name n;
    n.path = "";
    if (flags & (O_ACCMODE | O_CREAT | O_TRUNC) || !base(&n, dirfd) || !find_directory(&n) || n.kind == MERGED
        || (n.flags & FOR_ROOT && state()->mode != FAST_ROOT))
        return MISS;
    n.dirfd = dirfd;
    n.host[0] = '.';
    n.host[1] = 0;
    return open_at(f, &n, flags, 0);
}

static int do_open(struct frame *f, int dirfd, const char *path, int flags, int mode) {
    struct name n;
    if (flags & (O_PATH | (O_TMPFILE & ~O_DIRECTORY)) || (flags & O_ACCMODE) == O_ACCMODE) return MISS;
    if (is_text(path, ".")) return open_itself(f, dirfd, flags);
    if (!split_any(&n, dirfd, path) || (n.slash && (flags & (O_CREAT | O_DIRECTORY)) != O_DIRECTORY)) return MISS;
    if (state()->loading && flags == O_CLOEXEC && (is_text(n.last, "libc.so.6") || is_text(n.last, "libpthread.so.0")))
        return open_library(f, &n);
    n.guarded = !header()->recorded;
    if (translate(&n) && open_at(f, &n, flags, mode)) return HIT;
    if (!translate_name(&n, !(flags & O_NOFOLLOW)) || (flags & O_CREAT && n.kind == ABSENT)) return MISS;
    return absent(f, &n) || open_at(f, &n, flags, mode);
}

static int do_getdents(struct frame *f) {
    struct name n;
    n.path = "";
    if (!base(&n, (int)f->rdi) || !find_directory(&n)) return MISS;
    if (!(n.flags & LISTABLE) && !(find(&n, 0, SPACE_DIRECTORY) && n.flags & LISTABLE)) return MISS;
    f->result = commit(NR_getdents64, (long)f->rdi, (long)f->rsi, (long)f->rdx, 0, 0);
    return HIT;
}

static int do_getcwd(struct frame *f, char *buffer, uint64_t size) {
    struct name n;
    n.path = "";
    if (!base(&n, AT_FDCWD) || !find(&n, 0, SPACE_CWD) || size <= n.host_length) return MISS;
    for (uint32_t i = 0; i <= n.host_length; i++) ((volatile char *)buffer)[i] = n.host[i];
    return f->result = n.host_length + 1, HIT;
}

static int answer(struct frame *f) {
    switch (f->nr) {
    case NR_creat: return do_open(f, AT_FDCWD, (const char *)f->rdi, O_CREAT | O_WRONLY | O_TRUNC, (int)f->rsi);
    case NR_open: return do_open(f, AT_FDCWD, (const char *)f->rdi, (int)f->rsi, (int)f->rdx);
    case NR_openat: return do_open(f, (int)f->rdi, (const char *)f->rsi, (int)f->rdx, (int)f->r10);
    case NR_stat: return do_stat(f, AT_FDCWD, (const char *)f->rdi, (void *)f->rsi, 0);
    case NR_fstat: return do_fstat(f, (int)f->rdi, (struct stat64 *)f->rsi);
    case NR_lstat: return do_stat(f, AT_FDCWD, (const char *)f->rdi, (void *)f->rsi, AT_SYMLINK_NOFOLLOW);
    case NR_newfstatat:
        if (f->r10 == AT_EMPTY_PATH && (int)f->rdi >= 0 && f->rsi && !*(const char *)f->rsi)
            return do_fstat(f, (int)f->rdi, (struct stat64 *)f->rdx);
        return do_stat(f, (int)f->rdi, (const char *)f->rsi, (void *)f->rdx, (int)f->r10);
    case NR_statx: return do_statx(f);
    case NR_access: return do_access(f, AT_FDCWD, (const char *)f->rdi, (int)f->rsi, 0);
    case NR_faccessat: return do_access(f, (int)f->rdi, (const char *)f->rsi, (int)f->rdx, 0);
    case NR_faccessat2: return do_access(f, (int)f->rdi, (const char *)f->rsi, (int)f->rdx, (int)f->r10);
    case NR_readlink: return do_readlink(f, AT_FDCWD, (const char *)f->rdi, (char *)f->rsi, (int)f->rdx);
    case NR_readlinkat: return do_readlink(f, (int)f->rdi, (const char *)f->rsi, (char *)f->rdx, (int)f->r10);
    case NR_getcwd: return do_getcwd(f, (char *)f->rdi, f->rsi);
    case NR_getdents64: return do_getdents(f);
    case NR_execve: case NR_uname: case NR_getsockname: case NR_getpeername: return startup_call(f);
    case NR_statfs: case NR_getxattr: case NR_lgetxattr: case NR_listxattr: case NR_llistxattr:
    case NR_fgetxattr: case NR_flistxattr: return question_call(f);
    default: return change_call(f);
    }
}

int fast_call(struct frame *f) {
    volatile struct state *s = state();
    if (s->mode == FAST_OFF || !header()->on) return MISS;
    if (s->loading == NEARLY && f->nr != NR_openat && f->nr != NR_newfstatat && f->nr != NR_fstat) s->loading = LOADED;
    if (!answer(f)) return MISS;
    __atomic_fetch_add(&s->hits[f->nr], 1, __ATOMIC_RELAXED);     /* threads count at the same time */
    return HIT;
}

/* A bit for each call that answer() knows, for fast_checked. NUMBERS of kernel/patching.py. */
#define BIT(word, nr) ((nr) / 64 == (word) ? 1ULL << (nr) % 64 : 0)
#define WORD(w) (BIT(w, NR_open) | BIT(w, NR_stat) | BIT(w, NR_lstat) | BIT(w, NR_access) | BIT(w, NR_getcwd) \
    | BIT(w, NR_readlink) | BIT(w, NR_getdents64) | BIT(w, NR_openat) | BIT(w, NR_newfstatat) | BIT(w, NR_readlinkat) \
    | BIT(w, NR_faccessat) | BIT(w, NR_faccessat2) | BIT(w, NR_statx) | BIT(w, NR_creat) | BIT(w, NR_mkdir) \
    | BIT(w, NR_mkdirat) | BIT(w, NR_unlink) | BIT(w, NR_unlinkat) | BIT(w, NR_rename) | BIT(w, NR_renameat) \
    | BIT(w, NR_renameat2) | BIT(w, NR_link) | BIT(w, NR_linkat) | BIT(w, NR_fstat) | BIT(w, NR_getxattr) | BIT(w, NR_lgetxattr) \
    | BIT(w, NR_listxattr) | BIT(w, NR_llistxattr) | BIT(w, NR_fgetxattr) | BIT(w, NR_flistxattr) | BIT(w, NR_statfs) | BIT(w, NR_execve) | BIT(w, NR_uname) \
    | BIT(w, NR_getsockname) | BIT(w, NR_getpeername))
const uint64_t fast_numbers[NUMBERS / 64] = {WORD(0), WORD(1), WORD(2), WORD(3), WORD(4), WORD(5), WORD(6), WORD(7)};
