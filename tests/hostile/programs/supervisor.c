/* Tries to break: what the supervisor reads of a guest's files and memory neither holds it up nor fills memory, cache or
 * run directory. argv[3] names the attempt. Each child does what natively would end with an error, or with the child. */
#include "race.h"
#include <elf.h>

#define MiB (1L << 20)

static void run(void (*work)(void)) {
    pid_t pid = fork();
    if (!pid) work(), _exit(0);
    waitpid(pid, 0, 0);
    struct stat st;
    if (stat("/etc/image-file", &st)) ESCAPED("the machine does not work any more");
}

/* -- files that sudo, which the supervisor plays, looks into */

static char *self;
static void ask_sudo(void) {
    char *words[] = {"sudo", "-u", "user", self, "again", 0};
    execve("/usr/bin/sudo", words, words + 5);
}
static void accounts(void) {
    const char *files[] = {"/etc/passwd", "/etc/group"};
    for (int i = 0; i < 2; i++) {
        char kept[64];
        snprintf(kept, sizeof kept, "%s-", files[i]);
        rename(files[i], kept);
        if (mkfifo(files[i], 0600)) ESCAPED("no fifo");
        run(ask_sudo);
        unlink(files[i]);
        symlink("/dev/zero", files[i]);
        run(ask_sudo);
        unlink(files[i]);
        symlink("/dev/tty", files[i]);
        run(ask_sudo);
        unlink(files[i]);
        int fd = open(files[i], O_WRONLY | O_CREAT, 0644);
        if (ftruncate(fd, 1L << 40)) ESCAPED("no sparse file");
        close(fd);
        run(ask_sudo);
        rename(kept, files[i]);
    }
}

static void many_words(void) {
    char *word = malloc(131071), **words = malloc(3000000 * sizeof *words);
    memset(word, 'x', 131070);
    word[131070] = 0;
    words[0] = "sudo";
    for (int i = 1; i < 2999999; i++) words[i] = word;
    words[2999999] = 0;
    execve("/usr/bin/sudo", words, words + 2999999);
    execve("/usr/bin/sudo", (char *[]){"sudo", "true", 0}, words);
}
static void words(void) { run(many_words); }

/* -- libraries and programs that the fast path makes patched copies of */

static const unsigned char a_site[] = {0xb8, 2, 0, 0, 0, 0x0f, 0x05};        /* mov $SYS_open, %eax; syscall */

static void make_program(const char *path, long size, int segments) {
    static char content[MiB];
    Elf64_Ehdr *head = (void *)content;
    Elf64_Phdr *headers = (void *)(content + sizeof *head);
    memset(content, 0, sizeof content);
    *head = (Elf64_Ehdr){.e_ident = {0x7f, 'E', 'L', 'F', 2, 1, 1}, .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = 1,
                         .e_entry = 0x400000, .e_phoff = sizeof *head, .e_ehsize = sizeof *head, .e_phentsize = sizeof *headers,
                         .e_phnum = segments + 1};
    for (int i = 0; i < segments; i++)
        headers[i] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = 0x400000, .p_filesz = size, .p_memsz = size,
                                  .p_align = 4096};
    headers[segments] = (Elf64_Phdr){.p_type = PT_NOTE};
    long start = sizeof *head + (segments + 1) * sizeof *headers;
    for (long at = start; at + (long)sizeof a_site <= MiB; at += sizeof a_site) memcpy(content + at, a_site, sizeof a_site);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    write(fd, content, size < MiB ? size : MiB);
    for (long done = MiB; done < size; done += MiB) write(fd, content + start, MiB - start);
    close(fd);
}

/* As the dynamic loader opens the C library: the process says of itself that it is loading. */
static void load(const char *path) {
    *(volatile unsigned *)(FAST_STATE + 4) = 2;
    long fd = at_own_site(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd >= 0) close(fd);
}
static void load_fifo(void) {
    alarm(2);                                        /* natively it waits for a writer */
    load("/tmp/fifo/libc.so.6");
}
static void load_large(void) { load("/tmp/large/libc.so.6"); }
static void load_many(void) {
    for (int i = 0; i < 50; i++) {                  /* each has a time of its own */
        make_program("/tmp/many/libc.so.6", MiB / 64, 1);
        int fd = open("/tmp/many/libc.so.6", O_WRONLY | O_APPEND);
        ftruncate(fd, 2 * MiB + i);
        close(fd);
        load("/tmp/many/libc.so.6");
        load("/tmp/many/libc.so.6");
    }
}
static void start_large(void) { execve("/tmp/large/program", (char *[]){"x", 0}, environ); }
static void libraries(void) {
    mkdir("/tmp/fifo", 0700), mkdir("/tmp/large", 0700), mkdir("/tmp/many", 0700);
    mkfifo("/tmp/fifo/libc.so.6", 0600);
    run(load_fifo);
    make_program("/tmp/large/libc.so.6", 48 * MiB, 1);
    run(load_large);
    make_program("/tmp/large/program", 48 * MiB, 1);
    run(start_large), run(start_large);
    make_program("/tmp/large/libc.so.6", 16 * MiB, 1000);
    run(load_large);
    run(load_many);
}

