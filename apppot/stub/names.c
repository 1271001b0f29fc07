/* Looks names up in the translation cache, whose layout is that of apppot/platform/tlb.py. */
#include "abi.h"
#include "call.h"
#include "inodes.h"
#include "names.h"

enum { WORD = sizeof(uint64_t) };

/* Of a text at any address. */
struct __attribute__((packed, may_alias)) unaligned { uint64_t word; };
static inline uint64_t load(const char *text) { return ((const struct unaligned *)text)->word; }

/* Eight bytes of a text, those behind its end zero. Nothing behind its end is read: that may be another page. */
static inline uint64_t word_at(const char *text, uint32_t at, uint32_t length) {
    uint32_t left = length - at;
    if (left >= WORD) return load(text + at);
    if (length >= WORD) return load(text + length - WORD) >> 8 * (WORD - left);
    uint64_t word = 0;
    while (left--) word = word << 8 | (unsigned char)text[at + left];
    return word;
}

static uint32_t hash(const char *text, uint32_t length, uint64_t dev, uint64_t ino, uint32_t space) {
    uint64_t h = (dev * 31 + ino) * 0x9E3779B97F4A7C15 + space + length;
    for (uint32_t i = 0; i < length; i += WORD) {
        h = (h ^ word_at(text, i, length)) * 0x9E3779B97F4A7C15;
        h ^= h >> 32;
    }
    h ^= h >> 29;
    return (uint32_t)(h ^ h >> 32) | 1;
}

/* `known`: with zeros behind it, as texts in the cache are. */
static int same(const char *text, volatile const uint64_t *known, uint32_t length) {
    for (uint32_t i = 0; i < length; i += WORD)
        if (word_at(text, i, length) != *known++) return 0;
    return 1;
}

/* Copies the entry for (base, text) if there is one and it did not change meanwhile. */
int find(struct name *n, uint32_t length, uint32_t space) {
    if (length > TLB_TEXT) return 0;
    uint32_t wanted = hash(n->path, length, n->dev, n->ino, space);
    for (uint32_t probe = 0; probe < TLB_PROBES; probe++) {
        volatile struct entry *e = (volatile struct entry *)(TLB_BASE + TLB_HEADER)
                                   + ((wanted + probe) & (TLB_ENTRIES - 1));
        uint32_t sequence = e->sequence;
        if (sequence & 1 || e->hash != wanted || e->length != length || e->dev != n->dev || e->ino != n->ino
            || e->space != space)
            continue;
        if (e->generation != (space == SPACE_DIRECTORY ? header()->directories : header()->names)) continue;
        if (!same(n->path, (volatile const uint64_t *)e->text, length)) continue;
        n->kind = e->kind;
        n->flags = e->flags;
        n->host_length = e->host_length;
        n->generation = e->generation;
        n->mount = (uint32_t)e->mount;
        n->excepted = e->excepted;
        n->host_dev = e->host_dev;
        n->host_ino = e->host_ino;
        if (n->host_length > TLB_HOST) return 0;
        for (uint32_t i = 0; i < (n->host_length + WORD - 1) / WORD; i++)
            n->host_words[i] = ((volatile const uint64_t *)e->host)[i];
        n->host[n->host_length] = 0;
        if (e->sequence == sequence) return 1;
    }
    return 0;
}

/* The number of a directory's place in `seen`. */
static uint32_t place_of(uint64_t dev, uint64_t ino) { return (dev * 31 + ino) * 0x9E3779B97F4A7C15 >> 57; }

/* An inode number is used again: so how often directories of this place were removed belongs to it. */
static uint64_t proof_of(uint64_t dev, uint64_t ino, uint64_t what) {
    return dev * 0x9E3779B97F4A7C15 ^ ino ^ what ^ ((volatile uint32_t *)REMOVED)[place_of(dev, ino)] * 0xC2B2AE3D27D4EB4F;
}

/* Finds the entry of the directory (dev, ino) itself. */
int find_directory(struct name *n) {
    volatile struct seen *s = &state()->seen[place_of(n->dev, n->ino)];
    uint64_t what = s->what;
    if (s->proof == proof_of(n->dev, n->ino, what) && (uint32_t)what == header()->directories) {
        n->kind = PURE;
        n->flags = (uint16_t)(what >> 32);
        n->host_length = 0;
        n->generation = (uint32_t)what;
        n->mount = (uint16_t)(what >> 48);
        n->excepted = 0;                                        /* it is DEEP */
        return 1;
    }
    struct inode i;
    if (recorded(n->dev, n->ino, 0, &i) == RECORD && i.generation == header()->directories) {
        n->kind = PURE;
        n->flags = i.directory;
        n->host_length = 0;
        n->generation = i.generation;
        n->mount = 0;                                           /* of a lower directory: nothing is changed in it */
        n->excepted = 0;                                        /* else it has an entry */
        return 1;
    }
    return find(n, 0, SPACE_DIRECTORY);
}

