"""Layers of changes in the cache: shown, removed when nobody uses them, and made again."""

import os
import time

import pytest

from apppot.errors import AppPotError
from apppot.image import changes, contents
from apppot.image.store import Store
from apppot.snap import layers


@pytest.fixture
def archive(machine):
    one = machine()
    one.root_do("mkdir", "/opt", 0o755)
    one.root_do("symlink", "/opt/link", b"there")
    return one.changes()


def place(machine):
    return os.path.realpath(machine.top + b"/../cache")


def close(machine):
    for layer in machine.layers:
        layer.close()


def test_list_and_remove(machine, archive):
    other = machine(changes=[archive])
    tree, store = other.tree(), Store(place(other))
    found, = contents.images(store)
    assert (found.format, found.source) == ("changes", os.fsdecode(archive)) and found.size > 0
    freed, lines = contents.remove([], everything=True, store=store)
    assert freed == 0 and "in use" in lines[0] and other.tree() == tree
    close(other)
    assert contents.remove([found.name], store=store) == (found.size, [])
    assert contents.images(store) == [] and os.listdir(changes.directory(place(other))) == []
    assert machine(changes=[archive]).tree() == tree


def test_the_last_use(machine, archive):
    other = machine(changes=[archive])
    close(other)
    store = Store(place(other))
    about = changes.layers(store.path)[0].place + b"/layer.json"
    os.utime(about, (1000, 1000))
    assert contents.images(store)[0].used == 1000
    close(machine(changes=[archive]))
    contents.remove([], unused=3600, store=store)
    assert time.time() - contents.images(store)[0].used < 60
    os.utime(about, (1000, 1000))
    contents.remove([], unused=3600, store=store)
    assert contents.images(store) == []


def test_leftovers_of_a_removal_go_with_the_next(machine, archive):
    other = machine(changes=[archive])
    close(other)
    top = changes.directory(place(other))
    os.makedirs(top + b"/new-1/tree/x")
    os.close(os.open(top + b"/new-1/lock", os.O_CREAT))
    changes.remove(changes.layers(place(other))[0])
    assert os.listdir(top) == []


def test_what_is_removed_twice(machine, archive):
    other = machine(changes=[archive])
    close(other)
    found, = changes.layers(place(other))
    changes.remove(found)
    changes.remove(found)


def test_starts_go_on_while_layers_are_removed(machine, archive):
    """Whoever removes holds no start up, and takes no layer from one."""
    other = machine(changes=[archive])
    cache, image, ids = place(other), other.image, (os.geteuid(), os.getegid())
    expected = os.readlink(other.layers[0].host + b"/opt/link")
    close(other)
    child = os.fork()
    if not child:
        while True:
            for found in changes.layers(cache):
                try:
                    changes.remove(found)
                except AppPotError:
                    pass
    try:
        for _ in range(100):
            layer, = layers.stack(image, [archive], *ids, cache=cache)
            assert os.readlink(layer.host + b"/opt/link") == expected
            layer.close()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
