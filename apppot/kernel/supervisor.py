"""The supervisor's loop: wait for a task to stop, find out why, answer, go on.

Order of a task's stops that the loop relies on (ptrace(2)): a seccomp stop comes before the call is made; a call
resumed from it with cont() does not stop again, resumed with cont_to_exit_stop() it stops once at its end; the events
of fork, vfork and clone come in the parent, before or after the child's first stop; the exec event comes with the
thread group's own number, when the other threads are gone and the new address space is there.
"""

import os
import signal
import struct
from errno import E2BIG, ENOSYS

from apppot.kernel import loading
from apppot.kernel.placing import NoRoom, place
from apppot.kernel.task import Task, ThreadGroup
from apppot.platform import ptrace
from apppot.platform.affinity import Affinity
from apppot.platform.layout import GADGET, GADGET_END, MAILBOX, WINDOW_BASE
from apppot.platform.memory import Memory
from apppot.platform.ptrace import TaskGone, Tracer
from apppot.platform.registers import (ARGUMENTS, ORIG_RAX, R8, R9, R10, RAX, RBX, RCX, RDI, RDX, RIP, RSI)
from apppot.syscalls import dispatch
from apppot.syscalls.answer import NATIVE, Run, RunHere

_MASK = 0xFFFFFFFFFFFFFFFF
_SECCOMP_STATUS = ptrace.EVENT_SECCOMP << 16 | signal.SIGTRAP << 8 | 0x7F
_EXIT_STOP = signal.SIGTRAP | 0x80          # PTRACE_O_TRACESYSGOOD
_STOP_SIGNALS = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
_CLONE_EVENTS = frozenset((ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE))

_NR_CLONE, _NR_FORK, _NR_VFORK, _NR_CLONE3 = 56, 57, 58, 435
_CLONE_VM, _CLONE_FS, _CLONE_THREAD = 0x100, 0x200, 0x10000


