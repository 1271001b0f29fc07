"""Calls that begin with what takes long, as copying up a large file: it is done beside the supervisor (answer.Later)."""

import os

from apppot.syscalls.answer import Later

_S_IFREG = 0o100000


def long_work(task, node, flags=os.O_RDWR):
    """Namespace.long_work() of a node of any kind: by default of one that is to be changed."""
    if node.kind != _S_IFREG or node.mount is None:
        return None
    return task.ns.long_work(node, flags)


def changed(task, find, change):
    """The answer 0 after `change(find())`, or the Later that leads to it.

    `find() -> node` is called once more after the wait: meanwhile others may have done anything.
    """
    node = find()
    work = long_work(task, node)
    if work is None:
        change(node)
        return 0

    def finish(status):
        change(find())
        return 0

    return Later(work, finish)
