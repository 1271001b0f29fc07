"""From a Program to the operations that the stub carries out in the fresh process."""

import os

from apppot.platform import landlock, mailbox, tlb
from apppot.platform.mailbox import ABSOLUTE, INTERPRETER, PROGRAM

_AT_PHDR, _AT_PHNUM, _AT_BASE, _AT_ENTRY, _AT_SECURE, _AT_EXECFN = 3, 5, 7, 9, 23, 31
_AT_UID, _AT_EUID, _AT_GID, _AT_EGID = 11, 12, 13, 14

# Where the kernel puts position-independent programs: ELF_ET_DYN_BASE of arch/x86/include/asm/elf.h plus 28 random bits
# of pages (mmap_rnd_bits).
_PIE_BASE = 0x555555554000
_RANDOM_PAGES = 1 << 28
_COMM_LENGTH = 15                  # TASK_COMM_LEN of <linux/sched.h> less the NUL
_PROT_WRITE = 2
_KEPT = 1024


class Loading:
    """Makes the mailboxes of one machine's programs, and keeps them: most programs are started many times.

    `fast`: the FastPath, or None.
    """

    def __init__(self, window):
        self.window = window
        self.fast = None
        self._made = {}                # what goes into a mailbox -> Encoded

    def operations(self, program, creds, filters=(), first=False, rules=None, mode=0):
        """The encoded mailbox that starts `program`.

        `filters`: addresses of struct sock_fprog in the window to install; `first`: the machine's first task, which
        also gives up gaining privileges and enters the Landlock domain behind descriptor `rules`, if there is one;
        `mode`: how the process may use the fast path.
        """
        if program.say is not None:
            return self._say(program)
        files = self._files(program, mode)
        key = (files, program.elf, program.interpreter, program.path, program.name, program.directory, creds.ruid,
               creds.euid, creds.rgid, creds.egid, tuple(filters), first, rules, mode)
        encoded = self._made.get(key)
        if encoded is None:
            if len(self._made) >= _KEPT:
                self._made.clear()
            encoded = self._made[key] = self._make(program, files, creds, filters, first, rules, mode)
        return encoded.placed(_random_base())

    def _files(self, program, mode):
        """What is mapped, (host path, Elf) each: the program and its interpreter, or their patched copies."""
        own, interpreter = (program.host, program.elf), program.interpreter
        if not mode:
            return own, interpreter
        if interpreter is None or program.elf.of_go:       # others make their calls in the C library
            own = self.fast.program(program.path, *own)
        return own, interpreter and self.fast.loader(*interpreter)

    def _say(self, program):
        box = self._box()
        fd, text, status = program.say
        if text:
            box.add(mailbox.WRITE, fd, text, len(text))
        box.add(mailbox.EXIT, status)
        return box.encode().data

    def _box(self):
        box = mailbox.Mailbox()
        box.add(mailbox.WINDOW, self.window.path, self.window.size)
        return box

    def _make(self, program, files, creds, filters, first, rules, mode):
        box = self._box()
        origin = _map_object(box, PROGRAM, *files[0])
        base = PROGRAM if program.elf.position_independent else ABSOLUTE
        start = base, program.elf.entry - origin
        box.add(mailbox.AUXV, _AT_PHDR, base, program.elf.headers - origin)
        box.add(mailbox.AUXV, _AT_PHNUM, ABSOLUTE, program.elf.header_count)
        box.add(mailbox.AUXV, _AT_ENTRY, *start)
        if program.interpreter is not None:
            elf = program.interpreter[1]
            loader_origin = _map_object(box, INTERPRETER, *files[1])
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
                box.add(mailbox.LANDLOCK, rules, landlock.restrict_flags(landlock.abi()))
        for address in filters:
            box.add(mailbox.FILTER, address)
        if mode:
            box.add(mailbox.FAST, mode, tlb.LOADING if program.interpreter is not None else tlb.LOADED)
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


def _map_object(box, base, host, elf):
    """Operations that map one ELF file; the address that offsets from its base are relative to.

    A program is placed by Encoded.placed(), an interpreter where the kernel likes.
    """
    low, span = elf.span()
    box.add(mailbox.OPEN, host)
    if elf.position_independent:
        align = max(segment.align for segment in elf.segments)
        box.add(mailbox.RESERVE, base, span, mailbox.Hint(align) if base == PROGRAM else 0, align)
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
