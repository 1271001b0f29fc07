"""What a handler answers, when it is not the result itself.

A handler returns an `int` (the supervisor did the call), `NATIVE`, a `Run`, a `RunHere` or a `Later`, or raises `OSError`.
"""


class _Native:
    __slots__ = ()

    def __repr__(self):
        return "NATIVE"


#: The call runs as it stands.
NATIVE = _Native()


class Run:
    """The task makes the call itself, from the stub's gadget, with the arguments of `args` replaced.

    `args` maps an argument's index (0 to 5) to an `int`, or to `bytes`, which are put in the task's argument slot in
    the window exactly as they are, with a NUL behind them. With `number`, another system call is made than the task
    asked for.
    """

    __slots__ = ("args", "number")

    def __init__(self, args, number=None):
        self.args = args
        self.number = number

    def __repr__(self):
        number = "" if self.number is None else f", number={self.number}"
        return f"{type(self).__name__}({self.args!r}{number})"

    def __eq__(self, other):
        return type(self) is type(other) and (self.args, self.number) == (other.args, other.number)

    __hash__ = None


class RunHere(Run):
    """The same, made at the task's own call site: for calls Landlock does not mediate, or whose result holds names.

    With `after`, the task stops at the end of the call, and `after(task, result) -> int` gives the result the guest
    sees; it is called for failures too (`result` is then a negated errno), and may raise `OSError`.
    """

    __slots__ = ("after",)

    def __init__(self, args, after=None, number=None):
        self.args = args
        self.after = after
        self.number = number


class Give:
    """The supervisor has opened descriptor `fd` for the task, which gets it as the result of its call; O_CLOEXEC if in `flags`.

    For what the kernel's wall can't grant. The supervisor's own is closed.
    """

    __slots__ = ("fd", "flags")

    def __init__(self, fd, flags):
        self.fd, self.flags = fd, flags


class Later:
    """The task stays stopped in its call until a process beside the supervisor has done what takes long.

    `work() -> exit status` runs in that process, a fork of the supervisor, and may write to descriptors that were made
    for it before. It is killed when the task or the machine ends. `finish(exit status)` then runs in the supervisor and
    gives the answer to the call, as a handler does; the status is -N when signal N ended the process. Where nobody waits
    for that any more, or there is no process to be had, `drop()` gives back what the two hold.
    """

    __slots__ = ("work", "finish", "drop")

    def __init__(self, work, finish, drop=lambda: None):
        self.work = work
        self.finish = finish
        self.drop = drop


class Vector(list):
    """A value of Run.args: a null-terminated array of pointers (argv, envp).

    Elements are `bytes`, which are placed too, or `int` addresses in the guest.
    """


class Structure:
    """A value of Run.args: `data`, a C structure, which holds at each offset of `pointers` the address of other bytes.

    Those (`bytes`) are placed too.
    """

    __slots__ = ("data", "pointers")

    def __init__(self, data, pointers):
        self.data = data
        self.pointers = pointers

    def __repr__(self):
        return f"Structure({self.data!r}, {self.pointers!r})"

    def __eq__(self, other):
        return type(self) is type(other) and (self.data, self.pointers) == (other.data, other.pointers)

    __hash__ = None
