/* Makes every path call in the current directory, in good and in bad ways, and prints what each one returned.
 *
 *     paths OTHER      OTHER: an absolute name of the current directory
 *
 * The output must be the same natively and in a machine, whatever file system it runs on. Numbers that may differ
 * (inodes, devices, descriptors) are not printed. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#define BAD ((char *) 8)

static const char *error(int number) { return number ? strerrorname_np(number) : "ok"; }

/* The result of a call: its value, or the name of the error. */
#define T(call) do { errno = 0; long r_ = (long) (call); \
    if (r_ == -1) printf("%3d %s: %s\n", __LINE__, #call, error(errno)); \
    else printf("%3d %s: %ld\n", __LINE__, #call, r_); } while (0)
/* The same for calls that make a descriptor: it is closed, and its number isn't printed. */
#define F(call) do { errno = 0; int r_ = (int) (call); \
    printf("%3d %s: %s\n", __LINE__, #call, r_ == -1 ? error(errno) : "descriptor"); if (r_ >= 0) close(r_); } while (0)

static void show(int line, const char *name) {
    struct stat st;
    if (lstat(name, &st)) { printf("%3d lstat %s: %s\n", line, name, error(errno)); return; }
    printf("%3d lstat %s: mode %o links %ld size %lld\n", line, name, st.st_mode,
           S_ISDIR(st.st_mode) ? 0L : (long) st.st_nlink, S_ISDIR(st.st_mode) ? 0LL : (long long) st.st_size);
}
#define S(name) show(__LINE__, name)

static void list(int line, const char *name) {
    DIR *dir = opendir(name);
    char *names[1000]; int n = 0;
    if (!dir) { printf("%3d list %s: %s\n", line, name, error(errno)); return; }
    for (struct dirent *entry; (entry = readdir(dir)) && n < 1000;) {
        char text[300];
        snprintf(text, sizeof text, "%s(%d)", entry->d_name, entry->d_type);
        names[n++] = strdup(text);
    }
    closedir(dir);
    int compare(const void *a, const void *b) { return strcmp(*(char **) a, *(char **) b); }
    qsort(names, n, sizeof *names, compare);
    printf("%3d list %s:", line, name);
    for (int i = 0; i < n; i++) printf(" %s", names[i]);
    printf("\n");
}
#define L(name) list(__LINE__, name)

static long openat2_(int dirfd, const char *path, unsigned long flags, unsigned long mode, unsigned long resolve) {
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    return syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

static void make(const char *name, const char *text) {
    int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    write(fd, text, strlen(text));
    close(fd);
}

static void links(void) {
    char buffer[PATH_MAX + 10];
    ssize_t n;
    make("file", "text");
    T(mkdir("dir", 0755)); T(mkdir("dir", 0755)); T(mkdir("file", 0755)); T(mkdir("file/x", 0755));
    T(mkdir("no/x", 0755)); T(mkdir("dir/sub/", 0700)); T(mkdir(".", 0755)); T(mkdir("dir/..", 0755)); T(mkdir("", 0755));
    T(mkdir(BAD, 0755)); T(syscall(SYS_mkdirat, -1, "x", 0755)); T(syscall(SYS_mkdirat, 0, "x", 0755));
    T(symlink("dir", "todir")); T(symlink("file", "tofile")); T(symlink("nowhere", "dangling")); T(symlink("loop", "loop"));
    T(symlink("a", "file")); T(symlink("", "empty")); T(symlink("a", "dir/")); T(symlink("a", "new/")); T(symlink(BAD, "x"));
    T(symlink("../todir/../file", "dir/back")); T(symlink("b", "a")); T(symlink("a", "b"));
    T(mkdir("dangling", 0755)); T(mkdir("dangling/", 0755)); T(mkdir("todir/", 0755)); T(mkdir("todir/made", 0755));
    n = readlink("tofile", buffer, sizeof buffer); printf("%.*s\n", (int) n, buffer);
    T(readlink("tofile", buffer, 2)); T(readlink("tofile", buffer, 0)); T(readlink("file", buffer, 9)); T(readlink("dir", buffer, 9));
    T(readlink("todir/", buffer, 9)); T(readlink("loop", buffer, 9)); T(readlink("no", buffer, 9)); T(readlink("tofile", BAD, 9));
    T(readlink("", buffer, 9)); T(readlink("tofile/", buffer, 9)); T(readlinkat(AT_FDCWD, "dir/back", buffer, 99));
    S("file"); S("file/"); S("tofile"); S("tofile/"); S("todir"); S("todir/"); S("todir/."); S("dangling"); S("dangling/");
    S("loop"); S("loop/"); S("dir/back"); S("dir/back/x"); S("file/.."); S("file/."); S("no/.."); S("dir/sub/../../file");
    S("./././file"); S("dir//sub///.."); S("todir/sub/../sub"); S("");
    struct stat st;
    T(stat("tofile", &st)); T(stat("dangling", &st)); T(stat("loop", &st)); T(stat("a", &st)); T(stat("dir/back", &st));
    T(stat("file", (void *) 8)); T(stat("todir/../file", &st)); T(stat("/../../..", &st)); T(stat("//", &st));
}

static void stats(void) {
    struct stat st; struct statx stx; struct statfs fs;
    int dir = open("dir", O_RDONLY | O_DIRECTORY), file = open("file", O_RDONLY), path = open("file", O_PATH);
    int link = open("tofile", O_PATH | O_NOFOLLOW);
    T(syscall(SYS_stat, "file", &st)); T(syscall(SYS_lstat, "tofile", &st)); T(fstat(dir, &st)); T(fstat(99, &st));
    T(fstatat(dir, "sub", &st, 0)); T(fstatat(dir, "back", &st, 0)); T(fstatat(dir, "back", &st, AT_SYMLINK_NOFOLLOW));
    T(fstatat(file, "sub", &st, 0)); T(fstatat(99, "sub", &st, 0)); T(fstatat(99, "/", &st, 0)); T(fstatat(dir, "", &st, 0));
    T(fstatat(dir, "", &st, AT_EMPTY_PATH)); T(fstatat(file, "", &st, AT_EMPTY_PATH)); T(fstatat(link, "", &st, AT_EMPTY_PATH));
    printf("%o\n", st.st_mode & S_IFMT); T(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH)); T(fstatat(path, "", &st, AT_EMPTY_PATH));
    T(fstatat(dir, "sub", &st, 0x40000000)); T(fstatat(dir, "..", &st, 0)); T(fstatat(path, "x", &st, 0));
    T(syscall(SYS_statx, dir, "sub", 0, STATX_ALL, &stx)); T(syscall(SYS_statx, dir, "", AT_EMPTY_PATH, STATX_ALL, &stx));
    T(syscall(SYS_statx, dir, "no", 0, STATX_ALL, &stx)); T(syscall(SYS_statx, -1, "", 0, STATX_ALL, &stx));
    T(syscall(SYS_statx, AT_FDCWD, "tofile", AT_SYMLINK_NOFOLLOW, STATX_MODE, &stx)); printf("%o\n", stx.stx_mode);
    T(syscall(SYS_statx, AT_FDCWD, "file", 0, 0x80000000u, &stx)); T(syscall(SYS_statx, AT_FDCWD, BAD, 0, STATX_ALL, &stx));
    T(statfs("file", &fs)); T(statfs("no", &fs)); T(statfs("file/x", &fs)); T(fstatfs(dir, &fs)); T(statfs("dangling", &fs));
    T(access("file", F_OK)); T(access("file", R_OK | W_OK)); T(access("dir", X_OK)); T(access("no", F_OK)); T(access("file/", F_OK));
    T(access("dangling", F_OK)); T(access("file", 9)); T(access("loop", F_OK)); T(access(BAD, F_OK));
    T(syscall(SYS_faccessat, dir, "sub", R_OK)); T(syscall(SYS_faccessat2, dir, "back", F_OK, AT_SYMLINK_NOFOLLOW));
    T(syscall(SYS_faccessat2, dir, "", R_OK, AT_EMPTY_PATH)); T(syscall(SYS_faccessat2, dir, "sub", R_OK, AT_EACCESS));
    T(syscall(SYS_faccessat2, dir, "sub", R_OK, 0x1));
    close(dir); close(file); close(path); close(link);
}

static void opens(const char *other) {
    char long_name[300], long_path[PATH_MAX + 100];
    memset(long_name, 'n', sizeof long_name); long_name[255] = 0;
    memset(long_path, '/', sizeof long_path); long_path[PATH_MAX + 50] = 0;
    int dir = open("dir", O_PATH), file = open("file", O_RDONLY);
    F(open("file", O_RDONLY)); F(open("no", O_RDONLY)); F(open("file/", O_RDONLY)); F(open("dir/", O_RDONLY)); F(open("dir", O_WRONLY));
    F(open("file", O_DIRECTORY)); F(open("tofile", O_NOFOLLOW)); F(open("tofile", O_NOFOLLOW | O_PATH)); F(open("loop", O_RDONLY));
    F(open("todir", O_NOFOLLOW | O_DIRECTORY)); F(open("todir/", O_NOFOLLOW | O_DIRECTORY)); F(open("file/x", O_RDONLY)); F(open("", O_RDONLY));
    F(open(BAD, O_RDONLY)); F(open("new", O_CREAT | O_EXCL | O_RDWR, 0640)); F(open("new", O_CREAT | O_EXCL | O_RDWR, 0640)); S("new");
    F(open("new", O_CREAT | O_RDWR, 0600)); S("new"); F(open("dangling", O_CREAT | O_EXCL, 0600)); F(open("dangling", O_CREAT | O_RDWR, 0600));
    S("nowhere"); T(unlink("nowhere")); F(open("dir", O_CREAT | O_RDWR, 0600)); F(open("dir", O_CREAT | O_DIRECTORY, 0600));
    F(open("new/", O_CREAT | O_RDWR, 0600)); F(open("fresh/", O_CREAT | O_RDWR, 0600)); F(open("no/x", O_CREAT, 0600)); F(open("dir/.", O_CREAT, 0600));
    F(open("todir", O_CREAT, 0600)); F(open("file", O_TRUNC | O_WRONLY)); S("file"); make("file", "text"); F(creat("created", 0666)); S("created");
    F(open(long_name, O_CREAT | O_WRONLY, 0600)); T(unlink(long_name)); long_name[255] = 'n'; long_name[256] = 0;
    F(open(long_name, O_CREAT | O_WRONLY, 0600)); F(open(long_path, O_RDONLY)); long_path[PATH_MAX - 1] = 0; F(open(long_path, O_RDONLY));
    F(open(".", O_TMPFILE | O_RDWR, 0600)); F(open("dir", O_TMPFILE | O_RDONLY, 0600)); F(open("file", O_TMPFILE | O_RDWR, 0600));
    F(syscall(SYS_open, "file", O_RDONLY)); F(syscall(SYS_creat, "created", 0600)); F(openat(dir, "sub", O_RDONLY)); F(openat(dir, "back", O_RDONLY));
    F(openat(file, "sub", O_RDONLY)); F(openat(99, "sub", O_RDONLY)); F(openat(99, other, O_RDONLY)); F(openat(dir, "", O_RDONLY)); F(openat(dir, "..", O_PATH));
    F(openat(dir, "made/new", O_CREAT | O_RDWR, 0604)); S("dir/made/new"); F(openat(AT_FDCWD, "/", O_RDONLY)); F(open("/..", O_RDONLY));
    F(openat2_(dir, "sub", O_RDONLY, 0, 0)); F(openat2_(dir, "..", O_RDONLY, 0, RESOLVE_BENEATH)); F(openat2_(dir, "sub/../sub", O_RDONLY, 0, RESOLVE_BENEATH));
    F(openat2_(dir, "back", O_RDONLY, 0, RESOLVE_BENEATH)); F(openat2_(dir, "back", O_RDONLY, 0, RESOLVE_NO_SYMLINKS)); F(openat2_(dir, "/", O_RDONLY, 0, RESOLVE_BENEATH));
    F(openat2_(dir, "/sub", O_RDONLY, 0, RESOLVE_IN_ROOT)); F(openat2_(dir, "../../sub", O_RDONLY, 0, RESOLVE_IN_ROOT)); F(openat2_(dir, "/file", O_RDONLY, 0, RESOLVE_IN_ROOT));
    F(openat2_(AT_FDCWD, "tofile", O_RDONLY, 0, RESOLVE_NO_SYMLINKS)); F(openat2_(AT_FDCWD, "tofile", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS));
    F(openat2_(AT_FDCWD, "/proc/self/cwd", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS)); F(openat2_(AT_FDCWD, "/proc", O_RDONLY, 0, RESOLVE_NO_XDEV));
    F(openat2_(AT_FDCWD, "file", O_RDONLY, 0600, 0)); F(openat2_(AT_FDCWD, "file", 1ul << 40, 0, 0)); F(openat2_(AT_FDCWD, "file", O_RDONLY, 0, 0x8000));
    struct open_how how = {.flags = O_RDONLY}; F(syscall(SYS_openat2, AT_FDCWD, "file", &how, 8)); F(syscall(SYS_openat2, AT_FDCWD, "file", BAD, sizeof how));
    F(syscall(SYS_openat2, AT_FDCWD, "file", &how, 5000)); close(dir); close(file);
}

static void names(void) {
    make("one", "1"); make("two", "22"); mkdir("d1", 0755); mkdir("d2", 0755); make("d2/full", "");
    int d1 = open("d1", O_PATH), one = open("one", O_RDONLY);
    T(rename("one", "uno")); S("one"); S("uno"); T(rename("no", "x")); T(rename("uno", "two")); S("two"); T(rename("two", "d1")); T(rename("d1", "two"));
    T(rename("d1", "d2")); T(rename("d2", "d1")); L("d1"); T(rename("d1", "d1/sub")); T(rename("d1", "d1")); T(rename("two", "two/")); T(rename("two", "new/"));
    T(rename("d1/", "d2/")); L("d2"); T(rename("todir/", "x")); T(rename("todir", "movedlink")); S("movedlink"); T(rename("movedlink", "todir")); T(rename(".", "x"));
    T(rename("d2/..", "x")); T(rename("d2", ".")); T(rename("", "x")); T(rename("two", "")); T(rename("loop/x", "y")); T(rename(BAD, "x"));
    mkdir("d1", 0755); make("o", "o"); make("p", "pp");
    T(renameat2(AT_FDCWD, "o", AT_FDCWD, "p", RENAME_NOREPLACE)); T(renameat2(AT_FDCWD, "o", AT_FDCWD, "q", RENAME_NOREPLACE)); S("q");
    T(renameat2(AT_FDCWD, "q", AT_FDCWD, "p", RENAME_EXCHANGE)); S("q"); S("p"); T(renameat2(AT_FDCWD, "q", AT_FDCWD, "d1", RENAME_EXCHANGE)); S("q"); S("d1");
    T(renameat2(AT_FDCWD, "q", AT_FDCWD, "d1", RENAME_EXCHANGE)); T(renameat2(AT_FDCWD, "q", AT_FDCWD, "none", RENAME_EXCHANGE));
    T(renameat2(AT_FDCWD, "q", AT_FDCWD, "p", RENAME_EXCHANGE | RENAME_NOREPLACE)); T(renameat2(AT_FDCWD, "q", AT_FDCWD, "p", 0x800));
    T(syscall(SYS_renameat, AT_FDCWD, "q", AT_FDCWD, "d2/q")); T(renameat(99, "q", AT_FDCWD, "x")); L("d2");
    T(link("two", "hard")); S("two"); T(link("two", "hard")); T(link("no", "x")); T(link("d1", "x")); T(link("tofile", "linklink")); S("linklink");
    T(linkat(AT_FDCWD, "tofile", AT_FDCWD, "filelink", AT_SYMLINK_FOLLOW)); S("filelink"); T(link("two", "new/")); T(link("two/", "x")); T(link("two", "d1/two")); S("two");
    T(link("dangling", "danglink")); T(linkat(AT_FDCWD, "dangling", AT_FDCWD, "x", AT_SYMLINK_FOLLOW)); T(linkat(AT_FDCWD, "two", AT_FDCWD, "x", 0x1)); T(link("two", BAD));
    T(unlink("hard")); S("two"); T(unlink("d1")); T(unlink("no")); T(unlink("two/")); T(unlink("todir/")); T(unlink("file/x")); T(unlink("")); T(unlink("tofile")); S("file");
    T(symlink("file", "tofile")); T(unlink(".")); T(unlink("d2/..")); T(unlinkat(AT_FDCWD, "d1", AT_REMOVEDIR)); T(unlink("d1/two")); T(unlinkat(AT_FDCWD, "d1", 0x1));
    T(unlinkat(AT_FDCWD, "d1", AT_REMOVEDIR)); S("d1"); T(rmdir("d2")); T(rmdir("file")); T(rmdir("no")); T(rmdir("todir")); T(rmdir(".")); T(rmdir("d2/.")); T(rmdir("d2/.."));
    T(rmdir("file/x")); T(rmdir("")); T(rmdir("/")); mkdir("d3", 0755); T(rmdir("d3/")); T(mknod("fifo", S_IFIFO | 0644, 0)); S("fifo"); T(mknod("reg", S_IFREG | 0600, 0)); S("reg");
    T(mknod("reg", S_IFREG | 0600, 0)); T(mknod("sock", S_IFSOCK | 0600, 0)); S("sock"); T(mknod("dirnod", S_IFDIR | 0700, 0)); T(mknod("reg/", S_IFREG, 0)); T(mknod("zero", 0644, 0)); S("zero");
    T(mknodat(d1, "x", S_IFIFO, 0)); T(unlink("fifo")); T(unlink("reg")); T(unlink("sock")); T(unlink("zero")); close(d1); close(one); L("d2"); L("no"); L("file");
}

static void attributes(void) {
    struct stat st; char value[64];
    make("att", "0123456789"); symlink("att", "toatt"); int fd = open("att", O_RDWR), path = open("att", O_PATH), dir = open(".", O_RDONLY);
    T(chmod("att", 0604)); S("att"); T(chmod("toatt", 0640)); S("att"); T(chmod("no", 0600)); T(chmod("dangling", 0600)); T(fchmod(fd, 0600)); T(fchmod(path, 0600)); T(chmod("att/", 0600));
    T(fchmodat(dir, "att", 04711, 0)); S("att"); T(syscall(SYS_fchmodat, dir, "att", 0644)); T(syscall(452, dir, "toatt", 0600, AT_SYMLINK_NOFOLLOW)); T(syscall(452, fd, "", 0640, AT_EMPTY_PATH)); S("att");
    T(chown("att", -1, -1)); T(chown("att", getuid(), getgid())); T(lchown("toatt", getuid(), -1)); T(chown("dangling", -1, -1)); T(chown("no", 1, 1)); T(fchownat(fd, "", -1, getgid(), AT_EMPTY_PATH)); T(fchown(fd, -1, -1));
    T(truncate("att", 5)); S("att"); T(truncate("att", -1)); T(truncate("no", 1)); T(truncate("dir", 1)); T(truncate("toatt", 100)); S("att"); T(truncate("dangling", 3)); T(ftruncate(fd, 3)); T(ftruncate(path, 3));
    struct timespec times[2] = {{1000, 5}, {2000, 7}}, odd[2] = {{0, UTIME_OMIT}, {3000, 9}}, wrong[2] = {{0, 2000000000}, {0, 0}}, now[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
    T(utimensat(AT_FDCWD, "att", times, 0)); stat("att", &st); printf("%ld.%ld %ld.%ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    T(utimensat(AT_FDCWD, "att", odd, 0)); stat("att", &st); printf("%ld %ld.%ld\n", st.st_atim.tv_sec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    T(utimensat(AT_FDCWD, "att", now, 0)); stat("att", &st); printf("%d %ld\n", st.st_atim.tv_sec > 1000000, st.st_mtim.tv_sec); T(utimensat(AT_FDCWD, "att", wrong, 0));
    T(utimensat(AT_FDCWD, "toatt", times, AT_SYMLINK_NOFOLLOW)); lstat("toatt", &st); printf("%ld\n", st.st_mtim.tv_sec); T(utimensat(AT_FDCWD, "no", times, 0)); T(utimensat(AT_FDCWD, "dangling", times, 0));
    T(futimens(fd, times)); T(utimensat(fd, "", times, AT_EMPTY_PATH)); T(utimensat(99, "", times, 0)); T(utimensat(AT_FDCWD, BAD, times, 0)); T(utimensat(AT_FDCWD, "att", (void *) 8, 0));
    struct utimbuf old = {111, 222}; struct timeval both[2] = {{333, 4}, {444, 5}}; T(syscall(SYS_utime, "att", &old)); T(syscall(SYS_utimes, "att", both)); stat("att", &st); printf("%ld %ld\n", st.st_atime, st.st_mtime);
    T(syscall(SYS_futimesat, dir, "att", both)); T(syscall(SYS_utime, "att", 0)); T(syscall(SYS_utimes, "no", 0));
    T(setxattr("att", "user.one", "value", 5, 0)); T(getxattr("att", "user.one", value, sizeof value)); T(getxattr("att", "user.no", value, 9)); T(getxattr("att", "user.one", value, 2)); T(getxattr("att", "user.one", 0, 0));
    T(setxattr("att", "user.one", "v", 1, XATTR_CREATE)); T(setxattr("att", "user.two", "v", 1, XATTR_REPLACE)); T(lsetxattr("toatt", "user.x", "v", 1, 0)); T(getxattr("toatt", "user.one", value, 9)); T(fgetxattr(fd, "user.one", value, 9));
    T(removexattr("att", "user.one")); T(removexattr("att", "user.one")); T(getxattr("no", "user.one", value, 9)); T(setxattr("att", "weird.x", "v", 1, 0)); T(lgetxattr("toatt", "user.one", value, 9));
    close(fd); close(path); close(dir);
}

static void directories(const char *other) {
    char buffer[PATH_MAX]; mkdir("w", 0755); mkdir("w/x", 0755);
    int here = open(".", O_RDONLY), x = open("w/x", O_PATH), file = open("file", O_RDONLY); size_t skip = strlen(other);
    T(chdir("w")); printf("%s\n", getcwd(buffer, sizeof buffer) + skip); T(chdir("x")); printf("%s\n", getcwd(buffer, sizeof buffer) + skip); T(chdir("..")); printf("%s\n", getcwd(buffer, sizeof buffer) + skip);
    T(chdir("no")); T(chdir("../file")); T(chdir("")); T(chdir(BAD)); T(chdir("../todir")); printf("%s\n", getcwd(buffer, sizeof buffer) + skip); T(fchdir(x)); printf("%s\n", getcwd(buffer, sizeof buffer) + skip);
    T(fchdir(file)); T(fchdir(99)); T(syscall(SYS_getcwd, buffer, 3)); T(syscall(SYS_getcwd, BAD, 100)); T(chdir("../loop")); T(chdir(other)); T(chdir("/")); printf("%s\n", getcwd(buffer, sizeof buffer)); T(chdir(".."));
    printf("%s\n", getcwd(buffer, sizeof buffer)); T(fchdir(here)); T(chdir("w/x")); T(rename("../x", "../y")); printf("%s\n", getcwd(buffer, sizeof buffer) + skip); T(rmdir("../y")); T(syscall(SYS_getcwd, buffer, sizeof buffer));
    F(open("file", O_CREAT | O_RDWR, 0600)); F(open(".", O_RDONLY)); F(open("..", O_RDONLY)); T(mkdir("z", 0755)); L("."); T(chdir(".")); T(fchdir(here)); T(rmdir("w"));
    int pid = fork(); if (!pid) { chdir("dir"); _exit(0); } wait(0); S("dir"); T(chroot("no")); T(chroot("file"));
    close(here); close(x); close(file);
}

static void sockets(void) {
    struct sockaddr_un address = {AF_UNIX, "socket"}, got; socklen_t length = sizeof got; char text[20];
    int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), e = socket(AF_UNIX, SOCK_DGRAM, 0);
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + 7;
    T(bind(s, (void *) &address, size)); S("socket"); T(bind(s, (void *) &address, size)); T(bind(e, (void *) &address, size)); T(listen(s, 5));
    T(getsockname(s, (void *) &got, &length)); printf("%s %d\n", got.sun_path, length); T(connect(c, (void *) &address, size)); int a = accept(s, 0, 0); T(write(c, "hello", 5)); T(read(a, text, 9));
    length = sizeof got; memset(&got, 0, sizeof got); T(getpeername(c, (void *) &got, &length)); printf("%s %d\n", got.sun_path, length); strcpy(address.sun_path, "none"); T(connect(e, (void *) &address, size));
    strcpy(address.sun_path, "file"); T(connect(e, (void *) &address, size)); strcpy(address.sun_path, "no/x"); T(bind(e, (void *) &address, size)); strcpy(address.sun_path, "dgram"); T(bind(e, (void *) &address, sizeof address));
    length = 4; memset(&got, 'z', sizeof got); T(getsockname(e, (void *) &got, &length)); printf("%d %c%c%c\n", length, got.sun_path[0], got.sun_path[1], got.sun_path[2]);
    int d = socket(AF_UNIX, SOCK_DGRAM, 0); T(sendto(d, "one", 3, 0, (void *) &address, sizeof address)); T(recv(e, text, 9, 0));
    struct iovec part = {"four", 4}; struct msghdr message = {&address, sizeof address, &part, 1}; T(sendmsg(d, &message, 0)); T(recv(e, text, 9, 0)); memset(address.sun_path, 'l', 108); int l = socket(AF_UNIX, SOCK_STREAM, 0);
    T(bind(l, (void *) &address, sizeof address)); memset(&got, 0, sizeof got); length = sizeof got; T(getsockname(l, (void *) &got, &length)); printf("%.108s %d\n", got.sun_path, length);
    address.sun_path[0] = 0; strcpy(address.sun_path + 1, "apppot-test"); int b = socket(AF_UNIX, SOCK_STREAM, 0); T(bind(b, (void *) &address, size)); int n = socket(AF_UNIX, SOCK_STREAM, 0); T(bind(n, (void *) &address, 2));
    T(connect(n, (void *) &address, 1)); T(connect(n, (void *) BAD, size)); T(unlink("socket")); T(unlink("dgram"));
}

static void notify(void) {
    int i = inotify_init1(IN_NONBLOCK); char events[4096];
    T(inotify_add_watch(i, "dir", IN_CREATE | IN_DELETE | IN_MOVED_FROM)); T(inotify_add_watch(i, "no", IN_CREATE)); T(inotify_add_watch(i, "file", IN_ONLYDIR | IN_CREATE)); T(inotify_add_watch(i, BAD, IN_CREATE));
    make("dir/event", "x"); unlink("dir/event"); ssize_t n = read(i, events, sizeof events);
    for (char *at = events; at < events + n;) { struct inotify_event *event = (void *) at; printf("%x %s\n", event->mask, event->name); at += sizeof *event + event->len; }
    close(i);
}

/* Where two things are wrong, or one is unusual: which of them is told. */
static void order(void) {
    struct stat st; struct statx stx; char text[40]; int file = open("file", O_PATH), link_ = open("tofile", O_PATH | O_NOFOLLOW);
    F(open("file/x", O_TMPFILE | O_RDONLY, 0600)); F(open("no/x", O_TMPFILE & ~O_DIRECTORY | O_RDWR, 0600)); F(open("no/x", O_TMPFILE | O_CREAT | O_RDWR, 0600));
    F(openat2_(AT_FDCWD, "no", O_RDONLY, 0600, 0)); F(openat2_(AT_FDCWD, "no", O_PATH | O_RDWR, 0, 0)); F(openat2_(AT_FDCWD, "no", O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
    F(openat2_(AT_FDCWD, "no/x", O_CREAT | O_WRONLY, 010600, 0)); F(openat2_(file, "/dev/null", O_RDONLY, 0, RESOLVE_BENEATH)); F(openat2_(file, "/dev/null", O_RDONLY, 0, RESOLVE_IN_ROOT));
    F(openat2_(AT_FDCWD, "no", O_CREAT | O_WRONLY, 0600, RESOLVE_CACHED));
    T(syscall(SYS_newfstatat, AT_FDCWD, "file", &st, AT_STATX_DONT_SYNC)); T(syscall(SYS_newfstatat, AT_FDCWD, "no", &st, AT_STATX_SYNC_TYPE)); T(syscall(SYS_statx, AT_FDCWD, "no", AT_STATX_SYNC_TYPE, STATX_ALL, &stx));
    T(mknod("file", S_IFDIR | 0700, 0)); T(mknod("no/x", S_IFDIR | 0700, 0)); T(mknod("no/x", 0130000, 0)); T(mknod("no/x", S_IFCHR, 0));
    mkdir("closed", 0755); mkdir("closed/dir", 0755); chmod("closed", 0555);
    T(link("dir", "closed/x")); T(link("dir", "closed/dir")); T(unlink("closed/dir")); T(link("file", "closed/x")); T(rename("closed/dir", "closed/x"));
    chmod("closed", 0755); unlink("closed/x"); rmdir("closed/dir"); rmdir("closed/x"); rmdir("closed");
    T(fgetxattr(file, "user.no", text, 9)); T(flistxattr(file, text, 9)); T(fchmod(file, 0600)); T(fgetxattr(-1, "user.no", text, 9));
    snprintf(text, sizeof text, "/proc/self/fd/%d", link_); T(stat(text, &st)); printf("%o\n", st.st_mode); F(open(text, O_RDONLY)); F(open(text, O_PATH)); T(readlinkat(link_, "", text, 9)); close(file); close(link_);
}

int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IOFBF, 1 << 20); umask(022);
    char other[PATH_MAX]; strcpy(other, argv[1]);
    links(); stats(); opens(other); names(); attributes(); directories(other); sockets(); notify(); order(); L(".");
    return 0;
}
