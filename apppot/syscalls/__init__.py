"""System calls: the table that classifies them, and one module of handlers a family."""

# A handler is looked for in this order: what every program needs comes first.
FAMILIES = (
    "files", "exec", "memory", "attributes", "cwd", "names", "directories", "xattrs", "newtasks", "processes", "system", "sockets",
    "ids", "seccomp", "ipc",
)

_found = {}
_waiting = list(FAMILIES)


def handler(name):
    """The handler of a call that stops. Families are imported until it is found."""
    while name not in _found and _waiting:
        _import_next()
    return _found.get(name)


def handlers():
    """{name: handler} of every call that stops."""
    while _waiting:
        _import_next()
    return _found


def _import_next():
    from importlib import import_module

    _found.update(collect([import_module(f"apppot.syscalls.{_waiting[0]}")], _found))
    del _waiting[0]


def collect(modules, known=()):
    """The modules' own functions that are named as a row of the table. Two for one call are an error."""
    from apppot.syscalls.table import by_name

    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if name in by_name and getattr(value, "__module__", None) == module.__name__ and callable(value):
                if name in found or name in known:
                    raise ValueError(f"{name}: two handlers")
                found[name] = value
    return found
