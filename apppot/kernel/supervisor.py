"""The supervisor's loop: wait for a task to stop, find out why, answer, go on.

Order of a task's stops that the loop relies on (ptrace(2)): a seccomp stop comes before the call is made; a call
resumed from it with cont() does not stop again, resumed with cont_to_exit_stop() it stops once at its end; the events
of fork, vfork and clone come in the parent, before or after the child's first stop; the exec event comes with the
thread group's own number, when the other threads are gone and the new address space is there.
"""

import os
import signal
from collections import deque
from errno import ENOSYS

from apppot.errors import AppPotError
from apppot.kernel import interrupted, newtasks
from apppot.kernel.answers import Answers
from apppot.kernel.execs import OF_LOADER, Execs
from apppot.kernel.jobcontrol import STOP_SIGNALS, JobControl
from apppot.kernel.newtasks import NewTasks
from apppot.kernel.signals import kill
from apppot.kernel.workers import Workers
from apppot.platform import ptrace
from apppot.platform.affinity import Affinity
from apppot.platform.layout import STUB_BASE, STUB_END
from apppot.platform.memory import Memory
from apppot.platform.ptrace import TaskGone, Tracer
from apppot.platform.registers import ARGUMENTS, ORIG_RAX, RIP
from apppot.syscalls import dispatch
from apppot.syscalls.answer import NATIVE, Later, Run, RunHere

_SECCOMP_STATUS = ptrace.EVENT_SECCOMP << 16 | signal.SIGTRAP << 8 | 0x7F
_EXIT_STOP = signal.SIGTRAP | 0x80          # PTRACE_O_TRACESYSGOOD
_TURNS = 8                                  # stops served before everybody's turn comes
_FAULTS = frozenset((signal.SIGSEGV, signal.SIGBUS))
_STRICT = 1                                 # Task.seccomp