/* Whether the caller may go through all directories that the entry stands for. */
int searchable(struct name *n) { return !(n->flags & FOR_ROOT) || state()->mode == FAST_ROOT; }

/* Another thread may write or read at the same place: two halves that don't belong together are nobody's entry. */
void remember(struct name *n, int fd) {
    struct stat64 st;
    uint32_t removals = header()->removals;         /* it may be removed already, or just now */
    if (CALL4(NR_newfstatat, fd, "", &st, AT_EMPTY_PATH) || (st.mode & S_IFMT) != S_IFDIR || !st.nlink
        || !unrecorded(st.dev, st.ino))             /* who may search it, and make names in it? */
        return;
    volatile struct seen *s = &state()->seen[place_of(st.dev, st.ino)];
    /* A directory of the upper layer may hold markers, which no listing shows: that is for the supervisor to see. */
    uint16_t flags = (uint16_t)(n->flags & ~(n->flags & WRITABLE && !(n->flags & VERIFY) ? LISTABLE : 0));
    uint64_t what = n->generation | (uint64_t)flags << 32 | (uint64_t)(uint16_t)n->mount << 48;
    uint64_t proof = proof_of(st.dev, st.ino, what);
    if (header()->removals != removals) return;
    s->what = what;
    s->proof = proof;
}

/* The current directory as this process remembers it. Another thread may be writing the same, or chdir be under way:
 * that made it CWD_SHARED before. */
static int remembered(struct name *n) {
    volatile struct state *s = state();
    if (s->cwd != CWD_KNOWN) return 0;
    n->dev = s->cwd_dev;
    n->ino = s->cwd_ino;
    return s->cwd == CWD_KNOWN;
}

