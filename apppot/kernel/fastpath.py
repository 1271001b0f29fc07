"""Lets guests answer repeated path calls themselves: hands out patched libraries, and keeps the translation cache true.

What the cache says comes from kernel/filling.py.
"""

import os
import struct

from apppot.kernel.credentials import FS_CAPS
from apppot.kernel.filling import CHANGING, FILLED, Filling
from apppot.kernel.patching import Patched
from apppot.kernel.recorded import Recorded
from apppot.platform import tlb
from apppot.platform.hows import Hows
from apppot.platform.layout import FAST_CWD, FAST_LOADING, FAST_STATE
from apppot.platform.registers import R10, RDI, RDX, RSI
from apppot.syscalls.answer import Run, RunHere
from apppot.syscalls.table import by_name, numbers

_S_IFREG = 0o100000
_LIBRARIES = (b"libc.so.6", b"libc-", b"libpthread")     # before glibc 2.34 the latter had open(2) too
_LOADED = 1000                             # programs whose segments are remembered
_OWN_ROOM = 64 << 20                       # bytes of copies of what users compile
_LOADER_FLAGS = os.O_RDONLY | os.O_CLOEXEC

_WORD = struct.Struct("<I")
_OPENAT, _UMASK, _RMDIR, _EXECVE = (by_name[name].number for name in ("openat", "umask", "rmdir", "execve"))
_CHANGING_DIRECTORY = numbers("chdir", "fchdir")
_IDENTITY = numbers("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups",
                    "capset", "chroot", "seccomp", "prctl", "unshare")
_FILTERING = numbers("seccomp", "prctl")
_NAMING = numbers("sethostname", "setdomainname")


