/* Goes through the stub as a trampoline does, alone with it: stepped STUB ENTRY NUMBER MODE TAKEN.
 *
 * Maps the stub and an empty window where guests have them, MODE into the state of the fast path, the first TAKEN of the lent
 * stacks as taken; stops; loads each register with a value that tells it; and jumps to ENTRY with the call NUMBER of a file's
 * descriptor. Its parent traces it, and steps from there on. It ends at `site`, or behind the `syscall` there. */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <unistd.h>
#include "fast.h"

char buffer[4096];

static void map(unsigned long address, unsigned long size, int protection, int fd, unsigned long offset) {
    int flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE | (fd < 0 ? MAP_ANONYMOUS : 0);
    if (mmap((void *)address, size, protection, flags, fd, offset) != (void *)address) _exit(2);
}

/* What the loops of a tracer look for. */
void site(void);
__asm__(".globl site\nsite:\n\tsyscall\n\tnop\n\tnop");

int main(int argc, char **argv) {
    unsigned long entry = strtoul(argv[2], 0, 0);
    struct { Elf64_Ehdr header; Elf64_Phdr segments[4]; } elf;
    int fd = open(argv[1], O_RDONLY);
    if (read(fd, &elf, sizeof elf) != sizeof elf) _exit(2);
    Elf64_Phdr *text = elf.segments;
    map(text->p_vaddr, text->p_memsz, PROT_READ | PROT_EXEC, fd, text->p_offset);
    map(MAILBOX, LENT_BASE + LENT_STACKS * LENT_SIZE - MAILBOX, PROT_READ | PROT_WRITE, -1, 0);
    map(WINDOW_BASE, TLB_BASE + 0x2000000 - WINDOW_BASE, PROT_READ | PROT_WRITE, -1, 0);
    ((struct header *)TLB_BASE)->on = 1;
    ((struct state *)FAST_STATE)->mode = (uint32_t)atoi(argv[4]);
    for (int i = 0; i < atoi(argv[5]); i++)
        ((struct frame *)(LENT_BASE + (i + 1) * LENT_SIZE - sizeof(struct frame)))->taken = 1;
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    __asm__ volatile(
        "movq %%rcx, %%r11\n\tleaq buffer(%%rip), %%rsi\n\tleaq site(%%rip), %%rcx\n\t"
        "movq $0x1001, %%rdx\n\tmovq $0x1002, %%r10\n\tmovq $0x1003, %%r8\n\tmovq $0x1004, %%r9\n\tmovq $0x1005, %%rbx\n\t"
        "movq $0x1006, %%r12\n\tmovq $0x1007, %%r13\n\tmovq $0x1008, %%r14\n\tmovq $0x1009, %%r15\n\tmovq $0x100a, %%rbp\n\t"
        "pushq $0xad7\n\tpopfq\n\tjmp *%%r11"
        : : "c"(entry), "a"(strtol(argv[3], 0, 0)), "D"((long)fd) : "memory");
    __builtin_unreachable();
}
