/* One name of a call: where the guest's name leads on the host, found in the translation cache. */
#ifndef NAMES_H
#define NAMES_H
#include "fast.h"
#include "layout.h"

enum { MISS = 0, HIT = 1 };
enum { HOST_MAX = 512 };                /* longest host path made here; bounds the stack that a call takes */

/* One name, taken apart: where it starts from, the text of its directory, its last component. */
struct name {
    int dirfd;
    const char *path, *last;
    uint32_t head, length;              /* of the directory text without its last "/", of the whole without those behind it */
    int slash;                          /* it ended in "/": only a directory may have it */
    int dotted;                         /* in "/.", which `length` is without: only who may search it gets an answer */
    int guarded;                        /* the call itself refuses symlinks on the way, so nothing need be looked at before */
    uint64_t dev, ino;                  /* of the directory a relative name starts from */
    uint64_t host_dev, host_ino;        /* of the entry that was found */
    uint32_t kind, flags, host_length, generation, mount;
    uint64_t excepted;                  /* of the same: names in the directory that it does not serve */
    union {
        char host[HOST_MAX];            /* what to call with; relative to dirfd when `direct` */
        uint64_t host_words[HOST_MAX / 8];
    };
    int direct;
};

static inline volatile struct header *header(void) { return (volatile struct header *)TLB_BASE; }
static inline volatile struct known_how *hows(void) { return (volatile struct known_how *)HOWS; }
static inline volatile struct state *state(void) { return (volatile struct state *)FAST_STATE; }

int split_dotted(struct name *n, int dirfd, const char *path);  /* takes it apart; 0: it is for the supervisor */
int split_any(struct name *n, int dirfd, const char *path);     /* the same of one that does not end in "/." */
int split(struct name *n, int dirfd, const char *path);         /* nor in "/" */
int base(struct name *n, int dirfd);                            /* of a descriptor alone */
int special(const char *text, uint32_t length);                 /* a component that is no ordinary name */
int find(struct name *n, uint32_t length, uint32_t space);
int find_directory(struct name *n);
int searchable(struct name *n);                                 /* whether the caller may go to where the entry leads */
int unchanged(struct name *n);                                  /* and that is still what it was made for */
int below(struct name *n);                                      /* below.c: finds its directory by one above that */
int beneath(struct name *n);                                    /* a relative one by that which it starts from */
int translate(struct name *n);                                  /* by the entry of its directory, or of one above that */
int translate_name(struct name *n, int follow);                 /* by its own entry; follow: a symlink too */
int merged_place(struct name *n);                               /* by the same, of what is itself of several layers */
int names_no_link(struct name *n);                              /* by the same */
void remember(struct name *n, int fd);                          /* a directory that was opened by this name */

int change_call(struct frame *f);                               /* changes.c: calls that change names */
int question_call(struct frame *f);                             /* questions.c: extended attributes and file systems */
int startup_call(struct frame *f);                              /* startup.c: what programs are started with */

#endif
