"""Indices into `struct user_regs_struct` of x86-64 (<sys/user.h>) seen as an array of 64-bit words."""

R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI, ORIG_RAX, RIP, CS, EFLAGS, RSP = range(20)
COUNT = 27

ARGUMENTS = (RDI, RSI, RDX, R10, R8, R9)
"""Where the six arguments of a system call are (syscall(2))."""

CS_64BIT = 0x33
