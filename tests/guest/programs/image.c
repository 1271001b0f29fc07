/* What a program finds in its fresh address space. image [again N]: prints facts that hold natively too. */
#include "common.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/personality.h>

extern char _start[], **environ;
static char large[5 << 20];
static __thread int local = 42;

static void stack_protection(void) {
    char line[512];
    FILE *file = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, file)) {
        char protection[8];
        unsigned long from, to;
        sscanf(line, "%lx-%lx %7s", &from, &to, protection);
        if (strstr(line, "[stack]")) SAY("stack %s", protection);
        if (from <= (unsigned long) _start && (unsigned long) _start < to) SAY("text %s", protection);
        if (from <= (unsigned long) (large + sizeof large / 2) && (unsigned long) (large + sizeof large / 2) < to)
            SAY("bss %s", protection);
    }
    fclose(file);
}

static void auxiliary(char **argv) {
    Elf64_Phdr *headers = (void *) getauxval(AT_PHDR);
    unsigned long count = getauxval(AT_PHNUM), loads = 0, dynamic = 0, largest = 0, base = 0;
    for (unsigned long i = 0; i < count; i++) {
        loads += headers[i].p_type == PT_LOAD;
        dynamic |= headers[i].p_type == PT_DYNAMIC;
        if (headers[i].p_type == PT_PHDR) base = (unsigned long) headers - headers[i].p_vaddr;
        if (headers[i].p_type == PT_LOAD && headers[i].p_align > largest) largest = headers[i].p_align;
    }
    SAY("headers %lu, loads %lu, dynamic %lu, size %lu", count, loads, dynamic, getauxval(AT_PHENT));
    SAY("aligned %d", base % largest == 0);
    SAY("entry %d", getauxval(AT_ENTRY) == (unsigned long) _start);
    SAY("base %s", !getauxval(AT_BASE) ? "none" : memcmp((void *) getauxval(AT_BASE), "\177ELF", 4) ? "wrong" : "ELF");
    SAY("name %s, secure %lu, page %lu, flags %lu, uid %d", (char *) getauxval(AT_EXECFN), getauxval(AT_SECURE),
        getauxval(AT_PAGESZ), getauxval(AT_FLAGS), getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid());
    unsigned long *end = (unsigned long *) environ;
    while (*end++) continue;
    for (Elf64_auxv_t *a = (void *) end; ; a++) {
        printf("%lu ", a->a_type);
        if (a->a_type == AT_NULL) break;
    }
    printf("\n");
    (void) argv;
}

static void memory(void) {
    char *start = sbrk(0);
    int good = 1;
    for (int i = 0; i < 64; i++) {
        char *piece = sbrk(1 << 20);
        if (piece == (void *) -1) { good = 0; break; }
        memset(piece, i, 1 << 20);
    }
    SAY("brk grows %d, zero %d", good && (char *) sbrk(0) == start + (64 << 20), *(start + 5) == 0);
    SAY("brk shrinks %d", brk(start) == 0 && sbrk(0) == start);
    for (size_t i = 0; i < sizeof large; i += 4096) good &= large[i] == 0;
    memset(large, 1, sizeof large);
    SAY("bss %d, tls %d", good, local);
    static const unsigned long places[] = {0x10000000, 0x100000000, 0x7e0000000000, 0x7e80fffff000, 0x555500000000};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        void *p = mmap((void *) places[i], 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        SAY("at %lx %d, path call %d", places[i], p == (void *) places[i], path_call());
    }
    void *huge = mmap(0, 1UL << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    SAY("a large reservation %d", huge != MAP_FAILED);
    munmap(huge, 1UL << 40);
    SAY("personality %x", personality(0xffffffff));
}

static int recurse(int n) { volatile char page[4096]; page[0] = n; return n ? recurse(n - 1) + page[0] * 0 : 1; }

static const char *try_exec(char **argv, char **env) {
    execve("/bin/true", argv, env);
    return strerrorname_np(errno);
}

static void large_vectors(void) {
    enum { WORD = 100000 };
    char *word = malloc(WORD + 1), *longest = malloc(131073);
    memset(word, 'a', WORD);
    word[WORD] = 0;
    static char *argv[60] = {"true"};
    for (int words = 18; words < 24; words += 5) {
        for (int i = 1; i <= words; i++) argv[i] = word;
        argv[words + 1] = 0;
        pid_t p = CHILD({ const char *e = try_exec(argv, environ); _exit(strcmp(e, "E2BIG") ? 1 : 77); });
        SAY("%d words %d", words, status_of(p));
    }
    for (int length = 131071; length < 131073; length++) {
        memset(longest, 'b', length);
        longest[length] = 0;
        char *two[] = {"true", longest, 0};
        pid_t p = CHILD({ const char *e = try_exec(two, environ); _exit(strcmp(e, "E2BIG") ? 1 : 77); });
        SAY("a word of %d %d", length, status_of(p));
        p = CHILD({ const char *e = try_exec((char *[]) {"true", 0}, two); _exit(strcmp(e, "E2BIG") ? 1 : 77); });
        SAY("in the environment %d", status_of(p));
        p = CHILD({ execv("./script", two); _exit(errno == E2BIG ? 77 : 1); });
        SAY("of a script %d", status_of(p));
    }
    for (int i = 1; i <= 15; i++) argv[i] = word;
    argv[16] = 0;
    pid_t p = CHILD({ execv("./script", argv); _exit(errno == E2BIG ? 77 : 1); });
    SAY("a script with %d words %d", 15, status_of(p));
    struct rlimit limit = {1 << 20, RLIM_INFINITY};
    p = CHILD({ setrlimit(RLIMIT_STACK, &limit); const char *e = try_exec(argv, environ); _exit(strcmp(e, "E2BIG") ? 1 : 77); });
    SAY("with a small stack %d", status_of(p));
}

int main(int argc, char **argv) {
    if (argc == 0 || argc > 1 && !strcmp(argv[1], "empty")) {
        SAY("argc %d, argv[0] %s", argc, argv[0] ? argv[0] : "null");
        return 0;
    }
    if (argc > 1 && !strcmp(argv[1], "vectors")) { large_vectors(); return 0; }
    stack_protection();
    auxiliary(argv);
    memory();
    SAY("deep stack %d", recurse(1000));
    pid_t p = CHILD({ execv(argv[0], (char *[]) {0}); _exit(1); });
    SAY("empty argv %d", status_of(p));
    p = CHILD({ execv(argv[0], (char *[]) {"", "empty", 0}); _exit(1); });
    SAY("nameless %d", status_of(p));
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    if (argc == 1) {
        p = CHILD({ setrlimit(RLIMIT_STACK, &unlimited); execl(argv[0], argv[0], "again", (char *) 0); _exit(1); });
        SAY("with an unlimited stack %d", status_of(p));
        p = CHILD({ personality(ADDR_NO_RANDOMIZE); execl(argv[0], argv[0], "again", (char *) 0); _exit(1); });
        SAY("without randomization %d", status_of(p));
    }
    return 0;
}
