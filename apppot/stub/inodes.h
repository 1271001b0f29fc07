/* What the supervisor has recorded of inodes: owner, mode and more that the host's disk can't say. */
#ifndef INODES_H
#define INODES_H
#include "abi.h"
#include "fast.h"

enum { UNKNOWN = 0, NO_RECORD = 1, RECORD = 2 };

/* UNKNOWN: it is for the supervisor; NO_RECORD: what the host says is true; RECORD: copied to `found`. flags: those of
 * the entry that led to the inode, 0 for one that the guest has open. */
int recorded(uint64_t dev, uint64_t ino, uint32_t flags, struct inode *found);

int unrecorded(uint64_t dev, uint64_t ino);                     /* what the host says of it is true */
int show_stat(struct stat64 *buffer, uint32_t flags);           /* as the caller sees it; 0: it is for the supervisor */
int show_statx(struct statx64 *buffer, uint64_t dev, uint64_t ino, uint32_t flags);
int permitted(struct inode *found, struct stat64 *status, int mask);    /* 0: perhaps not */
int openable(struct inode *found, struct stat64 *status);       /* for reading, by the host's name */

#endif
