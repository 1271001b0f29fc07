"""What was changed on one machine is the same on another after changes → merge, and after a start with the changes."""

import os
import stat

from apppot.image import acl

LIST = acl.pack([(acl.USER_OBJ, 6, 0), (acl.USER, 4, 1234), (acl.GROUP_OBJ, 4, 0), (acl.MASK, 4, 0), (acl.OTHER, 0, 0)])

def modify(world):
    """All kinds of changes."""
    world.write("/etc/motd", b"changed")
    world.call("utime", "/etc/motd", 1, 1234567890123456789)
    world.write("/etc/new", b"new", mode=0o640)
    world.call("unlink", "/etc/conf/a")
    world.rename("/lib/deep", "/lib/moved")
    world.call("unlink", "/lib/moved/other")
    world.call("mkdir", "/etc/dir", 0o750)
    world.write("/etc/dir/one", b"hard")
    world.link("/etc/dir/one", "/etc/dir/two")
    world.link("/etc/dir/one", "/empty/three")
    world.call("symlink", "/etc/dir/sym", b"../../nowhere")
    world.call("symlink", b"/etc/dir/" + b"long" * 40, b"t" * 300)
    world.call("chmod", "/bin/tool", 0o4711)
    world.call("mknod", "/etc/dir/fifo", stat.S_IFIFO | 0o600)
    world.root_do("mknod", "/etc/dir/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    world.root_do("chown", "/etc/new", 12, 34)
    world.ns.chown(world.root, world.node("/etc/dir/sym", False), 5, 6)
    world.root_do("chmod", "/etc/dir", 0o2770)
    world.root_do("chown", "/etc/dir", 1, os.getgid())
    world.write(b"/etc/dir/new\nline", b"1")
    world.write(b"/etc/dir/\xff\xfe", b"2")
    world.write(b"/etc/dir/" + b"\xe9" * 120, b"3")
    world.write("/etc/dir/" + "ü" * 100, b"4")
    world.write("/etc/dir/unreadable", b"5")
    world.call("chmod", "/etc/dir/unreadable", 0)
    world.call("unlink", "/link")
    world.call("mkdir", "/link", 0o755)
    world.write("/link/inside", b"6")
    world.call("utime", "/link/inside", -1500000000, -1500000000)
    fd = world.openfile("/etc/sparse", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"start", 0)
    os.pwrite(fd, b"middle", 5 << 20)
    os.ftruncate(fd, 20 << 20)
    os.close(fd)
    world.call("mkdir", "/opaque", 0o755)
    world.write("/opaque/file", b"7")
    world.call("mkdir", "/opaque/sub", 0o700)
    try:
        world.call("setxattr", "/etc/new", "user.colour", b"\0\xff=\n")
        world.call("setxattr", "/etc/dir", "user.x", b"dir")
        world.root_do("setxattr", "/etc/new", "trusted.x", b"\0kept")
        world.root_do("setxattr", "/etc/motd", acl.ACCESS, LIST)
        world.root_do("setxattr", "/etc/dir", acl.DEFAULT, LIST)
    except OSError:
        pass


def test_everything_survives(machine):
    one = machine()
    modify(one)
    archive = one.changes()
    expected = one.tree()
    two = machine()
    two.merge(archive)
    assert two.tree() == expected
    two.merge(archive)
    assert two.tree() == expected
    three = machine(changes=[archive])
    assert three.tree() == expected
    assert os.lstat(three.ns.at(b"/etc/sparse").host).st_blocks * 512 < 1 << 20


def test_changes_of_a_machine_started_with_changes_hold_all(machine):
    one = machine()
    modify(one)
    archive = one.changes()
    two = machine(changes=[archive])
    two.write("/etc/later", b"later")
    two.call("unlink", "/link/inside")
    two.rename("/lib/moved", "/lib/again")
    second = two.changes()
    three = machine()
    three.merge(second)
    assert three.tree() == two.tree()


def test_nothing_changed_is_an_empty_archive(machine):
    one = machine()
    assert list(one.snapshots.list()) == []
    two = machine()
    assert one.snapshots.base()[0] == two.snapshots.base_name()