class FastPath:
    """`image`, `own`: the Patched copies of the image's files, kept in the cache, and of what the machine's users make, in
    the run directory. Made only where Landlock is the wall (DESIGN §4.2)."""

    def __init__(self, running, cache_directory):
        self.running, self.ns = running, running.ns
        self.tlb = tlb.Tlb(running.window.memory, os.getuid(), os.getgid(), running.wall.by_flags)
        self.hows = Hows(running.window.memory)
        self.image = Patched(cache_directory, cached=[prefix for prefix, _ in self.ns.root.fs.recorded])
        executable = not os.statvfs(running.run_dir).f_flag & os.ST_NOEXEC
        self.own = Patched(running.run_dir + b"/patched", _OWN_ROOM) if executable else None
        self._with_segment = {}            # host path of a copy -> (Elf of the original, Elf of the copy)
        self.recorded = Recorded(running.window, self.ns.ownership.records, self.tlb.now_recorded, self.tlb.switch_off)
        if running.hostname is not None or running.domainname is not None:
            self.tlb.now_named()
        self.filling = Filling(self.tlb, self.recorded, self.ns)
        self.ns.cache = self
        self.directories_changed, self.names_changed = self.tlb.directories_changed, self.tlb.names_changed
        self.directory_removed, self.inode_removed = self.tlb.directory_removed, self.tlb.inode_removed
        self.links_moving, self.file_copied_up = self.tlb.links_moving, self.tlb.file_copied_up
        self.nothing_recorded = self.recorded.inodes.put_nothing

    # -- processes

    def mode(self, task):
        """How far a process may use the fast path: as the host user, as virtual root, or not at all."""
        creds = task.creds
        if task.fs.root != b"/" or task.seccomp:
            return tlb.OFF
        if not creds.virtual:
            return tlb.PLAIN
        if task.fs.umask & 0o700:          # what it makes takes records of the mode
            return tlb.OFF
        if creds.ruid == creds.euid == creds.suid == creds.fsuid == 0 == creds.fsgid and creds.effective & FS_CAPS == FS_CAPS:
            return tlb.ROOT
        return tlb.OFF

    def loader(self, host, elf):
        """(host path, Elf) of what the stub maps in place of dynamic loader `host`."""
        return self._mapped(host, elf, self.image.program(host))

    def program(self, path, host, elf):
        """The same of program `host`; `path`: its guest path."""
        patched = self._patched_of(path)
        return self._mapped(host, elf, patched and patched.program(host))

    def _patched_of(self, path):
        """The Patched for the guest's file, or None: of the image for a lower one only. Copies of what users make would fill the
        cache, and be taken for those of a file that gets the inode of theirs one day."""
        try:
            node = None if path is None else self.ns.at(path)
        except OSError:                    # a program without a name, or one whose name is gone
            node = None
        if node is not None and node.mount.path == b"/" and node.kind == _S_IFREG and not node.upper:
            return self.image
        return self.own

    def _mapped(self, host, elf, copy):
        if copy is None:
            return host, elf
        path, segment = copy
        known = self._with_segment.get(path)
        if known is None or known[0] is not elf:
            if len(self._with_segment) > _LOADED:
                self._with_segment.clear()
            known = self._with_segment[path] = elf, elf.with_segment(segment)
            self.ns.host_names.know(path, host)
        return path, known[1]

    def _library(self, task, address, answer):
        """A file is opened as the dynamic loader does it: give it, and nobody else, the patched copy of a C library."""
        host = answer.args.get(1)
        if not isinstance(host, bytes) or not host.rsplit(b"/", 1)[-1].startswith(_LIBRARIES):
            return answer
        try:
            copy = self._copy_for_loader(task, address, host)
        except OSError:                    # the guest may have done anything to its memory, or to the name
            return answer
        return answer if copy is None else Run({1: copy})

    def _copy_for_loader(self, task, address, host):
        """The copy of library `host`, whose name is at `address`, or None. The stub gives it too, by the entry made here."""
        loading, = _WORD.unpack(task.read(FAST_LOADING, _WORD.size))
        patched = self._patched_of(self.ns.guest_path(host)) if loading else None
        copy = patched and patched.library(host)
        if copy is None:
            return None
        self.ns.host_names.know(copy, host)
        path = task.read_path(address)
        if path.endswith(b"/libc.so.6"):
            task.write(FAST_LOADING, _WORD.pack(tlb.NEARLY))
        if path[:1] == b"/":
            self.filling.put_library(task, path, host, copy)
        return copy

    def identity_changed(self, task, filtered=False):
        """The task's ids or root have changed: what the cache says may not be for it any more. filtered: it is about to get a
        filter of its own, which must see the guest's calls and not the stub's."""
        mode = self.mode(task) if len(task.group.tasks) == 1 and not filtered else tlb.OFF
        try:
            task.write(FAST_STATE, _WORD.pack(mode))
        except OSError:
            return

    def leaves_directory(self, task):
        """The task is about to change its current directory: what its process remembers of that is void. Whoever has it, or the
        memory, in common with other tasks remembers no more: those may be looking just now."""
        others = [other for other in self.running.tasks.values()
                  if other is not task and (other.fs is task.fs or other.memory is task.memory)]
        self._tell_of_directory(task, tlb.CWD_SHARED if others else tlb.CWD_UNKNOWN)
        for other in others:
            if other.memory is not task.memory:
                self._tell_of_directory(other, tlb.CWD_SHARED)

    @staticmethod
    def _tell_of_directory(task, known):
        memory = task.memory
        stopped_last, memory.tid = memory.tid, task.tid
        try:
            memory.write(FAST_CWD, _WORD.pack(known))
        except OSError:                    # it ends, or has no stub yet
            pass
        memory.tid = stopped_last

    def counts(self):
        """[(host path, sites patched, sites of no known form)] of the files that were loaded."""
        return self.image.counts() + (self.own.counts() if self.own is not None else [])

    # -- after a call

    def after(self, task, number, regs, answer, missed):
        """The handler has answered; `missed`: the call came from a patched site. The answer to give."""
        if missed:
            if number in FILLED and (number != _EXECVE or answer.__class__ is int):     # int: it can't be executed
                self.filling.fill(task, number, regs)
                if self.running.wall.by_flags:
                    self.hows.learn(number, regs)
            elif number == _RMDIR:
                self._reported((regs[RSI], regs[RDX]), regs[R10])
        if number == _OPENAT and regs[RDX] == _LOADER_FLAGS and answer.__class__ is Run:
            return self._library(task, regs[RSI], answer)
        if number in _CHANGING_DIRECTORY:
            self.leaves_directory(task)
        elif number in _NAMING:
            self.tlb.now_named()
        elif number in _IDENTITY or number == _UMASK and task.creds.virtual and regs[RDI] & 0o700:
            self.identity_changed(task, number in _FILTERING and answer.__class__ is RunHere)
        return answer

    def cut_short(self, number):
        """A signal took a task out of the stub after its call was made: perhaps before it could report that."""
        if number in CHANGING:
            self.ns.flush()

    def _reported(self, inode, gone):
        """The guest removed or renamed a file by itself while symlinks, or a record of that inode, were made."""
        self.ns.flush()
        self.ns.ownership.recheck(inode, gone)

