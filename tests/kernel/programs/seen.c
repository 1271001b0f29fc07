/* Threads remember and find two directories, each with flags and a mount of its own, that share a place in the stub's memory:
 * seen DIRECTORY... Its status is 1 when one was found with anything else, 5 when one was that has been removed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "names.h"

enum { ROUNDS = 300000, GENERATION = 5 };
static struct directory { int fd; uint64_t dev, ino; uint32_t flags, mount; } both[2];
static int wrong, found;

static struct directory opened(const char *path, uint32_t flags, uint32_t mount) {
    struct stat st;
    struct directory d = {open(path, O_RDONLY | O_DIRECTORY), 0, 0, flags, mount};
    if (d.fd < 0 || fstat(d.fd, &st)) exit(2);
    d.dev = st.st_dev;
    d.ino = st.st_ino;
    return d;
}

static void keep(struct directory *d) {
    struct name n = {.flags = d->flags, .mount = d->mount, .generation = GENERATION};
    remember(&n, d->fd);
}

static int known(struct directory *d, struct name *n) {
    n->path = "";
    n->dev = d->dev;
    n->ino = d->ino;
    return find_directory(n);
}

static void *keeps(void *directory) {
    for (int i = 0; i < ROUNDS; i++) keep(directory);
    return 0;
}

static void *looks(void *directory) {
    struct directory *d = directory;
    struct name n;
    for (int i = 0; i < 20 * ROUNDS; i++)
        if (known(d, &n)) {
            __atomic_fetch_add(&found, 1, __ATOMIC_RELAXED);
            if (n.flags != d->flags || n.mount != d->mount) __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
        }
    return 0;
}

static void map(unsigned long address, unsigned long size) {
    if (mmap((void *)address, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED) exit(2);
}

/* The supervisor removes a directory: its inode number may be another's then. */
static void removed(struct directory *d) {
    ((struct header *)TLB_BASE)->removals++;
    for (int i = 0; i < SEEN; i++) ((uint32_t *)REMOVED)[i]++;
}

static int forgets(struct directory *d, const char *path) {
    struct name n;
    keep(d);
    if (!known(d, &n)) return 0;
    removed(d);
    if (known(d, &n)) return 0;
    keep(d);                                /* the next one with this inode */
    if (!known(d, &n)) return 0;
    removed(d);
    rmdir(path);
    keep(d);                                /* it was opened before */
    return !known(d, &n);
}

int main(int argc, char **argv) {
    struct name n;
    pthread_t threads[4];
    map(WINDOW_BASE, TLB_BASE + 0x2000000 - WINDOW_BASE);
    map(FAST_STATE, FAST_STATE_SIZE);
    ((struct header *)TLB_BASE)->directories = GENERATION;
    both[0] = opened(argv[1], DEEP | LISTABLE, 1);
    for (int i = 2;; i++) {
        if (i == argc) return 3;           /* they all have places of their own */
        both[1] = opened(argv[i], DEEP | WRITABLE | VERIFY, 2);
        keep(&both[0]);
        keep(&both[1]);
        if (!known(&both[0], &n)) break;
        close(both[1].fd);
    }
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, i < 2 ? keeps : looks, &both[i % 2]);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    if (wrong || !found) return wrong ? 1 : 4;
    return forgets(&both[0], argv[1]) ? 0 : 5;
}
