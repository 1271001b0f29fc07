"""Where the stub and the window stand in every guest process; the same facts as stub/layout.h."""

WINDOW_BASE = 0x7E8100000000
STUB_BASE = 0x7E8200000000
STUB_END = 0x7E8200006000          # of its text: system calls made below this address are the stub's own
MAILBOX = 0x7E8200010000
MAILBOX_SIZE = 0x40000             # operations for as many segments as an ELF file may have, and four paths
FAST_STATE = 0x7E8200050000        # struct state of stub/fast.h
FAST_LOADING = FAST_STATE + 4      # its `loading`
FAST_HITS = FAST_STATE + 0x808     # its `hits`, 4 bytes for each of so many numbers
HITS = 512
FAST_CWD = FAST_STATE + 0x1118     # its `cwd`
TLB_OFFSET = 0x1200000             # of the translation cache in the window
REMOVED = WINDOW_BASE + TLB_OFFSET + 0x400  # in its first page: Tlb.inode_removed
COPIED = WINDOW_BASE + TLB_OFFSET + 0x600   # Tlb.file_copied_up
HOWS = WINDOW_BASE + TLB_OFFSET + 0x800     # and platform/hows.py

GADGET = STUB_BASE                 # stub/entry.S: its first instruction is the `syscall`
GADGET_RETURN = GADGET + 2
GADGET_END = GADGET + 0x23         # first byte after the gadget; test_layout.py reads it from the ELF

# Stacks that stub/entry.S takes for calls of sites without room, each with a frame of the fast path at its top.
LENT_BASE, LENT_SIZE, LENT_STACKS = 0x7E8200052000, 0x1000, 64
LENT_END = LENT_BASE + LENT_SIZE * LENT_STACKS
FRAME_SIZE, FRAME_TAKEN = 152, 144   # struct frame of stub/fast.h; its `taken`

# Labels of stub/entry.S, likewise read from the ELF by the test. Trampolines lead to FAST_CHECKED, FAST_LENT and FAST_ENTRY.
FAST_CHECKED, FAST_UNKNOWN = STUB_BASE + 0x5E, STUB_BASE + 0x80
FAST_LENT, FAST_ASKED = STUB_BASE + 0x88, STUB_BASE + 0xB8
FAST_ENTRY, FAST_SWITCHING = STUB_BASE + 0xCC, STUB_BASE + 0xDF
FAST_BODY, FAST_END = STUB_BASE + 0x143, STUB_BASE + 0x157
FAST_POPPING, FAST_LEFT = STUB_BASE + 0x1C8, STUB_BASE + 0x1D1
FAST_GIVING, FAST_GIVEN = STUB_BASE + 0x1DE, STUB_BASE + 0x1E9
COMMIT, COMMIT_MADE = STUB_BASE + 0x1EB, STUB_BASE + 0x206
FAST_CODE = STUB_BASE + 0x210      # from here on the compiler's code; r15 holds the frame there
