"""How a handler's arguments are made from registers: the annotations of its parameters say it.

A handler is a plain function named as its system call; the first parameter is the task, the others are the call's
registers in order. It may leave out registers at the end that it does not look at. Annotations are the decoders
themselves: `decoder(task, register) -> value`.
"""

from errno import EFAULT


def Path(task, register):
    """A NUL-terminated string in the guest's memory."""
    if not register:
        raise OSError(EFAULT, "null path")
    return task.read_path(register)


def MaybePath(task, register):
    """The same where a null pointer has a meaning: then `None`."""
    return task.read_path(register) if register else None


def Int(task, register):
    """A C `int`."""
    return (register & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def UInt(task, register):
    """A C `unsigned int`, `mode_t`, `uid_t`."""
    return register & 0xFFFFFFFF


def Long(task, register):
    """A C `long` or `off_t`."""
    return (register ^ 0x8000000000000000) - 0x8000000000000000


def U64(task, register):
    """The register as it is."""
    return register


Fd = Int
Ptr = U64


def decoders_of(handler):
    """((register index, decoder or None for the register as it is), ...) of a handler; made once for each."""
    code = handler.__code__
    annotations = handler.__annotations__
    names = code.co_varnames[1:code.co_argcount]
    decoders = []
    for index, name in enumerate(names):
        decoder = annotations[name]
        decoders.append((index, None if decoder is U64 else decoder))
    return tuple(decoders)
