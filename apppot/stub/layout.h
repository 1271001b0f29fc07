/* Fixed addresses shared with apppot/platform/layout.py (a test compares the two).
 *
 * The stub and the window stand above everything a program maps by itself (a non-PIE program, ELF_ET_DYN_BASE, Go's
 * arenas, the sanitizers' shadows) and below the lowest place where the kernel lets mmap_base fall with full ASLR.
 * brk starts after the stub's last segment, so the window lies below the stub. */
#define WINDOW_BASE 0x7e8100000000
#define STUB_BASE   0x7e8200000000
#define MAILBOX     0x7e8200010000
#define MAILBOX_SIZE 0x40000
#define FAST_STATE  0x7e8200050000
#define FAST_STATE_SIZE 0x2000
#define NUMBERS 512
#define FRAME_SIZE 152
#define LENT_BASE   0x7e8200052000
#define LENT_SIZE   0x1000
#define LENT_STACKS 64
#define TLB_BASE    0x7e8101200000
#define REMOVED     0x7e8101200400
#define COPIED      0x7e8101200600
#define HOWS        0x7e8101200800
#define TLB_HEADER  0x1000
#define TLB_RECORDS 0x300000
#define TLB_INODES  0x400000
