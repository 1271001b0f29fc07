"""From a Program to the operations that the stub carries out in the fresh process."""

import os

from apppot.platform import mailbox
from apppot.platform.mailbox import ABSOLUTE, INTERPRETER, PROGRAM
from apppot.platform.window import SIZE

_AT_PHDR, _AT_PHNUM, _AT_BASE, _AT_ENTRY, _AT_SECURE, _AT_EXECFN = 3, 5, 7, 9, 23, 31
_AT_UID, _AT_EUID, _AT_GID, _AT_EGID = 11, 12, 13, 14

# Where the kernel puts position-independent programs: ELF_ET_DYN_BASE of arch/x86/include/asm/elf.h plus 28 random bits
# of pages (mmap_rnd_bits).
_PIE_BASE = 0x555555554000
_RANDOM_PAGES = 1 << 28
_COMM_LENGTH = 15                  # TASK_COMM_LEN of <linux/sched.h> less the NUL
_PROT_WRITE = 2


def operations(program, creds, window, filters=(), first=False, rules=None, fast=None, mode=0):
    """The encoded mailbox that starts `program`.

    `filters`: addresses of struct sock_fprog in the window to install; `first`: the machine's first task, which also
    gives up gaining privileges and enters the Landlock domain behind descriptor `rules`, if there is one. `fast`: the FastPath, or None, and the
    `mode` in which the process may use it.
    """
    box = mailbox.Mailbox()
    box.add(mailbox.WINDOW, window.path, SIZE)
    if program.say is not None:
        fd, text, status = program.say
        if text:
            box.add(mailbox.WRITE, fd, text, len(text))
        box.add(mailbox.EXIT, status)
        return box.encode()
    host, elf = program.host, program.elf
    if mode and program.interpreter is None and fast.is_of_image(program.path):
        host, elf = fast.patched(host)
    origin = _map_object(box, PROGRAM, host, elf, _random_base())
    base = PROGRAM if program.elf.position_independent else ABSOLUTE
    start = base, program.elf.entry - origin
    box.add(mailbox.AUXV, _AT_PHDR, base, program.elf.headers - origin)
    box.add(mailbox.AUXV, _AT_PHNUM, ABSOLUTE, program.elf.header_count)
    box.add(mailbox.AUXV, _AT_ENTRY, *start)
    if program.interpreter is not None:
        host, elf = program.interpreter
        if mode:
            host, elf = fast.patched(host)
        loader_origin = _map_object(box, INTERPRETER, host, elf, 0)
        start = INTERPRETER if elf.position_independent else ABSOLUTE, elf.entry - loader_origin
        box.add(mailbox.AUXV, _AT_BASE, INTERPRETER, -loader_origin)
    _identity(box, program, creds)
    if program.directory is not None:
        box.add(mailbox.CHDIR, program.directory)
    if program.elf.exec_stack:
        box.add(mailbox.EXEC_STACK)
    box.add(mailbox.COMM, program.name.rsplit(b"/", 1)[-1][:_COMM_LENGTH])
    if first:
        box.add(mailbox.NO_NEW_PRIVS)
        if rules is not None:
            box.add(mailbox.LANDLOCK, rules)
    for address in filters:
        box.add(mailbox.FILTER, address)
    if mode:
        box.add(mailbox.FAST, mode)
    box.add(mailbox.JUMP, *start)
    return box.encode()


def _random_base():
    return _PIE_BASE + (int.from_bytes(os.urandom(4), "little") % _RANDOM_PAGES << 12)


def _identity(box, program, creds):
    box.add(mailbox.AUXV, _AT_EXECFN, ABSOLUTE, program.name)
    for kind, value in ((_AT_UID, creds.ruid), (_AT_EUID, creds.euid), (_AT_GID, creds.rgid), (_AT_EGID, creds.egid)):
        box.add(mailbox.AUXV, kind, ABSOLUTE, value)
    secure = creds.ruid != creds.euid or creds.rgid != creds.egid
    box.add(mailbox.AUXV, _AT_SECURE, ABSOLUTE, int(secure))


def _map_object(box, base, host, elf, hint):
    """Operations that map one ELF file; the address that offsets from its base are relative to."""
    low, span = elf.span()
    box.add(mailbox.OPEN, host)
    if elf.position_independent:
        align = max(segment.align for segment in elf.segments)
        box.add(mailbox.RESERVE, base, span, hint & -align, align)
        origin = low
    else:
        base, origin = ABSOLUTE, 0
    for segment in elf.segments:
        _map_segment(box, base, origin, segment)
    box.add(mailbox.CLOSE)
    return origin


def _map_segment(box, base, origin, segment):
    start = segment.address & ~4095
    file_end = segment.address + segment.file_size
    memory_end = segment.address + segment.memory_size
    mapped_end = start
    if segment.file_size:
        mapped_end = (file_end + 4095) & ~4095
        box.add(mailbox.MAP, base, start - origin, file_end - start, segment.protection, segment.offset & ~4095)
        if memory_end > file_end and segment.protection & _PROT_WRITE and mapped_end > file_end:
            box.add(mailbox.ZERO, base, file_end - origin, mapped_end - file_end)
    if memory_end > mapped_end:
        box.add(mailbox.ANONYMOUS, base, mapped_end - origin, memory_end - mapped_end, segment.protection)


def stub_path():
    """Host path of the stub's executable."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "stub", "apppot-stub").encode()