/* -- programs without a name, which the supervisor copies for the stub */

static void start_nameless(void) {
    int fd = memfd_create("x", 0);
    write(fd, "\177ELF", 4);
    ftruncate(fd, 1L << 40);
    syscall(SYS_execveat, fd, "", (char *[]){"x", 0}, environ, AT_EMPTY_PATH);
}
static void start_many_nameless(void) {
    char *content = calloc(1, 40 * MiB);
    memset(content, 1, 40 * MiB);
    int fd = memfd_create("x", 0);
    write(fd, content, 40 * MiB);
    for (int i = 0; i < 30; i++) syscall(SYS_execveat, fd, "", (char *[]){"x", 0}, environ, AT_EMPTY_PATH);
}
/* The run directory is known from where the window is mapped from; who jumps into the stub may look into it. */
static void look_into_run_directory(void) {
    static char text[1 << 16], name[PATH_MAX];
    long maps = from_stub(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY, 0, 0, 0), length = 0, n, total = 0;
    while (maps >= 0 && (n = read(maps, text + length, sizeof text - 1 - length)) > 0) length += n;
    char *window = strstr(text, "/window"), *start = window;
    if (!window) return;
    while (start > text && start[-1] != ' ') start--;
    *window = 0;
    for (int i = 0; i < 1000; i++) {
        struct stat st;
        snprintf(name, sizeof name, "%s/exec%d", start, i);
        if (from_stub(SYS_stat, (long)name, (long)&st, 0, 0, 0, 0) == 0) total += st.st_blocks * 512;
    }
    printf("%ld MiB of copies\n", total / MiB);
    if (total > 300 * MiB) ESCAPED("%ld MiB in the run directory", total / MiB);
}
static void nameless(void) { run(start_nameless), run(start_many_nameless), look_into_run_directory(); }

/* -- the listener by which the supervisor hands descriptors over: who knows the word calls it as often as he likes, others
 * are killed while they are handed something, or have no room for it */

static volatile unsigned long *word;
static volatile int *taker;
static void *flood(void *_) {
    for (;;) at_own_site(183, *word, 0, 0, 0, 0, 0);
    return 0;
}
static void find_word(void) {
    char name[64], text[256];
    snprintf(name, sizeof name, "/proc/self/task/%d/syscall", *taker);
    long fd = at_own_site(SYS_openat, AT_FDCWD, (long)name, O_RDONLY, 0, 0, 0);
    if (fd < 0) return;
    text[read(fd, text, sizeof text - 1)] = 0;
    close(fd);
    long number;
    unsigned long first;
    if (sscanf(text, "%ld 0x%lx", &number, &first) == 2 && number == 183) *word = first;
}
static void *take(void *_) {
    *taker = syscall(SYS_gettid);
    for (;;) close(open("/proc/self/oom_score_adj", O_WRONLY));
    return 0;
}
static void take_and_flood(void) {
    pthread_t thread;
    pthread_create(&thread, 0, take, 0);
    for (double end = now() + 0.5; now() < end && !*word;) find_word();
    for (int i = 0; i < 3; i++) pthread_create(&thread, 0, flood, 0);
    for (;;) pause();
}
static void take_without_room(void) {
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){3, 3});
    alarm(20);
    if (open("/proc/self/oom_score_adj", O_WRONLY) >= 0 || errno != EMFILE) ESCAPED("descriptors without end: %d", errno);
}
static void listener(void) {
    word = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    taker = (int *)(word + 1);
    int status;
    pid_t pid = fork();
    if (!pid) take_without_room(), _exit(0);
    waitpid(pid, &status, 0);
    if (status) ESCAPED("a full table of descriptors: the task waits for ever");
    for (int i = 0; i < 12; i++) {
        pid = fork();
        if (!pid) take_and_flood();
        usleep(100000 + i * 7001 % 60000);
        kill(pid, SIGKILL);
        waitpid(pid, 0, 0);
        int fd = open("/proc/self/oom_score_adj", O_WRONLY);
        if (fd < 0) ESCAPED("nothing is handed over any more");
        close(fd);
    }
    printf("12 tries, the word was %s\n", *word ? "known" : "not to be found");
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "again")) return 0;
    begin(argc, argv);
    self = argv[0];
    const struct { const char *name; void (*attempt)(void); } attempts[] = {
        {"accounts", accounts}, {"words", words}, {"libraries", libraries}, {"nameless", nameless}, {"listener", listener},
    };
    for (unsigned i = 0; i < sizeof attempts / sizeof *attempts; i++)
        if (argc > 3 && !strcmp(argv[3], attempts[i].name)) return attempts[i].attempt(), HELD();
    return 1;
}
