"""Where the stub and the window stand in every guest process; the same facts as stub/layout.h."""

WINDOW_BASE = 0x7E8100000000
STUB_BASE = 0x7E8200000000
STUB_END = 0x7E8200004000          # of its text: system calls made below this address are the stub's own
MAILBOX = 0x7E8200010000
MAILBOX_SIZE = 0x40000             # operations for as many segments as an ELF file may have, and four paths
FAST_STATE = 0x7E8200050000        # struct state of stub/fast.h
TLB_OFFSET = 0x1200000             # of the translation cache in the window

GADGET = STUB_BASE                 # stub/entry.S: its first instruction is the `syscall`
GADGET_RETURN = GADGET + 2
GADGET_END = GADGET + 0x23         # first byte after the gadget; test_layout.py reads it from the ELF

FAST_ENTRY = STUB_BASE + 0x5E      # where trampolines lead; likewise read from the ELF by the test
FAST_BODY, FAST_END = STUB_BASE + 0x7F, STUB_BASE + 0x8E
FAST_CODE = STUB_BASE + 0xD0       # from here on the compiler's code; r15 holds the frame there
