"""Gives a task a descriptor of the supervisor's as the result of its call, through a seccomp listener (seccomp_unotify(2)).

Landlock's rules are made once, before the machine starts: they can't name the files in /proc of a process that isn't there
yet, nor the terminal that a guest is about to make. So nothing of that is granted, and where the supervisor lets a guest open
such a file, it opens it itself. The task is sent into a system call that a filter of its own hands to the listener; only
the supervisor knows the word that must come with it.
"""

import ctypes
import fcntl
import os
import select
import struct
from errno import ENOSYS

from apppot.platform import libc

NUMBER = 183                               # afs_syscall: in no kernel
_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER = 317, 1, 8
_PR_SET_NO_NEW_PRIVS = 38
_RET_USER_NOTIF, _RET_ALLOW = 0x7FC00000, 0x7FFF0000
# <linux/seccomp.h>: SECCOMP_IOCTL_NOTIF_RECV, _SEND, _ADDFD; struct seccomp_notif, _notif_resp, _notif_addfd
_RECV, _SEND, _ADDFD = 0xC0502100, 0xC0182101, 0x40182103
_NOTIF, _RESPONSE, _ADD = struct.Struct("<QII64x"), struct.Struct("<QqiI"), struct.Struct("<QIIII")
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_PATIENCE = 50                             # milliseconds, after which the task is looked at: is it still on its way?
_ON_THE_WAY = b"RSDI"                      # states of proc(5) in which a task can be before, or in, the call


def _install(word):
    """Add the filter to this process; the listener's descriptor, or OSError."""
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    code = b"".join(struct.pack("<HBBI", *step) for step in (
        (_LOAD, 0, 0, 0), (_EQUAL, 0, 5, NUMBER),
        (_LOAD, 0, 0, 16), (_EQUAL, 0, 3, word & 0xFFFFFFFF),
        (_LOAD, 0, 0, 20), (_EQUAL, 0, 1, word >> 32),
        (_RETURN, 0, 0, _RET_USER_NOTIF), (_RETURN, 0, 0, _RET_ALLOW)))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer)))
    return libc.syscall("seccomp", _SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.addressof(program))


def channel():
    """Two connected sockets: for the supervisor, and for the process that becomes the first task."""
    from _socket import AF_UNIX, SOCK_STREAM, socketpair
    return socketpair(AF_UNIX, SOCK_STREAM, 0)


def send_listener(there, word):
    """In the child: make the listener and send it to the supervisor. Before Linux 5.9 there is nothing to send."""
    from _socket import SCM_RIGHTS, SOL_SOCKET
    try:
        listener = _install(word)
    except OSError:
        return
    there.sendmsg([b"l"], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", listener))])
    os.close(listener)


def receive(here, word):
    """The Handover that the child has sent the listener of, or None."""
    from _socket import CMSG_LEN
    _, messages, _, _ = here.recvmsg(1, CMSG_LEN(4))
    return Handover(struct.unpack("i", messages[0][2][:4])[0], word) if messages else None


class Handover:
    """`word`: what the call must be made with; `listener`: descriptor, closed when no task is left that has the filter."""

    def __init__(self, listener, word):
        self.listener, self.word = listener, word
        os.set_inheritable(listener, False)
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)

    def give(self, tid, fd, flags):
        """Task `tid` was sent into the call: its result becomes a duplicate of `fd`, with O_CLOEXEC if that is in `flags`.

        Until it is there, or dead or stopped again. Others that come meanwhile have found the word somewhere: they are refused.
        """
        while _state(tid) in _ON_THE_WAY:
            if not any(event & select.POLLIN for _, event in self._poll.poll(_PATIENCE)):
                continue
            notice = bytearray(_NOTIF.size)
            try:
                fcntl.ioctl(self.listener, _RECV, notice)
            except OSError:                # who called is gone, or has got a signal
                continue
            number, pid, _ = _NOTIF.unpack(notice)
            self._answer(number, *((0, -ENOSYS) if pid != tid else self._add(number, fd, flags)))
            if pid == tid:
                return

    def _add(self, number, fd, flags):
        """(value, error) for the answer: the descriptor that the task has got, or why there is none."""
        try:
            return fcntl.ioctl(self.listener, _ADDFD, bytearray(_ADD.pack(number, 0, fd, 0, flags & os.O_CLOEXEC))), 0
        except OSError as error:           # EMFILE
            return 0, -error.errno

    def _answer(self, number, value, error):
        try:
            fcntl.ioctl(self.listener, _SEND, bytearray(_RESPONSE.pack(number, value, error, 0)))
        except OSError:                    # it was killed, or a signal came first: then it makes its call again
            return

    def __del__(self):
        os.close(self.listener)


def _state(tid):
    """The letter of proc(5) for the task's state; X when it is gone."""
    try:
        with open(f"/proc/{tid}/stat", "rb", buffering=0) as file:
            return file.read().rpartition(b") ")[2][:1]
    except OSError:
        return b"X"
