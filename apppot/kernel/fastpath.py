"""Lets guests answer repeated path calls themselves: fills the translation cache, hands out patched libraries.

All of it only remembers: an entry is made after the slow path has answered a call whose site is patched, from the same
Directory that the answer came from. Which mistakes that must not make is said in platform/tlb.py and docs/architecture.md.
"""

import os
import struct

from apppot.kernel.credentials import FS_CAPS
from apppot.kernel.patching import NUMBERS, PatchedLibraries
from apppot.kernel.recorded import Recorded
from apppot.platform import tlb
from apppot.platform.layout import FAST_BODY, FAST_CODE, FAST_END, FAST_STATE, STUB_END
from apppot.platform.registers import (EFLAGS, ORIG_RAX, R8, R9, R10, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RIP,
                                       RSI, RSP)
from apppot.syscalls import programs
from apppot.syscalls.answer import Run
from apppot.syscalls.decode import Int
from apppot.syscalls.table import by_name
from apppot.vfs.caller import KERNEL, Caller

MISSED = 1 << 32                           # set in the number's register by the stub
_AT_FDCWD = -100
_S_IFREG, _S_IFDIR, _S_IFLNK = 0o100000, 0o040000, 0o120000
_FRAME = struct.Struct("<16Q")             # struct frame of stub/fast.h
_FRAME_SIZE = _FRAME.size + 128            # with the red zone below which it lies
_RESTART = frozenset((-512, -513, -514, -516))   # -ERESTART... of linux/errno.h
_LIBRARIES = (b"libc.so.6", b"libc-")
_LOADER_FLAGS = os.O_RDONLY | os.O_CLOEXEC

_NR = {name: by_name[name].number for name in ("open", "stat", "lstat", "access", "readlink", "openat", "newfstatat",
                                               "readlinkat", "faccessat", "statx", "getdents64", "getcwd")}
_OPENAT = _NR["openat"]
# Of these calls the first argument is a descriptor, the second the path.
_AT_CALLS = frozenset(_NR[name] for name in ("openat", "newfstatat", "readlinkat", "faccessat", "statx"))
_IDENTITY = frozenset(by_name[name].number for name in (
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset",
    "chroot", "seccomp", "prctl", "unshare"))


