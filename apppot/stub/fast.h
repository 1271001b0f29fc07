/* What the fast path shares with entry.S and with apppot/platform/tlb.py. */
#ifndef FAST_H
#define FAST_H
#include <stdint.h>
#include "layout.h"

/* Registers of the guest at a patched site, as fast_entry saved them; and what came of the call. */
struct frame {
    uint32_t committed;                 /* 1: a call that must not be made twice is being made; 2: it was, see `result` */
    uint32_t hit;
    int64_t result;
    uint64_t r15, r14, r13, r12, rbp, rbx, r9, r8, r10, rdx, rsi, rdi;
    uint64_t nr, site, flags, rsp;
    uint64_t taken;                     /* bit 0: it is on a lent stack, which somebody has as long as the bit is set */
};

/* The translation cache in the window. */
enum { TLB_ENTRIES = 4096, TLB_PROBES = 4, TLB_TEXT = 208, TLB_HOST = 232 };
enum { SPACE_DIRECTORY = 1, SPACE_NAME = 2, SPACE_CWD = 3,             /* CWD: the host text is a guest path */
       SPACE_LIBRARY = 4 };                                             /* a NAME for the dynamic loader alone */
enum { MERGED = 0, PURE = 1, FILE = 2, ABSENT = 3, PLACE = 4 };         /* kind of an entry; PLACE: of a directory's name, with
                                                                         * a host text where it is of several layers */
/* Flags of an entry. RECORDED: it leads into a layer of which the supervisor knows more than the disk says, so an inode
 * that is not in the inode table is a miss. FOR_ROOT: only virtual root may search all directories on the way. OWNED:
 * the directory has a record, so the host's kernel does not know who may make names in it. LINK: the name is a symlink's,
 * and the entry that of what it leads to. INSIDE: the directory itself has a lower part, too, though nothing is in that: the
 * entry is for names in it, and not for its own. */
enum { WRITABLE = 1, LISTABLE = 2, VERIFY = 4, DEEP = 8, RECORDED = 16, FOR_ROOT = 32, OWNED = 64, LINK = 128, INSIDE = 256 };
enum { FAST_OFF = 0, FAST_PLAIN = 1, FAST_ROOT = 2 };                   /* struct state's mode */
enum { LOADED = 0, NEARLY = 1, LOADING = 2 };                           /* and its loading: NEARLY has the C library */
/* What it knows of its current directory. SHARED: another task's chdir may change it, or this memory is another's too, so it is
 * asked for each time. Before each chdir the supervisor says UNKNOWN or SHARED, see FastPath.leaves_directory. */
enum { CWD_UNKNOWN = 0, CWD_KNOWN = 1, CWD_SHARED = 2 };

struct header {
    uint32_t on, directories, names;    /* the latter two: generations; entries of older ones are void */
    uint32_t recorded;                  /* some inode has a record of owner or mode: see struct inode */
    uint32_t uid, gid;                  /* of the host user */
    uint32_t unsettled;                 /* grows when a symlink is made or moved; odd: that is going on */
    uint32_t by_flags;                  /* the filter lets openat2 pass with a `struct open_how` of HOWS only */
    uint32_t named;                     /* the machine has a host or domain name of its own */
    uint32_t removals;                  /* of directories; REMOVED has them by their places in `seen`, and is counted up after this */
};

/* Ways to open a file, see apppot/platform/hows.py. The first is that of all_plain(); no other ever changes once it is there. */
enum { HOW_COUNT = 64, HOW_PROBES = 8 };
struct open_how { uint64_t flags, mode, resolve; };
struct known_how { struct open_how how; uint64_t there; };
_Static_assert(sizeof(struct known_how) == 32, "the filter knows where they are");

struct entry {
    uint32_t sequence, hash;            /* odd while it is being written */
    uint32_t space, generation;
    uint64_t dev, ino;                  /* base of a relative text, else 0 */
    uint64_t host_dev, host_ino;        /* of the host directory, for VERIFY */
    uint16_t length, host_length, kind, flags;
    uint64_t mount;                     /* that a directory is on */
    uint64_t excepted;                  /* a bit for each mount point in it: such a name has an entry of its own, or none */
    char text[TLB_TEXT];
    char host[TLB_HOST];
};
_Static_assert(sizeof(struct frame) == FRAME_SIZE, "entry.S knows the places of its members");
_Static_assert(sizeof(struct entry) == 512, "entries are indexed by the supervisor too");

/* The inode table: what stat(2) must show of an inode in place of what the disk says, see apppot/platform/inodes.py. Which
 * inodes may have a record is said by a bitmap at TLB_RECORDS. Owner, mode and rdev are KEEP where the disk is right. */
enum { INODE_BITS = 17, INODE_PROBES = 8, RECORD_BITS = 23 };
enum { COPIED_BITS = 12 };              /* at COPIED: whether a lower file was copied up, see Tlb.file_copied_up */
enum { TOLD = 1, WHOLE = 2, NOTHING = 4, LISTED = 8 };                  /* flags of an inode */
enum { KEEP = 0xFFFFFFFF };
struct inode {
    uint32_t sequence, flags;           /* TOLD: nlink, blocks, mtime hold. WHOLE: its contents are there.
                                         * LISTED: it may have an access control list */
    uint64_t dev, ino;
    uint32_t uid, gid, mode, rdev;
    uint32_t nlink, blocks;
    int64_t mtime;                      /* nanoseconds */
    uint32_t generation, directory;     /* of a directory that is PURE in this generation: flags as of its entry */
};
_Static_assert(sizeof(struct inode) == 64, "records are indexed by the supervisor too");

/* In the process's own memory: the mode is set when it starts, and when its identity changes. `seen` are directories
 * that were opened through a DEEP entry, below which all directories are as it is: so a tree is walked without a miss.
 * A guest that writes here deceives itself alone; Landlock is the wall. */
enum { SEEN = 128, WALKED = 256 };
struct seen {
    uint64_t what, proof;               /* generation, flags and mount; the same and the directory's identity, see `proof_of` */
};
struct state {
    uint32_t mode, loading;             /* whether the dynamic loader may open the C library yet */
    struct seen seen[SEEN];
    uint32_t hits[NUMBERS];             /* by call, for --stats */
    uint8_t walked[WALKED];             /* by directory text: how often it was found by a directory above it, see below.c */
    uint64_t cwd_dev, cwd_ino;          /* of the current directory, when `cwd` is CWD_KNOWN */
    uint32_t cwd;
};
_Static_assert(sizeof(struct state) <= FAST_STATE_SIZE, "stub.ld gives it room");

long commit(long nr, long a, long b, long c, long d, long e);   /* entry.S; r15 points at the frame */

#endif
