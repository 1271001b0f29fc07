"""Where the stub and the window stand in every guest process; the same facts as stub/layout.h."""

WINDOW_BASE = 0x7E8100000000
STUB_BASE = 0x7E8200000000
STUB_END = 0x7E8200004000          # of its text: system calls made below this address are the stub's own
MAILBOX = 0x7E8200010000
MAILBOX_SIZE = 0x40000             # operations for as many segments as an ELF file may have, and four paths
FAST_STATE = 0x7E8200050000        # struct state of stub/fast.h
FAST_LOADING = FAST_STATE + 4      # its `loading`
FAST_HITS = FAST_STATE + 0xC08     # its `hits`, 4 bytes for each of so many numbers
HITS = 512
FAST_CWD = FAST_STATE + 0x1518     # its `cwd`
TLB_OFFSET = 0x1200000             # of the translation cache in the window

GADGET = STUB_BASE                 # stub/entry.S: its first instruction is the `syscall`
GADGET_RETURN = GADGET + 2
GADGET_END = GADGET + 0x23         # first byte after the gadget; test_layout.py reads it from the ELF

# Labels of stub/entry.S, likewise read from the ELF by the test. Trampolines lead to the first and third.
FAST_CHECKED, FAST_UNKNOWN, FAST_ENTRY = STUB_BASE + 0x5E, STUB_BASE + 0x80, STUB_BASE + 0x88
FAST_SAVING, FAST_PUSHED = STUB_BASE + 0x90, STUB_BASE + 0x91
FAST_BODY, FAST_END = STUB_BASE + 0xE9, STUB_BASE + 0xFD
FAST_POPPING, FAST_LEFT = STUB_BASE + 0x161, STUB_BASE + 0x16A
COMMIT, COMMIT_MADE = STUB_BASE + 0x16C, STUB_BASE + 0x187
FAST_CODE = STUB_BASE + 0x190      # from here on the compiler's code; r15 holds the frame there
