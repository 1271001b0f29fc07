/* What shells and those that search $PATH do whenever they start or are to start something: calls whose answer needs no
 * supervisor as a rule. */
#include "abi.h"
#include "call.h"
#include "names.h"

/* That there is no such program. One that is there is the supervisor's to find. */
static int do_execve(struct frame *f) {
    struct name n;
    struct stat64 st;
    if (!split(&n, AT_FDCWD, (const char *)f->rdi)) return MISS;
    if (!translate(&n)) return translate_name(&n, 1) && n.kind == ABSENT ? (f->result = -ENOENT, HIT) : MISS;
    long result = CALL4(NR_newfstatat, n.dirfd, n.host, &st, AT_SYMLINK_NOFOLLOW);
    return result == -ENOENT ? (f->result = result, HIT) : MISS;
}

/* The host's names are the machine's until it is given others. */
static int do_uname(struct frame *f) {
    if (header()->named) return MISS;
    f->result = CALL(NR_uname, f->rdi, 0, 0);
    return HIT;
}

/* The names of sockets may be those of files; that it is none can be said. */
static int do_name(struct frame *f) {
    int type, length = sizeof type;
    long result = call6(NR_getsockopt, (int)f->rdi, SOL_SOCKET, SO_TYPE, (long)&type, (long)&length, 0);
    return result == -ENOTSOCK || result == -EBADF ? (f->result = result, HIT) : MISS;
}

int startup_call(struct frame *f) {
    switch (f->nr) {
    case NR_execve: return do_execve(f);
    case NR_uname: return do_uname(f);
    default: return do_name(f);
    }
}