class Supervisor:
    """Runs the tasks of one RunningMachine until its first process has ended, then ends the rest."""

    def __init__(self, running, filters, rules=None, stats=None, tracing=None):
        """`filters`: addresses in the window of struct sock_fprog of the base filter, the identity filter and that for owners.

        `rules`: descriptor, inherited by the first task, of its Landlock rule set, or None.
        """
        self.running = running
        self.tasks, self.groups = running.tasks, running.groups
        self.stats, self.tracing = stats, tracing
        self.tracer = Tracer()
        self.regs = self.tracer.regs
        self.affinity = running.affinity = Affinity()
        self.answers = Answers(running, self.tracer, tracing)
        self.new_tasks = NewTasks(running, self.tracer, self.affinity, self._on_stop, stats and stats.begin)
        self.execs = Execs(running, self.tracer, self.answers, filters, rules, tracing)
        self.workers = Workers(self.affinity)
        self.stub_alone = running.wall.loads_alone
        self.job_control = None
        self.fast = None                    # the FastPath, where there is one
        self.main = None                    # tgid of the first process
        self.status = None                  # its wait status
        self.then = lambda status: False    # called when it has ended: whether another one was started in its place
        self._queue = deque()               # stops to be served: (tid, wait status)
        self._calls = {}                    # number -> what _call() made

    @property
    def processes(self):
        """How many there have been."""
        return self.new_tasks.made

    # -- start and end

    def start(self, task, spawn):
        """Start `task.program` in the process that `spawn()` makes: it waits to be seized, then execs the stub."""
        pid, task.handover, go = spawn()
        try:
            self.tracer.seize(pid, exits=self.stats is not None)
        except OSError as error:
            kill(pid)
            os.waitpid(pid, 0)
            raise AppPotError(f"this host forbids tracing one's own processes (ptrace: {os.strerror(error.errno)}): Yama's "
                              "ptrace_scope, or a container's seccomp profile; 'apppot doctor' tells more") from None
        task.tid = pid
        task.memory = Memory(pid)
        task.group.tgid = pid
        task.group.tasks = {pid}
        task.caller.tid = task.caller.tgid = pid
        self.tasks[pid], self.groups[pid] = task, task.group
        self.main, self.execs.first = pid, task
        self.job_control = JobControl(self.running, pid)
        go()

    def run(self):
        """The wait status of the machine's first process.

        waitpid prefers the task that was attached last, so that a few busy ones could keep all older ones waiting.
        Now and then everybody's stops are collected first and then served in turn.
        """
        waitpid, tasks, stopped, queue = os.waitpid, self.tasks, self.affinity.stop, self._queue
        turn = 0
        while True:
            if queue:
                tid, status = queue.popleft()
            else:
                try:
                    tid, status = waitpid(-1, ptrace.WALL)
                except ChildProcessError:
                    break
                turn += 1
                if turn == _TURNS:
                    turn = 0
                    self._collect()
            task = tasks.get(tid)
            try:
                if status == _SECCOMP_STATUS and task is not None and not task.group.exec_by:
                    stopped(tid)
                    self._on_syscall(task)
                else:
                    self._on_stop(tid, task, status)
            except TaskGone:
                continue
        return self.status

    def _collect(self):
        try:
            while True:
                tid, status = os.waitpid(-1, ptrace.WALL | os.WNOHANG)
                if tid == 0:
                    return
                self._queue.append((tid, status))
        except ChildProcessError:
            return

    def end_all(self):
        """Kill every task; the loop then collects them."""
        for tgid in list(self.groups):
            kill(tgid)
        for tid in self.new_tasks.early:
            kill(tid)
        self.workers.end_all()

    # -- stops

    def _on_stop(self, tid, task, status):
        if status & 0xFF != 0x7F:               # not WIFSTOPPED of waitpid(2): it has ended
            self._on_exit(tid, task, status)
        elif self.status is not None:           # the machine is ending
            self._end(tid)
        elif task is None:
            if status >> 16 == ptrace.EVENT_STOP:   # a child's first; else a thread that another one's exec has ended
                self.new_tasks.early[tid] = status
            elif status >> 16 == ptrace.EVENT_EXIT:
                self.tracer.cont(tid)
        elif not (task.group.exec_by and self.execs.defer(task, status)):
            task.memory.tid = tid
            event, stopsig = status >> 16, status >> 8 & 0xFF
            if event == 0:
                if stopsig == _EXIT_STOP:
                    self.answers.exit_stop(task)
                    self._exec_over(task.group, tid)
                else:
                    self._on_signal(task, stopsig)
            elif event == ptrace.EVENT_SECCOMP: # while another thread is in exec
                self._on_syscall(task)
            elif event in newtasks.EVENTS:
                self.new_tasks.event(task)
            elif event == ptrace.EVENT_EXEC:
                self.execs.event(task, self._forget)
                if self.new_tasks.early:
                    self.new_tasks.adopt_children(self.tasks[tid])
            elif event == ptrace.EVENT_EXIT:    # asked for with --stats
                self.stats.ends(task)
                self.tracer.cont(tid)
            elif event == ptrace.EVENT_STOP and stopsig in STOP_SIGNALS:
                self.tracer.listen(tid)
                self.job_control.stopped(tid, stopsig)
            else:
                self._on_start(task)

    def _on_exit(self, tid, task, status):
        if task is None and tid in self.workers:
            self._work_done(tid, status)
            return
        self.new_tasks.early.pop(tid, None)
        if task is not None:
            self.affinity.ended(tid)
            self._forget(task)
            self._exec_over(task.group, tid)
        if tid == self.main and not self.then(status):
            self.status = status
            self.end_all()
        elif self.new_tasks.early and self.tasks:
            self.new_tasks.adopt_orphans(self.tasks.get(self.main) or next(iter(self.tasks.values())))

    def _forget(self, task):
        del self.tasks[task.tid]
        group = task.group
        group.tasks.discard(task.tid)
        task.fs.users -= 1
        self.running.stopped_tasks.discard(task.tid)
        self.answers.release(task)
        self.workers.forget(task)
        if not group.tasks:
            group.close()
            self.groups.pop(group.tgid, None)
        if self.running.task_count is not None:
            self.running.task_count.ended(task.tid, None if group.tasks else group.tgid)

    def _exec_over(self, group, tid):
        """Thread `tid` of the group is no more in exec: serve what the leader waits for."""
        if tid in group.exec_by:
            group.exec_by.discard(tid)
            if not group.exec_by and group.deferred is not None:
                self._queue.append((group.tgid, group.deferred))
                group.deferred = None

    def _end(self, tid):
        kill(tid)
        self.tracer.cont(tid)

    def _on_start(self, task):
        """A new task's first stop, or the notice that a group stop has ended."""
        self.running.stopped_tasks.discard(task.tid)
        if task.replaced is not None:
            self.answers.restore_child(task)
        self.tracer.cont(task.tid)

    def _on_signal(self, task, signum):
        """A signal is about to be delivered. Most find the task in its own code: that is all there is to look at."""
        tracer, tid = self.tracer, task.tid
        rip = tracer.instruction_pointer(tid)
        task.memory.tid = tid
        if STUB_BASE <= rip < STUB_END:
            tracer.get(tid)
            if self.fast is not None and interrupted.leave_stub(task, self.regs, self.fast.cut_short):
                tracer.set(tid)
                if signum in _FAULTS and tracer.signal_code(tid) > 0:
                    signum = 0              # the stub could not read the path: the kernel will say EFAULT
            elif task.slot is not None and self.answers.leave_gadget(task):
                tracer.set(tid)
        elif self.fast is not None and not tracer.in_call(tid):     # no trampoline makes one
            site = interrupted.site_of(task, rip)
            if site is not None:
                tracer.get(tid)
                self.regs[RIP] = site
                tracer.set(tid)
        tracer.cont(tid, signum)

    # -- system calls

    def _on_syscall(self, task):
        regs, tid = self.regs, task.tid
        if self.status is not None or task.seccomp == _STRICT:
            self._end(tid)
            return
        self.tracer.get(tid)
        number = regs[ORIG_RAX]
        missed = number >> 32 == 1
        number &= 0xFFFFFFFF                # the kernel looks at no more
        task.program = None
        task.memory.tid = tid
        if task.scratch is not None:
            self.running.procfs.forget(task.scratch)
            task.scratch = None
        if self.stats is not None:
            self.stats.count(number, missed)
        call = self._calls.get(number)
        if call is None:
            call = self._call(number)
        try:
            if call is None:
                answer = -self._unknown(number)
            elif number in OF_LOADER and STUB_BASE < regs[RIP] <= STUB_END and not self.stub_alone:
                answer = self.execs.loader_call(task, number, regs)
            else:
                answer = call(task, regs)
        except OSError as error:
            answer = -(error.errno or ENOSYS)
        except TaskGone:
            raise
        except Exception as error:
            answer = -self.running.bug(dispatch.name(number), error)
        if answer.__class__ is Later:
            answer = self.workers.start(task, number, answer)
            if answer is None:
                return
        if self.fast is not None:
            answer = self.fast.after(task, number, regs, answer, missed)
            if missed and answer is NATIVE:
                regs[ORIG_RAX] = number
                self.tracer.set(tid)
        self._give(task, number, answer)

    def _work_done(self, pid, status):
        """What a task's call waited for is done; its registers are in use by others meanwhile."""
        task, number, later = self.workers.ended(pid)
        if self.tasks.get(task.tid) is not task or self.status is not None:
            later.drop()
            return
        try:
            answer = later.finish(os.waitstatus_to_exitcode(status))
        except OSError as error:
            answer = -(error.errno or ENOSYS)
        except Exception as error:
            answer = -self.running.bug(dispatch.name(number), error)
        self.tracer.get(task.tid)
        task.memory.tid = task.tid
        if answer.__class__ is Later:
            answer = self.workers.start(task, number, answer)
        if answer is not None:
            self._give(task, number, answer)

    def _give(self, task, number, answer):
        regs = self.regs
        if task.program is not None and answer.__class__ is Run:
            if self.stats is not None:
                self.stats.collect(task)
            answer = self.execs.answer(task, answer)
        if self.tracing is not None:
            self.tracing.call(task, number, [regs[register] for register in ARGUMENTS], answer)
            if answer is NATIVE:
                answer = RunHere({})
            elif answer.__class__ is Run:
                answer = RunHere(answer.args, None, answer.number)  # with a stop at its end, to see the result
        self.answers.give(task, number, answer)

    def _call(self, number):
        """`call(task, registers)` of a system call's handler, or None. Compiled, as it is made at each stop: a loop over the
        decoders takes 0.5 µs more."""
        entry = dispatch.entry(number)
        if entry is None:
            return None                     # not kept: a guest can make up many numbers
        handler, decoders = entry
        names = {"handler": handler} | {f"decode{index}": decode for index, decode in decoders}
        values = [f"registers[{ARGUMENTS[index]}]" if decode is None else f"decode{index}(task, registers[{ARGUMENTS[index]}])"
                  for index, decode in decoders]
        call = self._calls[number] = eval(f"lambda task, registers: handler({', '.join(['task', *values])})", names)
        return call

    # -- what must not happen

    def _unknown(self, number):
        if dispatch.name(number) == "unknown":      # else a filter of the guest asks for a tracer that isn't there
            self.running.warn_once(number, f"system call {number} is not supported: ENOSYS")
        return ENOSYS