/* The directory's device and inode number are what relative names are kept under. */
int base(struct name *n, int dirfd) {
    struct stat64 st;
    volatile struct state *s = state();
    if (dirfd == AT_FDCWD && remembered(n)) return 1;
    long result = dirfd == AT_FDCWD
        ? CALL4(NR_newfstatat, AT_FDCWD, ".", &st, AT_SYMLINK_NOFOLLOW)
        : CALL4(NR_newfstatat, dirfd, "", &st, AT_EMPTY_PATH);
    if (result < 0 || (st.mode & S_IFMT) != S_IFDIR) return 0;
    n->dev = st.dev;
    n->ino = st.ino;
    uint32_t unknown = CWD_UNKNOWN;
    if (dirfd == AT_FDCWD && s->cwd == unknown) {
        s->cwd_dev = st.dev;
        s->cwd_ino = st.ino;
        __atomic_compare_exchange_n(&s->cwd, &unknown, CWD_KNOWN, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    return 1;
}

/* Whether a component is no name for the host's kernel to look up: "." and "..", or what guests can't name. */
int special(const char *text, uint32_t length) {
    return text[0] == '.' && (length == 1 || (text[1] == '.' && length == 2)
                              || (length > 3 && text[1] == 'w' && text[2] == 'h' && text[3] == '.'));
}

/* "NAME/." is NAME for who may search it. */
int split_dotted(struct name *n, int dirfd, const char *path) {
    uint32_t i, end, slash = 0;
    n->dirfd = dirfd;
    n->path = path;
    n->dev = n->ino = 0;
    n->guarded = 0;
    for (i = end = 0; path[i]; i++) {
        if (path[i] != '/') {
            if (end != i) slash = i;
            end = i + 1;
        }
        if (i == HOST_MAX - 1) return 0;
    }
    n->slash = end != i;
    n->dotted = slash > 1 && end == slash + 1 && path[slash] == '.';
    if (n->dotted) {
        n->slash = 1;
        for (end = slash; end && path[end - 1] == '/';) end--;
        for (slash = end; slash && path[slash - 1] != '/';) slash--;
    }
    n->length = end;
    n->last = path + slash;
    n->head = slash ? slash - 1 : 0;
    if (!end || end - slash > 255 || special(n->last, end - slash)) return 0;
    n->direct = path[0] != '/' && !slash;
    return path[0] == '/' || base(n, dirfd);
}

int split_any(struct name *n, int dirfd, const char *path) { return split_dotted(n, dirfd, path) && !n->dotted; }

int split(struct name *n, int dirfd, const char *path) { return split_any(n, dirfd, path) && !n->slash; }

static int leads_there(struct name *n, int dirfd, const char *text) {
    struct stat64 st;
    return CALL4(NR_newfstatat, dirfd, text, &st, AT_SYMLINK_NOFOLLOW) == 0
           && (st.mode & S_IFMT) == S_IFDIR         /* a symlink may have got its inode number */
           && st.dev == n->host_dev && st.ino == n->host_ino;
}

/* Whether the last component is a mount point's name, or looks like one. */
static int excepted(struct name *n) {
    if (!n->excepted) return 0;
    uint32_t h = 0;
    for (const char *c = n->last; c < n->path + n->length; c++) h = h * 31 + (unsigned char)*c;
    return n->excepted >> (h * 0x9E3779B97F4A7C15 >> 58) & 1;
}

/* On a hostfs mount others may put a symlink in the way: is the directory still the one the entry was made for? */
int unchanged(struct name *n) {
    if (!(n->flags & VERIFY) || n->direct || (n->guarded && n->path[0] == '/')) return 1;
    return leads_there(n, AT_FDCWD, n->host);
}

_Static_assert(TLB_HOST + 1 + TLB_TEXT < HOST_MAX, "both texts have room");

/* The same by the guest's own relative text, which is shorter. Then that is what to call with. */
static int unchanged_from_start(struct name *n) {
    char *text = n->host + TLB_HOST + 1;
    if (!(n->flags & VERIFY) || n->path[0] == '/') return 0;
    for (uint32_t i = 0; i < n->head; i++) text[i] = n->path[i];
    text[n->head] = 0;
    if (!leads_there(n, n->dirfd, text)) return 0;
    for (uint32_t i = 0; i < n->head; i++) n->host[i] = text[i];
    n->host_length = n->head;
    return 1;
}

/* Puts what leads to the last component's directory into `host`, by an entry of it or of one above. Nothing, of a name that
 * is not `direct`, when there is no such directory. */
static int lead(struct name *n) {
    if (!(n->direct ? find_directory(n) : find(n, n->head, SPACE_DIRECTORY))) return !n->direct && below(n);
    if (n->kind == MERGED || excepted(n) || !searchable(n)) return 0;
    if (n->direct) return n->host_length = 0, 1;
    if (!unchanged_from_start(n)) {
        if (!unchanged(n)) return 0;
        n->dirfd = AT_FDCWD;
    }
    n->host[n->host_length++] = '/';
    return 1;
}

/* Finds the host's name: of the directory with the last component behind it. */
int translate(struct name *n) {
    if (!beneath(n) && !lead(n)) return 0;
    if (!n->direct && !n->host_length) return 1;
    uint32_t at = n->host_length, length = n->path + n->length - n->last;
    if (at + length >= HOST_MAX) return 0;
    for (uint32_t i = 0; i < length; i++) n->host[at++] = n->last[i];
    n->host[at] = 0;
    return 1;
}

/* An entry of the whole name: of a file or nothing in a directory of several layers, or a file behind a symlink; else that
 * of the directory which has this name, or which a symlink of this name leads to. */
int translate_name(struct name *n, int follow) {
    int known = find(n, n->length, SPACE_NAME);
    if (n->slash && !(known && n->kind == ABSENT) && !(n->dotted && follow)) return 0;
    if (known && (!searchable(n) || (n->flags & LINK && !follow))) return 0;
    n->direct = 0;
    if (!known || n->kind == PLACE) {
        if (!known && !follow) return 0;
        if (!find(n, n->length, SPACE_DIRECTORY) || n->kind == MERGED || n->flags & INSIDE || !searchable(n) || !unchanged(n))
            return 0;
    }
    n->dirfd = AT_FDCWD;
    return 1;
}

/* Finds a directory of several layers by its own name: `host` is that of its upper part, host_dev and host_ino are those of the
 * lower one, which guests are shown. */
int merged_place(struct name *n) {
    if (!find(n, n->length, SPACE_NAME) || n->kind != PLACE || !n->host_length || !searchable(n)) return 0;
    n->direct = 0;
    n->dirfd = AT_FDCWD;
    return 1;
}

/* Whether the name, in a directory of several layers, is that of a file or directory, and of no symlink to one. */
int names_no_link(struct name *n) {
    return !n->slash && find(n, n->length, SPACE_NAME) && n->kind != ABSENT && !(n->flags & LINK) && searchable(n);
}