class Supervisor:
    """Runs the tasks of one RunningMachine until its first process has ended, then ends the rest."""

    def __init__(self, running, filters, rules=None, stats=None, tracing=None):
        """`filters`: addresses in the window of the base filter's and the identity filter's struct sock_fprog.

        `rules`: descriptor, inherited by the first task, of its Landlock rule set, or None.
        """
        self.running = running
        self.tasks, self.groups = running.tasks, running.groups
        self.window = running.window
        self.base_filter, self.identity_filter = filters
        self.rules = rules
        self.stats, self.tracing = stats, tracing
        self.processes = 1                  # made so far
        self.tracer = Tracer()
        self.affinity = running.affinity = Affinity()
        self.regs = self.tracer.regs
        self.main = None                    # tgid of the first process
        self.status = None                  # its wait status
        self._early = {}                    # tid -> status of children that stopped before their parent's event
        self._first = None

    # -- start and end

    def start(self, task, spawn):
        """Start `task.program` in the process that `spawn()` makes: it waits to be seized, then execs the stub."""
        pid, go = spawn()
        self.tracer.seize(pid)
        task.tid = pid
        task.group.tgid = pid
        task.group.tasks = {pid}
        task.caller.tid = task.caller.tgid = pid
        self.tasks[pid], self.groups[pid] = task, task.group
        self.main, self._first = pid, task
        go()

    def run(self):
        """The wait status of the machine's first process."""
        waitpid, tasks, stopped = os.waitpid, self.tasks, self.affinity.stop
        while True:
            try:
                tid, status = waitpid(-1, ptrace.WALL)
            except ChildProcessError:
                break
            task = tasks.get(tid)
            try:
                if status == _SECCOMP_STATUS and task is not None:
                    stopped(tid)
                    self._on_syscall(task)
                else:
                    self._on_stop(tid, task, status)
            except TaskGone:
                continue
        return self.status

    def end_all(self):
        """Kill every task; the loop then collects them."""
        for tgid in list(self.groups):
            try:
                os.kill(tgid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for tid in self._early:
            os.kill(tid, signal.SIGKILL)

    # -- stops

    def _on_stop(self, tid, task, status):
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            self._on_exit(tid, task, status)
        elif self.status is not None:           # the machine is ending
            os.kill(tid, signal.SIGKILL)
            self.tracer.cont(tid)
        elif task is None:
            self._early[tid] = status
        else:
            event, stopsig = status >> 16, status >> 8 & 0xFF
            if event == 0:
                if stopsig == _EXIT_STOP:
                    self._on_exit_stop(task)
                else:
                    self._on_signal(task, stopsig)
            elif event in _CLONE_EVENTS:
                self._on_clone(task, event)
            elif event == ptrace.EVENT_EXEC:
                self._on_exec(task)
            elif event == ptrace.EVENT_STOP and stopsig in _STOP_SIGNALS:
                self.tracer.listen(tid)
                self.running.stopped_tasks.add(tid)
                self._on_group_stop(task)
            else:
                self._on_start(task)

    def _on_exit(self, tid, task, status):
        self._early.pop(tid, None)
        if task is not None:
            self._forget(task)
        if tid == self.main:
            self.status = status
            self.end_all()
        if self._early:
            self._adopt_orphans()

    def _forget(self, task):
        del self.tasks[task.tid]
        group = task.group
        group.tasks.discard(task.tid)
        task.fs.users -= 1
        self.running.stopped_tasks.discard(task.tid)
        self._release(task)
        if not group.tasks:
            group.close()
            self.groups.pop(group.tgid, None)

    def _release(self, task):
        """Give back what a task had for the call it was in."""
        if task.scratch is not None:
            self.running.procfs.forget(task.scratch)
            task.scratch = None
        if task.slot is not None:
            self.window.free_slot(task.slot)
            task.slot = None
        if task.vector is not None:
            self.window.free_vector(task.vector)
            task.vector = None

    def _on_group_stop(self, task):
        """Ctrl-Z in the caller's shell stops the caller's job: us too, as soon as the guest has stopped."""
        try:
            if task.tid == self.main and os.getpgid(task.tid) == os.getpgrp():
                os.kill(os.getpid(), signal.SIGSTOP)
        except ProcessLookupError:
            return

    def _on_start(self, task):
        """A new task's first stop, or the notice that a group stop has ended."""
        self.running.stopped_tasks.discard(task.tid)
        if task.clone_saved is not None:
            self.tracer.get(task.tid)
            for register, value in zip(ARGUMENTS, task.clone_saved):
                self.regs[register] = value
            self.tracer.set(task.tid)
            task.clone_saved = None
        self.tracer.cont(task.tid)

    def _on_signal(self, task, signum):
        """A signal is about to be delivered. If it interrupts the gadget, the guest must not see that."""
        if task.slot is not None:
            self.tracer.get(task.tid)
            if GADGET <= self.regs[RIP] < GADGET_END:
                self._leave_gadget(task)
        self.tracer.cont(task.tid, signum)

    def _leave_gadget(self, task):
        """Put the task where it would be had it made the call natively, just after its own `syscall`.

        Before the call is made (rip at the gadget's start) it goes back to its own `syscall`. Interrupted in the call
        (rip behind it, orig_rax still set) the kernel restarts it, if it does, at the guest's own site: it traps again.
        """
        regs = self.regs
        rdi, rsi, rdx, r10, r8, r9, rbx, rip = self.window.saved(task.slot)
        regs[RDI], regs[RSI], regs[RDX], regs[R10], regs[R8], regs[R9], regs[RBX] = rdi, rsi, rdx, r10, r8, r9, rbx
        if regs[RIP] == GADGET:
            regs[RIP] = rip - 2
        else:
            regs[RIP] = regs[RCX] = rip
        self.tracer.set(task.tid)

    # -- new tasks

    def _on_clone(self, parent, event):
        child = self.tracer.event_message(parent.tid)
        if self.affinity.pinned:
            self.affinity.release(child if self.affinity.pinned == parent.tid else 0)
        self._new_task(parent, child, self._clone_flags(parent, event))
        self.tracer.cont(parent.tid) if parent.after is None else self.tracer.cont_to_exit_stop(parent.tid)

    def _clone_flags(self, parent, event):
        if event == ptrace.EVENT_FORK:
            return 0
        if parent.clone_flags is not None:
            return parent.clone_flags
        self.tracer.get(parent.tid)
        number = self.regs[ORIG_RAX]
        if number == _NR_CLONE:
            return self.regs[RDI]
        if number == _NR_CLONE3:
            return struct.unpack("Q", parent.read(self.regs[RDI], 8))[0]
        return _CLONE_VM if event == ptrace.EVENT_VFORK else 0

    def _new_task(self, parent, tid, flags):
        if flags & _CLONE_THREAD:
            group = parent.group
        else:
            group = ThreadGroup(tid, parent.group.exe)
            self.processes += 1
        memory = parent.memory if flags & _CLONE_VM else Memory(tid)
        fs = parent.fs if flags & _CLONE_FS else parent.fs.copy()
        task = Task(self.running, tid, group, memory, fs, parent.creds.copy())
        task.identity_filter = parent.identity_filter
        task.clone_saved = parent.saved
        self.tasks[tid], self.groups[group.tgid] = task, group
        early = self._early.pop(tid, None)
        if early is not None:
            try:
                self._on_stop(tid, task, early)
            except TaskGone:
                return

    def _adopt_orphans(self):
        """A task killed before its clone event was seen leaves a stopped child that nobody knows: take it over."""
        for tid in list(self._early):
            try:
                with open(f"/proc/{tid}/status", "rb") as file:
                    fields = dict(line.split(b":\t", 1) for line in file.read().splitlines() if b":\t" in line)
            except OSError:
                continue
            tgid, parent = int(fields[b"Tgid"]), int(fields[b"PPid"])
            if tgid in self.groups and tgid != tid or parent in self.groups or not self.tasks:
                continue
            model = self.tasks.get(self.main) or next(iter(self.tasks.values()))
            self._new_task(model, tid, 0)

    # -- exec

    def _on_exec(self, task):
        former = self.tracer.event_message(task.tid)
        if former != task.tid:
            task = self._take_over(task, former)
        for other in [self.tasks[tid] for tid in task.group.tasks if tid != task.tid and tid in self.tasks]:
            self._forget(other)
        program, task.program = task.program, None
        if program is None:                 # not through us: somebody jumped into the stub
            os.kill(task.tid, signal.SIGKILL)
            self.tracer.cont(task.tid)
            return
        self._release(task)
        if self.tracing is not None:
            self.tracing.result(task, 0)
        task.saved = task.after = task.clone_flags = None
        task.memory = Memory(task.tid)
        task.creds = program.creds or task.creds.after_exec(program.set_uid, program.set_gid)
        task.group.exe = program.path
        task.group.dumpable = 1
        first = task is self._first
        self._first = None
        filters = [self.base_filter] if first else []
        if not task.identity_filter and (task.creds.virtual or self.running.has_records):
            filters.append(self.identity_filter)
            task.identity_filter = True
        task.memory.write(MAILBOX, loading.operations(program, task.creds, self.window, filters, first, self.rules))
        self.tracer.cont(task.tid)

    def _take_over(self, leader, former):
        """A thread other than the leader called execve: it goes on under the leader's number."""
        task = self.tasks.pop(former)
        task.group.tasks.discard(former)
        if leader is not None and leader is not task:
            self._release(leader)
        task.tid = task.caller.tid = task.group.tgid
        task.group.tasks.add(task.tid)
        self.tasks[task.tid] = task
        return task

    # -- system calls

    def _on_syscall(self, task):
        tracer, regs, tid = self.tracer, self.regs, task.tid
        if self.status is not None:
            os.kill(tid, signal.SIGKILL)
            tracer.cont(tid)
            return
        tracer.get(tid)
        number = regs[ORIG_RAX]
        task.program = None
        if task.scratch is not None:
            self.running.procfs.forget(task.scratch)
            task.scratch = None
        if self.stats is not None:
            self.stats.count(number)
        entry = dispatch.entry(number)
        try:
            if entry is None:
                answer = -self._unknown(number)
            else:
                handler, decoders = entry
                answer = handler(task, *[regs[ARGUMENTS[index]] if decode is None
                                         else decode(task, regs[ARGUMENTS[index]]) for index, decode in decoders])
        except OSError as error:
            answer = -(error.errno or ENOSYS)
        except TaskGone:
            raise
        except Exception as error:
            answer = -self._bug(number, error)
        if self.tracing is not None:
            self.tracing.call(task, number, [regs[register] for register in ARGUMENTS], answer)
            if answer is NATIVE:
                answer = RunHere({})
            elif answer.__class__ is Run:
                answer = RunHere(answer.args)  # with a stop at its end, to see the result
        self._answer(task, number, answer)

    def _answer(self, task, number, answer):
        tracer, regs, tid = self.tracer, self.regs, task.tid
        if answer is NATIVE:
            tracer.cont(tid)
        elif answer.__class__ is int:
            regs[ORIG_RAX] = _MASK
            regs[RAX] = answer & _MASK
            tracer.set(tid)
            tracer.cont(tid)
        elif answer.__class__ is RunHere:
            self._run_here(task, number, answer)
        else:
            self._run(task, number, answer.args)

    def _run(self, task, number, args):
        """Send the task through the stub's gadget."""
        regs = self.regs
        try:
            placed = place(self.window, task, args)
        except NoRoom:
            return self._answer(task, number, -self._no_room())
        slot = task.slot
        self.window.save(slot, regs[RDI], regs[RSI], regs[RDX], regs[R10], regs[R8], regs[R9], regs[RBX], regs[RIP])
        for register, value in placed:
            regs[register] = value
        regs[RBX] = WINDOW_BASE + slot
        regs[RIP] = GADGET
        regs[RAX] = number
        regs[ORIG_RAX] = _MASK
        self.tracer.set(task.tid)
        self.tracer.cont(task.tid)

    def _run_here(self, task, number, answer):
        """Let the task make the call at its own site, and stop it at the end to put its registers back."""
        regs = self.regs
        try:
            placed = place(self.window, task, answer.args)
        except NoRoom:
            return self._answer(task, number, -self._no_room())
        task.saved = [regs[register] for register in ARGUMENTS]
        task.after = answer.after or _unchanged
        for register, value in placed:
            regs[register] = value
        if answer.number is not None:
            regs[ORIG_RAX] = answer.number
        self.tracer.set(task.tid)
        self.tracer.cont_to_exit_stop(task.tid)

    def _on_exit_stop(self, task):
        """The end of a call made at the task's own site."""
        tracer, regs, tid = self.tracer, self.regs, task.tid
        tracer.get(tid)
        result = regs[RAX]
        if result > 1 << 63:
            result -= 1 << 64
        if task.saved is not None:
            for register, value in zip(ARGUMENTS, task.saved):
                regs[register] = value
            after, task.after, task.saved, task.clone_flags = task.after, None, None, None
            try:
                new = after(task, result)
            except OSError as error:
                new = -error.errno
            if new is not None and new != result:
                result = new
                regs[RAX] = new & _MASK
            tracer.set(tid)
        if self.tracing is not None:
            self.tracing.result(task, result)
        tracer.cont(tid)

    # -- what must not happen

    def _unknown(self, number):
        self.running.warn_once(number, f"system call {number} ({dispatch.name(number)}) is not supported: ENOSYS")
        return ENOSYS

    def _no_room(self):
        self.running.warn_once("room", "the window is full: too many tasks, or too long an argument list of a script")
        return E2BIG

    def _bug(self, number, error):
        self.running.warn_once(("bug", number), f"internal error in {dispatch.name(number)}: "
                                                f"{type(error).__name__}: {error}")
        if self.running.machine.verbose:
            import traceback
            traceback.print_exc()
        return ENOSYS


def _unchanged(task, result):
    return None
