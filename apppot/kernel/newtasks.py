"""New tasks: the events of fork, vfork and clone, and children that nobody announces."""

import struct

from apppot.kernel.task import Task, ThreadGroup
from apppot.platform import ptrace
from apppot.platform.layout import GADGET_RETURN
from apppot.platform.memory import Memory
from apppot.platform.registers import ARGUMENTS, ORIG_RAX, R8, R9, R10, RBX, RCX, RDI, RDX, RIP, RSI
from apppot.syscalls.table import NR_CLONE, NR_CLONE3

EVENTS = frozenset((ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE))

_NR_VFORK = 58
_CALLS = (NR_CLONE, 57, _NR_VFORK, NR_CLONE3)        # 57: fork
_SAVED_BY_GADGET = (RDI, RSI, RDX, R10, R8, R9, RBX, RIP)
_CLONE_VM, _CLONE_FS, _CLONE_FILES, _CLONE_THREAD = 0x100, 0x200, 0x400, 0x10000


class NewTasks:
    """Makes the Task of every new thread and process. `made`: processes so far.

    A child may stop for the first time before its parent's event is seen: its status waits in `early`.
    """

    def __init__(self, running, tracer, affinity, on_stop, on_copy=None):
        """`on_stop(tid, task, status)` deals with the first stop of a child that came too early; `on_copy(task)` is told
        of a task that has a copy of its parent's memory."""
        self.running, self.tasks, self.groups = running, running.tasks, running.groups
        self.tracer, self.affinity, self.on_stop = tracer, affinity, on_stop
        self.on_copy = on_copy
        self.early = {}                     # tid -> wait status
        self.made = 1

    def event(self, parent):
        """The parent's stop in fork, vfork or clone."""
        child = self.tracer.event_message(parent.tid)
        if self.running.task_count is not None:
            self.running.task_count.made(parent.tid)
        self.tracer.get(parent.tid)
        flags = self._flags(parent)
        self.affinity.forked(parent.tid, child, flags & _CLONE_THREAD)
        if child not in self.tasks:
            self._add(parent, child, flags, self._replaced(parent))
        if parent.after is None:
            self.tracer.cont(parent.tid)
        else:
            self.tracer.cont_to_exit_stop(parent.tid)

    def _flags(self, parent):
        """The CLONE_* flags of the call that the parent is in. The event's kind tells only of vfork and signal."""
        regs = self.tracer.regs
        number = regs[ORIG_RAX]
        if number == NR_CLONE:
            return regs[RDI]
        if number == NR_CLONE3:                # what it was sent to the window for: the guest can't change it
            try:
                return struct.unpack("Q", parent.read(regs[RDI], 8))[0]
            except OSError:                    # it was killed: nobody can tell of its child any more
                raise ptrace.TaskGone(parent.tid) from None
        return _CLONE_VM if number == _NR_VFORK else 0

    def _replaced(self, parent):
        """[(register, value)] of what was replaced in the registers that the child has got from the parent, or None."""
        if parent.saved is not None:
            return list(zip(ARGUMENTS, parent.saved))
        if self.tracer.regs[RIP] != GADGET_RETURN or parent.slot is None:
            return None
        saved = list(zip(_SAVED_BY_GADGET, self.running.window.saved(parent.slot)))
        saved.append((RCX, saved[-1][1]))
        return saved

    def _add(self, parent, tid, flags, replaced=None):
        if flags & _CLONE_THREAD:
            group = parent.group
        else:
            group = ThreadGroup(tid, parent.group.exe, parent.group.dumpable)
            self.made += 1
            if flags & _CLONE_FILES:
                parent.group.shares_descriptors = group.shares_descriptors = True
        memory = parent.memory if flags & _CLONE_VM else Memory(tid, parent.memory.has_window)
        fs = parent.fs if flags & _CLONE_FS else parent.fs.copy()
        task = Task(self.running, tid, group, memory, fs, parent.creds.copy())
        task.identity_filter, task.seccomp, task.handover = parent.identity_filter, parent.seccomp, parent.handover
        task.replaced = replaced
        self.tasks[tid], self.groups[group.tgid] = task, group
        if self.on_copy is not None and memory is not parent.memory:
            self.on_copy(task)
        early = self.early.pop(tid, None)
        if early is not None:
            try:
                self.on_stop(tid, task, early)
            except ptrace.TaskGone:
                return

    # -- children whose parent's event was lost, because the parent was killed before it stopped

    def adopt_orphans(self, model):
        """After a task has ended: take over children that wait and whose maker can't tell of them any more.

        `model`: a task to copy credentials and the like from.
        """
        for tid in list(self.early):
            status = _status(tid)
            if status is None or status["Tgid"] in self.groups and status["Tgid"] != tid:
                continue
            parent = self.groups.get(status["PPid"])
            if parent is None or not any(_may_be_cloning(other) for other in parent.tasks):
                self._add(model, tid, _CLONE_FILES)

    def adopt_children(self, task):
        """After exec of a group with several threads: children made by threads that exec ended."""
        for tid in list(self.early):
            status = _status(tid)
            if status is not None and status["Tgid"] == tid and status["PPid"] == task.tgid:
                self._add(task, tid, _CLONE_FILES)


def _status(tid):
    """{field: number} of /proc/TID/status, None when it is gone."""
    try:
        with open(f"/proc/{tid}/status", "rb") as file:
            fields = dict(line.split(b":\t", 1) for line in file.read().splitlines() if b":\t" in line)
    except OSError:
        return None
    return {name: int(fields[name.encode()]) for name in ("Tgid", "PPid")}


def _may_be_cloning(tid):
    """Whether the task runs or is in a call that makes tasks (/proc/TID/syscall)."""
    try:
        with open(f"/proc/{tid}/syscall", "rb") as file:
            number = file.read().split()[0]
    except OSError:
        return False
    return number == b"running" or int(number) in _CALLS
