"""Carries out what handlers answer: sets registers, sends the task through the gadget, puts back what was replaced."""

import os
from errno import E2BIG, ENOSYS, EPERM

from apppot.kernel.placing import NoRoom, place
from apppot.platform import handover
from apppot.platform.layout import GADGET, GADGET_END, WINDOW_BASE
from apppot.platform.registers import ARGUMENTS, ORIG_RAX, R8, R9, R10, RAX, RBX, RCX, RDI, RDX, RIP, RSI
from apppot.syscalls.answer import NATIVE, Give, RunHere
from apppot.syscalls.table import NR_CLONE, NR_CLONE3

_MASK = 0xFFFFFFFFFFFFFFFF


class Answers:
    """What is done to stopped tasks. The tracer's register buffer holds the task's registers at the seccomp stop."""

    def __init__(self, running, tracer, tracing):
        self.running, self.window = running, running.window
        self.tracer, self.regs, self.tracing = tracer, tracer.regs, tracing
        self.of_stub = running.wall.of_stub

    def give(self, task, number, answer):
        """Let the task go on from the seccomp stop of system call `number` with the handler's answer."""
        tracer, regs, tid = self.tracer, self.regs, task.tid
        if answer is NATIVE:
            tracer.cont(tid)
        elif answer.__class__ is int:
            regs[ORIG_RAX] = _MASK
            regs[RAX] = answer & _MASK
            tracer.set(tid)
            tracer.cont(tid)
        elif answer.__class__ is Give:
            self._hand_over(task, answer)
        elif not task.memory.has_window and any(value.__class__ is not int for value in answer.args.values()):
            # Only while it is loaded, unless another process interfered with that.
            self.give(task, number, -EPERM)
        else:
            try:
                placed = place(self.window, task, answer.args)
            except NoRoom:
                task.program = None
                task.group.exec_by.discard(task.tid)
                return self.give(task, number, -self._no_room())
            if answer.__class__ is RunHere:
                self._run_here(task, answer, placed)
            elif (number if answer.number is None else answer.number) in self.of_stub:
                self._run(task, number if answer.number is None else answer.number, placed)
            else:
                self._run_here(task, RunHere(answer.args, None, answer.number), placed)

    def _run(self, task, number, placed):
        """Send the task through the stub's gadget."""
        regs, slot = self.regs, task.slot
        self.window.save(slot, regs[RDI], regs[RSI], regs[RDX], regs[R10], regs[R8], regs[R9], regs[RBX], regs[RIP])
        for register, value in placed:
            regs[register] = value
        regs[RBX] = WINDOW_BASE + slot
        regs[RIP] = GADGET
        regs[RAX] = number
        regs[ORIG_RAX] = _MASK
        self.tracer.set(task.tid)
        self.tracer.cont(task.tid)

    def _run_here(self, task, answer, placed):
        """Let the task make the call at its own site, and stop it at the end to put its registers back."""
        regs = self.regs
        task.saved = [regs[register] for register in ARGUMENTS]
        task.after = answer.after or _unchanged
        for register, value in placed:
            regs[register] = value
        if answer.number is not None:
            task.number = regs[ORIG_RAX]
            regs[ORIG_RAX] = answer.number
        self.tracer.set(task.tid)
        self.tracer.cont_to_exit_stop(task.tid)

    def _hand_over(self, task, answer):
        """Send the task into the call that the listener answers."""
        handed = task.handover
        try:
            self._run_here(task, RunHere({}, None, handover.NUMBER), [(RDI, handed.word)])
            handed.give(task.tid, answer.fd, answer.flags)
        finally:
            os.close(answer.fd)

    def exit_stop(self, task):
        """The end of a call made at the task's own site."""
        tracer, regs, tid = self.tracer, self.regs, task.tid
        tracer.get(tid)
        result = regs[RAX]
        if result > 1 << 63:
            result -= 1 << 64
        if task.saved is not None:
            for register, value in zip(ARGUMENTS, task.saved):
                regs[register] = value
            if task.number is not None:        # the kernel restarts an interrupted call by this number
                regs[ORIG_RAX], task.number = task.number, None
            after, task.after, task.saved = task.after, None, None
            try:
                new = after(task, result)
            except OSError as error:
                new = -(error.errno or ENOSYS)
            except Exception as error:
                new = -self.running.bug("the end of a call", error)
            if new is not None and new != result:
                result = new
                regs[RAX] = new & _MASK
            tracer.set(tid)
        if self.tracing is not None:
            self.tracing.result(task, result)
        tracer.cont(tid)

    # -- signals

    def leave_gadget(self, task):
        """A signal is about to be delivered. If it interrupts the gadget, the guest must not see that.

        The task is put where it would be had it made the call natively, just after its own `syscall`. Before the call
        is made (rip at the gadget's start) it goes back to its own `syscall`. Interrupted in the call (rip behind it,
        orig_rax still set) the kernel restarts it, if it does, at the guest's own site: it traps again.
        The registers are fetched. True when they were changed.
        """
        regs = self.regs
        if not GADGET <= regs[RIP] < GADGET_END:
            return False
        rdi, rsi, rdx, r10, r8, r9, rbx, rip = self.window.saved(task.slot)
        regs[RDI], regs[RSI], regs[RDX], regs[R10], regs[R8], regs[R9], regs[RBX] = rdi, rsi, rdx, r10, r8, r9, rbx
        number = RAX                           # where the kernel finds the call's number when it is made once more
        if regs[RIP] == GADGET:
            regs[RIP] = rip - 2
        else:
            regs[RIP] = regs[RCX] = rip
            number = ORIG_RAX
        if regs[number] == NR_CLONE:           # it is made in place of clone3 only
            regs[number] = NR_CLONE3
        return True

    def restore_child(self, task):
        """The registers of a new task whose parent made the call with replaced arguments."""
        self.tracer.get(task.tid)
        for register, value in task.replaced:
            self.regs[register] = value
        self.tracer.set(task.tid)
        task.replaced = None

    def release(self, task):
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

    def _no_room(self):
        self.running.warn_once("room", "the window is full: too many tasks, or too long an argument list of a script")
        return E2BIG


def _unchanged(task, result):
    return None
