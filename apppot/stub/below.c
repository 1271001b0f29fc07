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

/* Whether there is a directory, with no symlink in its place, that everybody may search who may search those above. */
static int plain(struct name *n, long *result) {
    struct stat64 st;
    *result = CALL4(NR_newfstatat, n->dirfd, n->host, &st, AT_SYMLINK_NOFOLLOW);
    return *result == -ENOENT || (*result == 0 && (st.mode & S_IFMT) == S_IFDIR && unrecorded(st.dev, st.ino));
}

/* Where the way must be looked at each time anyhow, an entry of its own saves nothing if that way is short. */
static int seldom(struct name *n, uint32_t from) {
    uint32_t hash = n->head, depth = 0;
    for (uint32_t i = from; i < n->head; i++) {
        hash = hash * 31 + (unsigned char)n->path[i];
        depth += n->path[i] == '/';
    }
    if (n->flags & VERIFY && n->path[0] != '/' && depth < 2) return 1;
    volatile uint8_t *count = &state()->walked[hash % WALKED];
    if (++*count < OFTEN) return 1;
    *count = 0;
    return 0;
}

/* Puts the directory's host name, with "/" behind it, into `host`. Nothing when there is no such directory: then each call
 * with what is in `host` gives ENOENT. */
int below(struct name *n) {
    uint32_t at = above(n);
    if (at == n->head || n->kind != PURE || !(n->flags & DEEP) || !searchable(n) || !seldom(n, at)) return 0;
    if (at || n->path[0] == '/') {
        if (!unchanged(n)) return 0;
        n->dirfd = AT_FDCWD;
        n->host[n->host_length++] = '/';
        at++;
    } else {
        n->host_length = 0;
    }
    while (at <= n->head) {
        uint32_t start = at, length;
        while (at < n->head && n->path[at] != '/') at++;
        length = at++ - start;
        if (!length || special(n->path + start, length) || n->host_length + length + 1 >= HOST_MAX) return 0;
        for (uint32_t i = 0; i < length; i++) n->host[n->host_length++] = n->path[start + i];
        n->host[n->host_length] = 0;
        long result;
        if (!plain(n, &result)) return 0;
        if (result) return n->host[n->host_length = 0] = 0, n->dirfd = AT_FDCWD, 1;
        n->host[n->host_length++] = '/';
    }
    return 1;
}