class FastPath:
    """`libraries`: the patched copies. Made only where Landlock is the wall (DESIGN §4.2)."""

    def __init__(self, running, cache_directory):
        self.running, self.ns = running, running.ns
        self.tlb = tlb.Tlb(running.window.memory, os.getuid(), os.getgid())
        self.libraries = PatchedLibraries(cache_directory, [prefix for prefix, _ in self.ns.root.fs.recorded])
        self.plain = Caller(uid=os.getuid(), gid=os.getgid(), groups=tuple(os.getgroups()))
        self.recorded = Recorded(running.window.memory, self.ns.ownership.records, self.tlb.now_recorded)
        self.ns.cache = self
        self.directories_changed, self.names_changed = self.tlb.directories_changed, self.tlb.names_changed
        self.nothing_recorded = self.recorded.inodes.put_nothing

    # -- processes

    def mode(self, task):
        """How far a process may use the fast path: as the host user, as virtual root, or not at all."""
        creds = task.creds
        if task.fs.root != b"/" or task.seccomp:
            return tlb.OFF
        if not creds.virtual:
            return tlb.PLAIN
        if creds.ruid == creds.euid == creds.suid == creds.fsuid == 0 == creds.fsgid and creds.effective & FS_CAPS == FS_CAPS:
            return tlb.ROOT
        return tlb.OFF

    def is_of_image(self, path):
        """Whether the guest's file is a lower one: patched copies of what users compile would fill the cache."""
        try:
            node = self.ns.at(path)
        except OSError:                    # a program without a name, or one whose name is gone
            return False
        return node.mount.path == b"/" and node.kind == _S_IFREG and not node.upper

    def patched(self, host):
        """(host path, Elf) of what the stub maps in place of dynamic loader, or static program, `host`."""
        copy = self.libraries.copy_of(host)
        if copy is not None:
            self.ns.host_names.know(copy, host)
        return programs.loader(copy or host)

    def library(self, task, answer):
        """The dynamic loader opens the C library, once in each program: give it the patched copy."""
        host = answer.args.get(1)
        if not isinstance(host, bytes):
            return answer
        name = host.rsplit(b"/", 1)[-1]
        if not name.startswith(_LIBRARIES):
            return answer
        task.group.loading = False
        copy = self.libraries.copy_of(host)
        if copy is None:
            return answer
        self.ns.host_names.know(copy, host)
        return Run({1: copy})

    def identity_changed(self, task):
        """The task's ids, root or filters are about to change: what the cache says may not be for it any more."""
        mode = self.mode(task) if len(task.group.tasks) == 1 else tlb.OFF
        try:
            task.write(FAST_STATE, struct.pack("<I", mode))
        except OSError:
            return

    # -- after a call

    def after(self, task, number, regs, answer, missed):
        """The handler has answered; `missed`: the call came from a patched site. The answer to give."""
        if missed and number in NUMBERS:
            self._fill(task, number, regs)
        if number == _OPENAT and task.group.loading and answer.__class__ is Run and regs[RDX] == _LOADER_FLAGS:
            return self.library(task, answer)
        if number in _IDENTITY:
            self.identity_changed(task)
        return answer

    def _fill(self, task, number, regs):
        try:
            if number == _NR["getcwd"]:
                self._put_cwd(task)
            elif number == _NR["getdents64"]:
                self._put_descriptor(task, Int(task, regs[RDI]))
            elif number in _AT_CALLS:
                path = task.read_path(regs[RSI])
                if path:
                    self._put(task, Int(task, regs[RDI]), path)
                elif number == _NR["newfstatat"]:
                    self._put_descriptor(task, Int(task, regs[RDI]))
            else:
                self._put(task, _AT_FDCWD, task.read_path(regs[RDI]))
        except OSError:
            return

    def _put_cwd(self, task):
        path = task.caller.cwd
        node = self.ns.at(path)
        if node.kind != _S_IFDIR or not self.ns.has_one_name(node.mount):
            return
        status = os.stat(b"/proc/%d/cwd" % task.tid)
        self.tlb.put(tlb.CWD, (status.st_dev, status.st_ino), b"", tlb.PURE, 0, path)

    def _put_descriptor(self, task, fd):
        path = self.ns.guest_path(task.fd_link(fd))
        if path is None:
            return
        node = self.ns.at(path)
        if node.kind == _S_IFDIR:
            status = task.fd_stat(fd)
            self._put_open_directory(node, (status.st_dev, status.st_ino))

    def _put(self, task, dirfd, path):
        head, slash, name = path.rpartition(b"/")
        if name in (b"", b".", b"..") or name.startswith(b".wh."):
            return
        base, start = (0, 0), None
        if path[:1] != b"/":
            start = task.directory(dirfd)
            status = os.stat(b"/proc/%d/cwd" % task.tid) if dirfd == _AT_FDCWD else task.fd_stat(dirfd)
            base = status.st_dev, status.st_ino
        directory = self.ns.known_directory(task.caller, path, start)
        if directory is None:
            return
        for_root = 0
        if task.caller.virtual and self.plain.uid and not self.ns.plain_may_search(task.caller, path, start):
            for_root = tlb.FOR_ROOT
        pure = self._put_directory(directory, base, head, for_root)
        if directory.fs.cached:
            node = directory.fixed.get(name) or directory.fs.lookup(task.caller, directory, name)
            if pure and node.kind:
                self._put_inode(directory, node)
            self._put_name(task, directory, (base, path, start), node, pure, for_root)

    def _put_open_directory(self, node, key):
        """The entry of a directory that guests have open; `key`: its (st_dev, st_ino)."""
        directory = self.ns.directory(KERNEL, node)
        try:
            directory.fs.search(self.plain, directory)
        except OSError:
            self._put_directory(directory, key, b"", tlb.FOR_ROOT)
        else:
            self._put_directory(directory, key, b"", 0)

    def _put_inode(self, directory, node):
        """What is recorded of an existing file in a directory that is `native`."""
        of_layer = directory.fs.recorded_below(directory)
        key = self.recorded.missed(node, of_layer)
        if of_layer and node.kind == _S_IFDIR:
            self._put_open_directory(node, key)     # whoever looks at it will open it next
        elif of_layer:
            self.recorded.missed_in(directory)

    def _put_directory(self, directory, base, text, for_root):
        """The entry of a directory; whether names in it need none of their own. for_root: the flag or 0."""
        native = None if directory.mounts else directory.fs.native(directory)
        if native is not None and not text and base != (0, 0):
            status = os.lstat(native[0])   # a descriptor may be of a lower directory that was renamed since
            if (status.st_dev, status.st_ino) != base:
                native = None
        if native is None:
            self.tlb.put(tlb.DIRECTORY, base, text, tlb.MERGED, 0, b"")
            return False
        host, writable, verify = native
        flags = for_root
        if directory.fs.plain_directory(directory):
            flags |= tlb.LISTABLE
        if writable:
            flags |= tlb.WRITABLE
            if self.recorded.records and self.ns.ownership.of(os.lstat(host)) is not None:
                flags |= tlb.OWNED
        if directory.fs.recorded_below(directory):
            flags |= tlb.RECORDED
        elif self.ns.nothing_below(directory):
            flags |= tlb.DEEP
        identity = (0, 0)
        if verify:
            status = os.lstat(host)
            flags, identity = flags | tlb.VERIFY, (status.st_dev, status.st_ino)
        if flags & tlb.RECORDED and not text and self.recorded.inodes.put_directory(base, self.tlb.generation, flags):
            return True
        self.tlb.put(tlb.DIRECTORY, base, text, tlb.PURE, flags, host, identity)
        return True

    def _put_name(self, task, directory, key, node, pure, flags):
        """The entry of a whole name: of a file, a directory or nothing in a merged directory, of a file behind a symlink."""
        base, path, start = key
        name = node.name
        if node.kind == _S_IFLNK:
            node = self.ns.resolve(task.caller, path, start)
            flags |= tlb.LINK
        elif pure:
            return
        elif node.kind == _S_IFDIR:
            self.tlb.put(tlb.NAME, base, path, tlb.PLACE, flags, b"")
        if node.kind == _S_IFREG and node.mount.fs.cached:
            of_layer = node.mount.fs.recorded_file(node)
            self.recorded.missed(node, of_layer)
            self.tlb.put(tlb.NAME, base, path, tlb.FILE, flags | (tlb.RECORDED if of_layer else 0), node.host)
        elif not node.kind and not pure and name not in directory.given_out:
            self.tlb.put(tlb.NAME, base, path, tlb.ABSENT, flags, b"")

    # -- signals

    def leave(self, task, tracer):
        """A signal is about to be delivered; the registers are fetched. True when they were changed.

        In the stub's code, before anything was done, or in a call that the kernel will restart or end with EINTR, the
        task is put to its own site, so that handlers and unwinders never see the stub.
        """
        regs = tracer.regs
        rip = regs[RIP]
        if not (FAST_BODY <= rip < FAST_END or FAST_CODE <= rip < STUB_END) or not regs[R15]:
            return False
        try:
            frame = _FRAME.unpack(task.memory.read(regs[R15], _FRAME.size))
        except OSError:
            return False
        committed, r15, r14, r13, r12, rbp, rbx, r9, r8, r10, rdx, rsi, rdi, number, site, flags = frame
        result = regs[RAX] - (1 << 64) if regs[RAX] >> 63 else regs[RAX]
        restarting = regs[ORIG_RAX] >> 63 == 0 and result in _RESTART
        if committed and not restarting:
            return False
        if restarting:
            regs[RIP], regs[ORIG_RAX] = site + 2, number
        else:
            regs[RIP], regs[RAX], regs[ORIG_RAX] = site, number | MISSED, (1 << 64) - 1
        regs[RSP] = regs[R15] + _FRAME_SIZE
        (regs[R15], regs[R14], regs[R13], regs[R12], regs[RBP], regs[RBX], regs[R9], regs[R8], regs[R10], regs[RDX],
         regs[RSI], regs[RDI], regs[RCX], regs[EFLAGS]) = (r15, r14, r13, r12, rbp, rbx, r9, r8, r10, rdx, rsi, rdi, site,
                                                            flags)
        return True

