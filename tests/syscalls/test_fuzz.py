"""Any registers and any memory: handlers answer or raise OSError, and no answer names a file outside of the tree."""

import os
import struct
import tempfile

from hypothesis import HealthCheck, given, settings, strategies as st

from apppot.image.cow import remove_tree
from apppot.kernel.task import FsState
from apppot.syscalls import dispatch, table
from apppot.syscalls.answer import NATIVE, Later, Run, Structure, Vector
from tests.syscalls.fake_task import BASE, SIZE, FakeTask
from tests.vfs.world import World

TREE = {"file": b"text", "dir": {"inner": b"", "up": ("link", "../../.."), "sub": {}}, "link": ("link", "file"),
        "out": ("link", "/../../../etc/passwd"), "loop": ("link", "loop"), "#!": b"#!/file x\n", "elf": b"\x7fELF" + bytes(60)}
STUB = b"/the/stub"
STOPPING = sorted(row.number for row in table.ROWS if row.stops)

part = st.sampled_from([b"file", b"dir", b"inner", b"up", b"sub", b"link", b"out", b"loop", b"#!", b"elf", b"new", b"..", b".", b"",
                        b".wh.x", b"n" * 255, b"n" * 256, b"\xff", b"proc", b"etc", b"passwd"])
path = st.builds(lambda start, parts: start + b"/".join(parts), st.sampled_from([b"/", b"", b"//", b"/../", b"./"]),
                 st.lists(part, max_size=6))
word = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 64), st.integers(BASE, BASE + SIZE), st.integers(-200, -1),
                 st.sampled_from([0, 1, 2, 3, 4, 5, 2**31, 2**32, 2**63, BASE, BASE + SIZE - 1]))
memory = st.lists(st.one_of(st.binary(max_size=64), path.map(lambda name: name + b"\0"), word.map(lambda n: struct.pack("<Q", n % 2**64)),
                            path.map(lambda name: struct.pack("<H", 1) + name[:107] + b"\0"),
                            st.binary(min_size=2, max_size=28).map(lambda rest: struct.pack("<H", 2) + rest)), max_size=10)
# A register: a number, or which of the pieces of memory it points at.
register = st.one_of(word, st.tuples(st.integers(0, 9)))


class FuzzTask(FakeTask):
    """As much of a Task as all families of handlers use, with two descriptors."""

    def __init__(self, world, root):
        super().__init__(world.ns)
        self.creds = type(self.creds)(os.geteuid(), os.getegid(), os.getgroups())
        if root:
            self.creds = self.creds.become(0, 0, (0,))
        self.fs = FsState(b"/", b"/", 0o022)
        self.fs.users = 1
        self.program = None
        machine = self.machine
        machine.stub, machine.sudo_file, machine.snap_file, machine.has_records = STUB, b"/none", b"/none", root
        machine.warn_once = lambda *_: None
        machine.tasks = {self.tid: self}
        machine.has_process = lambda tgid: tgid == self.tgid
        machine.processes = lambda: iter([self.tgid])
        self.descriptors = {3: os.open(world.lowers[0] + b"/file", os.O_RDONLY), 4: os.open(world.lowers[0], os.O_RDONLY),
                            5: os.open("/etc", os.O_PATH), 6: os.memfd_create("x")}

    def read_some(self, address, length):
        return bytes(self.memory[address - BASE:address - BASE + length]) if BASE <= address < BASE + SIZE else b""

    def read_string(self, address):
        return self.read_path(address)

    def close(self):
        for fd in self.descriptors.values():
            os.close(fd)


def texts(value):
    """Every piece of bytes that an argument of a Run puts into the window."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Vector):
        for element in value:
            yield from texts(element)
    elif isinstance(value, Structure):
        for element in value.pointers.values():
            yield from texts(element)


def check(world, number, answer):
    assert answer is NATIVE or answer.__class__ is int or isinstance(answer, (Run, Later)), answer
    row = table.by_number[number]
    if isinstance(answer, Run) and row.reason == table.FILE:
        for value in answer.args.values():
            if isinstance(value, bytes) and value[:1] == b"/" and value != STUB:
                assert value.startswith(world.top + b"/") and b"/../" not in value, value


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(STOPPING), st.lists(register, min_size=6, max_size=6)), min_size=1, max_size=8), memory,
       st.booleans())
def test_any_call(calls, pieces, root):
    top = tempfile.mkdtemp()
    world = World(os.path.join(top, "world"), TREE)
    task = FuzzTask(world, root)
    before = umask()
    try:
        places = [task.put(piece) for piece in pieces] or [BASE]
        for number, registers in calls:
            handler, decoders = dispatch.entry(number)
            values = [(places[value[0] % len(places)] if isinstance(value, tuple) else value) % 2**64 for value in registers]
            try:
                answer = handler(task, *[values[index] if decode is None else decode(task, values[index])
                                         for index, decode in decoders])
            except OSError as error:
                assert error.errno
                continue
            check(world, number, answer)
        assert open(world.lowers[0] + b"/file", "rb").read() == b"text", "a lower file was changed"
        assert umask() == before
    finally:
        task.close()
        world.close()
        remove_tree(os.fsencode(top))


def umask():
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# -- resolution against a model

names = st.sampled_from(["a", "b", "c", "l", "m"])
targets = st.lists(st.sampled_from(["a", "b", "c", "l", "m", "..", "..", ".", ""]), min_size=1, max_size=5).flatmap(
    lambda parts: st.sampled_from(["/", ""]).map(lambda start: start + "/".join(parts) or "."))
trees = st.recursive(st.dictionaries(names, st.one_of(st.just(b""), targets.map(lambda to: ("link", to))), max_size=4),
                     lambda inner: st.dictionaries(names, st.one_of(st.just(b""), targets.map(lambda to: ("link", to)), inner), max_size=4),
                     max_leaves=12)


class Missing(Exception):
    pass


def model(tree, name, links=0):
    """The canonical path that `name` leads to in a tree of dicts; Missing when there is none."""
    here = []
    todo = [part for part in name.split("/")][::-1]
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = here[:-1]
            continue
        what = tree
        for step in here:
            what = what[step]
        what = what.get(part, None)
        if what is None:
            raise Missing
        if isinstance(what, tuple):
            links += 1
            if links > 40:
                raise Missing
            if what[1].startswith("/"):
                here = []
            todo.extend(what[1].split("/")[::-1])
        elif isinstance(what, dict):
            here = here + [part]
        else:
            if any(rest not in () for rest in todo):
                raise Missing
            return "/" + "/".join(here + [part])
    return "/" + "/".join(here)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees, st.lists(st.lists(st.sampled_from(["a", "b", "c", "l", "m", "..", ".", ""]), min_size=1, max_size=7), max_size=6))
def test_any_path(tree, asked):
    top = tempfile.mkdtemp()
    world = World(os.path.join(top, "world"), tree)
    try:
        for parts in asked * 2:                # once more, from the caches
            name = "/" + "/".join(parts)
            try:
                wanted = model(tree, name)
            except Missing:
                wanted = None
            try:
                node = world.node(name)
            except OSError:
                node = None
            if node is not None:
                assert os.path.realpath(node.host).startswith(world.top), node
            assert (node.path.decode() if node is not None and node.kind else None) == wanted, name
    finally:
        world.close()
        remove_tree(os.fsencode(top))
