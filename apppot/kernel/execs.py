"""The exec event: the old program is gone, the stub is there and gets the list of what to map.

When a thread other than the leader succeeds in execve, the kernel ends the leader and gives the thread its number. What
we do to "the leader" would then hit the thread in the middle of its exec. So while such a call is under way
(ThreadGroup.exec_by) the leader's stops are put off until it is over: by the exec event, or by the call's exit stop.
"""

import os
from errno import EACCES

from apppot.kernel.loading import Loading
from apppot.kernel.signals import kill
from apppot.platform.layout import MAILBOX
from apppot.platform.memory import Memory
from apppot.platform.ptrace import EVENT_EXEC, EVENT_EXIT
from apppot.platform.registers import RDI, RDX, RSI
from apppot.syscalls.answer import NATIVE, RunHere
from apppot.syscalls.files import straight
from apppot.syscalls.table import by_name

_OPENAT, _CHDIR, _SECCOMP = (by_name[name].number for name in ("openat", "chdir", "seccomp"))
_OF_EXEC = (EVENT_EXEC, EVENT_EXIT)   # stops by which exec goes on
OF_LOADER = frozenset((_OPENAT, _CHDIR, _SECCOMP))
_SET_MODE_FILTER = 1
_LOADER_FLAGS = os.O_RDONLY | os.O_CLOEXEC


class Execs:
    """Hands the stub of every fresh process its program."""

    def __init__(self, running, tracer, answers, filters, rules, tracing):
        """`filters`, `rules`: see Supervisor. `first`: the machine's first task until it has started."""
        self.running, self.tasks = running, running.tasks
        self.tracer, self.answers, self.tracing = tracer, answers, tracing
        self.base_filter, self.identity_filter, self.owners_filter = filters
        self.rules = rules
        self.first = None
        self.fast = None                    # the FastPath, where there is one
        self.loading = Loading(running.window)

    def answer(self, task, answer):
        """The answer to an execve that is about to be made."""
        group = task.group
        if task.tid == group.tgid or len(group.tasks) == 1:
            return answer
        group.exec_by.add(task.tid)
        return RunHere(answer.args)

    def loader_call(self, task, number, regs):
        """The answer to a call from the stub's range that the filter stopped; OSError EACCES when it is not the loader's.

        Anybody may jump there: so the stub opens no other files than those of the program it was sent to load, and only
        for reading.
        """
        if number == _SECCOMP and regs[RDI] == _SET_MODE_FILTER and not regs[RSI] and regs[RDX] in (
                self.identity_filter, self.owners_filter):
            return NATIVE
        path = task.read_path(regs[RSI] if number == _OPENAT else regs[RDI])
        if path in task.group.loads:
            if number == _OPENAT and path == self.running.window.path:       # it is not there yet to hold its own name
                return RunHere({2: _LOADER_FLAGS}, self._is_window)
            if number == _OPENAT and self.running.wall.unbacked:
                return straight(path, _LOADER_FLAGS)
            if number == _OPENAT:
                return RunHere({1: path, 2: _LOADER_FLAGS})
            if number == _CHDIR:
                return RunHere({0: path})
        raise OSError(EACCES, os.strerror(EACCES))

    def _is_window(self, task, result):
        """Another process may have changed the name that the kernel read."""
        if result >= 0 and task.fd_link(result) != self.running.window.path:
            kill(task.tid)
        return result

    def defer(self, task, status):
        """Whether the stop was put off: it is the leader's, and another thread of its is in exec."""
        group = task.group
        if task.tid != group.tgid or status >> 16 in _OF_EXEC:
            return False
        group.deferred = status
        return True

    def event(self, task, forget):
        """`task`: the group's leader, whose number the exec'ing thread now has. `forget(task)` drops an ended thread."""
        former = self.tracer.event_message(task.tid) if len(task.group.tasks) > 1 else task.tid
        if former != task.tid:
            task = self._take_over(task, former, forget)
        for other in [self.tasks[tid] for tid in task.group.tasks if tid != task.tid and tid in self.tasks]:
            forget(other)
        task.group.exec_by.clear()
        task.group.deferred = None
        self.answers.release(task)
        program, task.program = task.program, None
        task.saved = task.after = task.number = None
        if program is None or not self._load(task, program):
            kill(task.tid)                  # without a program: somebody jumped into the stub
        elif self.tracing is not None:
            self.tracing.result(task, 0)
        self.tracer.cont(task.tid)
        return task

    def _take_over(self, leader, former, forget):
        """A thread other than the leader called execve: it goes on under the leader's number."""
        task = self.tasks.pop(former)
        tgid = task.group.tgid
        if leader is not task:
            forget(leader)
        task.group.tasks.discard(former)
        task.group.tasks.add(tgid)
        task.tid = task.caller.tid = tgid
        self.tasks[tgid] = task
        return task

    def _load(self, task, program):
        """Write the mailbox. False when it has no room for the program."""
        first = task is self.first
        if first:
            self.first = None
        task.memory = Memory(task.tid, has_window=first)      # the first one's is mapped before any filter is there
        task.creds = program.creds or task.creds.after_exec(program.set_uid, program.set_gid)
        task.group.exe = program.path
        task.group.remove_temporaries(program.host)
        task.group.dumpable = 1
        filters = [self.base_filter] if first else []
        if task.creds.virtual and task.identity_filter != self.identity_filter:
            task.identity_filter = self.identity_filter
            filters.append(self.identity_filter)
        elif self.running.has_records and task.identity_filter is None:
            task.identity_filter = self.owners_filter
            filters.append(self.owners_filter)
        task.group.loads = () if self.running.wall.loads_alone else _loaded(program, self.running.window)
        mode = 0
        if self.fast is not None:
            mode, self.loading.fast = self.fast.mode(task), self.fast
            if program.directory is not None or task.fs.users > 1:     # who shares it may be about to go elsewhere
                self.fast.leaves_directory(task)
        try:
            task.memory.write(MAILBOX, self.loading.operations(program, task.creds, filters, first, self.rules, mode))
        except (OSError, ValueError):
            return False
        return True


def _loaded(program, window):
    """What the stub opens, or goes to, while it loads `program`."""
    return window.path, program.host, program.directory, program.interpreter and program.interpreter[0]
