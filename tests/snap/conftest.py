"""Machines without processes: an image, a COW, calls through the namespace, and what `apppot-snap` does to them."""

import os
import stat

import pytest

from apppot.image.cow import Cow
from apppot.image.opening import open_image
from apppot.snap import layers
from apppot.snap.snapshots import Snapshots
from apppot.vfs.caller import KERNEL
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay
from apppot.vfs.ownership import KEEP, Ownership
from tests.vfs.world import World, plant


class Machine(World):
    """A World on an image directory of its own; `changes` are archives put over the image at start."""

    def __init__(self, top, image, changes=(), force=False):
        self.image_path, self.archives, self.force = os.fsencode(image), changes, force
        super().__init__(top)

    def open_cow(self):
        os.makedirs(self.top, exist_ok=True)
        self.image = open_image(self.image_path)
        self.layers = layers.stack(self.image, self.archives, os.geteuid(), os.getegid(), self.force,
                                   cache=self.top + b"/../cache") if self.archives else []
        self.cow = Cow.open(self.top + b"/cow")
        self.ownership = Ownership(self.cow.upper, self.cow.ownership_log)
        layers.give_top(self.layers, self.cow.upper, self.ownership)
        self.overlay = Overlay(self.layers + self.image.layers, self.cow.upper, self.cow.work, self.ownership)
        self.ns = Namespace(self.overlay, self.ownership, cow=self.cow)
        self.said, self.warned = [], []
        self.snapshots = Snapshots(self.cow, self.image, self.ownership, self.layers, self.said.append,
                                   self.warned.append)

    def changes(self, name="changes.tar.gz"):
        path = self.top + b"/" + os.fsencode(name)
        self.snapshots.archive_to(path)
        return path

    def merge(self, archive, force=False):
        self.snapshots.stage(os.fsencode(archive), force)
        self.snapshots.commit()
        self.reopen()

    def root_do(self, name, path, *args):
        return self.call(name, path, *args, caller=self.root)

    def tree(self):
        """Everything that a guest can find out: {path: attributes and contents}."""
        found = {}
        inodes = {}
        todo = [b"/"]
        while todo:
            path = todo.pop()
            node = self.ns.at(path) if path != b"/" else self.ns.root.node
            st = self.ns.stat(KERNEL, node)
            physical = os.lstat(self.overlay.physical(node))
            owner = self.ownership.of(physical)
            shown = [oct(st.st_mode), st.st_rdev if not stat.S_ISREG(st.st_mode) else 0,
                     *((KEEP, KEEP) if owner is None else (owner.uid, owner.gid)),
                     tuple((name, self.ns.getxattr(KERNEL, node, name))
                           for name in sorted(self.ns.listxattr(KERNEL, node)))]
            if path != b"/":
                shown.append(st.st_mtime_ns)
            if node.kind == stat.S_IFDIR:
                todo += [self.ns.directory(KERNEL, node).prefix + name
                         for name, *_ in list(self.ns.readdir(KERNEL, node))[2:]]
            else:
                shown.append(inodes.setdefault((physical.st_dev, physical.st_ino), path)
                             if physical.st_nlink > 1 else None)
            if node.kind == stat.S_IFLNK:
                shown.append(self.ns.readlink(KERNEL, node))
            elif node.kind == stat.S_IFREG:
                os.chmod(node.host, physical.st_mode & 0o7777 | 0o400)
                with open(node.host, "rb") as file:
                    shown += [file.read(), physical.st_size]
                os.chmod(node.host, physical.st_mode & 0o7777)
            found[path] = shown
        return found


@pytest.fixture
def image(tmp_path):
    """A small image."""
    return plant(tmp_path / "image", {
        "bin": {"sh": b"#!shell", "tool": b"tool"}, "etc": {"motd": b"hello\n", "conf": {"a": b"1", "b": b"2"}},
        "lib": {"deep": {"er": {"file": b"x"}, "other": b"y"}}, "empty": {}, "link": ("link", "etc/motd")})


@pytest.fixture
def machine(tmp_path, image):
    """machine(changes=...) → a new Machine on the image; closed after the test."""
    made = []

    def make(changes=(), image=image, **more):
        made.append(Machine(tmp_path / f"machine{len(made)}", image, changes, **more))
        return made[-1]
    yield make
    for one in made:
        one.close()
