/* Names in directories that have no entry themselves, by that of one above. DEEP says that all directories below it are as it
 * is, so all that is left to see is that what is between are directories, and no symlinks. */
#include "abi.h"
#include "call.h"
#include "inodes.h"
#include "names.h"

enum { OFTEN = 64 };                    /* by then an entry of its own is cheaper than what is done here */

/* The longest text before the name's directory that has an entry; its length, or the directory's where none has. */
static uint32_t above(struct name *n) {
    for (uint32_t at = n->head; at;) {
        do at--; while (at && n->path[at] != '/');
        if (at || n->path[0] == '/' ? find(n, at, SPACE_DIRECTORY) : find_directory(n)) return at;
    }
    return n->head;
}

/* Whether there is a directory, with no symlink in its place, that everybody may search who may search those above; or what is
 * neither, which the call itself refuses. */
static int plain(struct name *n, long *result) {
    struct stat64 st;
    if (!header()->recorded) {          /* takes two thirds of a stat's time */
        char text;
        long length = CALL4(NR_readlinkat, n->dirfd, n->host, &text, sizeof text);
        *result = length == -ENOENT ? length : 0;
        return length == -ENOENT || length == -EINVAL;
    }
    *result = CALL4(NR_newfstatat, n->dirfd, n->host, &st, AT_SYMLINK_NOFOLLOW);
    return *result == -ENOENT || (*result == 0 && (st.mode & S_IFMT) == S_IFDIR && unrecorded(st.dev, st.ino));
}

/* The same of all directories on the way at once, which ends in "/": to make "." there the kernel goes that way without
 * symlinks, and then says that it is a directory (openat2(2): EISDIR). */
static int all_plain(struct name *n, long *result) {
    n->host[n->host_length] = '.';
    n->host[n->host_length + 1] = 0;
    *result = CALL4(NR_openat2, n->dirfd, n->host, &hows()->how, sizeof(struct open_how));
    if (*result == -EISDIR) *result = 0;
    return *result == -ENOENT || *result == 0;
}

/* Whether the name's directory was not yet found so often that a stop for an entry of its own would pay. */
static int seldom(struct name *n) {
    uint32_t hash = n->head;
    for (uint32_t i = 0; i < n->head; i++) hash = hash * 31 + (unsigned char)n->path[i];
    volatile uint8_t *count = &state()->walked[hash % WALKED];
    if (++*count < OFTEN) return 1;
    *count = 0;
    return 0;
}

/* Puts the components of the directory's name from `at` on behind those in `host`, each with "/" behind it, having looked
 * whether they are plain directories. Nothing is in `host` then when one of them is not there: each call with that gives ENOENT. */
static int walk(struct name *n, uint32_t at, int each, int together) {
    long result = 0;
    while (at <= n->head && !result) {
        uint32_t start = at, length;
        while (at < n->head && n->path[at] != '/') at++;
        length = at++ - start;
        if (!length || special(n->path + start, length) || n->host_length + length + 2 >= HOST_MAX) return 0;
        for (uint32_t i = 0; i < length; i++) n->host[n->host_length++] = n->path[start + i];
        n->host[n->host_length] = 0;
        if (each && !plain(n, &result)) return 0;
        n->host[n->host_length++] = '/';
    }
    if (together && !all_plain(n, &result)) return 0;
    if (result) n->host[n->host_length = 0] = 0, n->dirfd = AT_FDCWD;
    return 1;
}

static int serves_below(struct name *n) { return n->kind == PURE && n->flags & DEEP && searchable(n); }

/* An absolute name leads by its text alone, a relative one by that of the directory it starts from, which may have moved. */
int below(struct name *n) {
    uint32_t at = above(n);
    int sure = n->path[0] == '/' && !header()->recorded && n->flags & VERIFY;
    if (at == n->head || !serves_below(n) || !(n->guarded || sure || seldom(n))) return 0;
    if (at || n->path[0] == '/') {
        if (!sure && !unchanged(n)) return 0;
        n->dirfd = AT_FDCWD;
        n->host[n->host_length++] = '/';
        at++;
    } else {
        n->host_length = 0;
    }
    return walk(n, at, !n->guarded && !sure, !n->guarded && sure);
}

/* A relative name whose way must be looked at each time: an entry of its own would save nothing. */
int beneath(struct name *n) {
    if (n->direct || n->path[0] == '/' || header()->recorded || !find_directory(n) || n->excepted || !serves_below(n)
        || !(n->guarded || n->flags & VERIFY))
        return 0;
    uint32_t at = 0;
    while (at < n->head && n->path[at] != '/') at++;
    n->host_length = 0;
    return walk(n, 0, !n->guarded && at == n->head, !n->guarded && at < n->head);
}
