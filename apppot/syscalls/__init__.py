"""System calls: the table that classifies them, and one module of handlers a family."""

FAMILIES = (
    "files", "names", "cwd", "exec", "directories", "attributes", "ids", "sockets", "processes", "system",
)

_handlers = None


def handlers():
    """{name: handler} of every call that stops: the families' functions that are named as a row of the table."""
    global _handlers
    if _handlers is None:
        from importlib import import_module

        _handlers = collect(import_module(f"apppot.syscalls.{family}") for family in FAMILIES)
    return _handlers


def collect(modules):
    """The handlers among the modules' own functions; two for one call are an error."""
    from apppot.syscalls.table import by_name

    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if name in by_name and getattr(value, "__module__", None) == module.__name__ and callable(value):
                if name in found:
                    raise ValueError(f"{name}: two handlers")
                found[name] = value
    return found
