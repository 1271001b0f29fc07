"""Attributes that an ordinary user can't set on the host: trusted.*, security.*, access control lists."""

import errno
import os

import pytest

from apppot.image import acl
from apppot.image.acl import ACCESS, DEFAULT, GROUP, GROUP_OBJ, MASK, OTHER, USER, USER_OBJ
from apppot.vfs.caller import Caller

LOWER = {"etc": {"conf": b"a\n"}, "srv": {}, "link": ("link", "etc/conf")}


def fails(number, call, *args, **kwargs):
    with pytest.raises(OSError) as caught:
        call(*args, **kwargs)
    assert caught.value.errno == number


def access_list(*named, owner=6, group=4, mask=None, other=0):
    """The attribute's value of a list with the (tag, id, permissions) of some users and groups."""
    entries = [(USER_OBJ, owner, 0)] + [(USER, bits, number) for tag, number, bits in named if tag == USER]
    entries += [(GROUP_OBJ, group, 0)] + [(GROUP, bits, number) for tag, number, bits in named if tag == GROUP]
    if mask is not None:
        entries.append((MASK, mask, 0))
    return acl.pack(entries + [(OTHER, other, 0)])


def somebody(uid, *groups):
    return Caller(uid=uid, gid=groups[0] if groups else uid, groups=groups[1:], virtual=True)


@pytest.fixture
def w(world, extended_attributes):
    return world(LOWER)


def test_virtual_root_sets_trusted_attributes(w):
    w.call("setxattr", "/etc/conf", b"trusted.a", b"\0\xff", 0, caller=w.root)
    w.call("setxattr", "/etc", b"trusted.of directory", b"", 0, caller=w.root)
    w.call("setxattr", "/etc/conf", b"security.selinux", b"label", 0, caller=w.root)
    for again in (True, False):
        assert w.call("getxattr", "/etc/conf", b"trusted.a", caller=w.root) == b"\0\xff"
        assert set(w.call("listxattr", "/etc/conf", caller=w.root)) == {b"trusted.a", b"security.selinux"}
        assert w.call("listxattr", "/etc", caller=w.root) == [b"trusted.of directory"]
        w.reopen(again)
    fails(errno.EEXIST, w.call, "setxattr", "/etc/conf", b"trusted.a", b"", os.XATTR_CREATE, caller=w.root)
    w.call("removexattr", "/etc/conf", b"trusted.a", caller=w.root)
    fails(errno.ENODATA, w.call, "removexattr", "/etc/conf", b"trusted.a", caller=w.root)
    assert w.call("listxattr", "/etc/conf", caller=w.root) == [b"security.selinux"]


def test_others_know_nothing_of_trusted_attributes(w):
    w.call("setxattr", "/etc/conf", b"trusted.a", b"1", 0, caller=w.root)
    if w.caller.uid:
        assert w.call("listxattr", "/etc/conf") == []
        fails(errno.ENODATA, w.call, "getxattr", "/etc/conf", b"trusted.a")
        for name in (b"trusted.a", b"security.selinux", b"user.apppot.trusted.a"):
            fails(errno.EPERM, w.call, "setxattr", "/etc/conf", name, b"", 0)
    fails(errno.ENODATA, w.call, "getxattr", "/etc/conf", b"user.apppot.trusted.a", caller=w.root)


def test_names_and_values_that_do_not_fit(w):
    fails(errno.ERANGE, w.call, "setxattr", "/etc/conf", b"trusted." + b"n" * 247, b"", 0, caller=w.root)
    try:
        os.setxattr(w.top, "user.large", bytes(60000))
    except OSError as error:
        fails(error.errno, w.call, "setxattr", "/etc/conf", b"trusted.large", bytes(60000), 0, caller=w.root)
    assert w.call("listxattr", "/etc/conf", caller=w.root) == []


def test_attributes_are_copied_up_with_their_file(w):
    kept = {"user.plain": b"1", "user.apppot.trusted.b": b"2", "user.apppot.system.posix_acl_access":
            access_list((USER, 4242, 4), mask=4)}
    for name, value in kept.items():
        os.setxattr(w.lowers[0] + b"/etc/conf", name, value)
    before = sorted(w.call("listxattr", "/etc/conf", caller=w.root))
    assert before == [b"system.posix_acl_access", b"trusted.b", b"user.plain"]
    w.write("/etc/conf", b"more", os.O_APPEND, caller=w.root)
    assert w.node("/etc/conf").upper
    assert sorted(w.call("listxattr", "/etc/conf", caller=w.root)) == before
    assert w.call("getxattr", "/etc/conf", b"trusted.b", caller=w.root) == b"2"


def test_a_list_is_one_with_the_mode(w):
    w.call("setxattr", "/etc/conf", ACCESS, access_list((USER, 7, 6), group=4, mask=6), 0, caller=w.root)
    assert w.stat("/etc/conf", caller=w.root).st_mode & 0o777 == 0o660
    w.call("chmod", "/etc/conf", 0o604, caller=w.root)
    assert w.call("getxattr", "/etc/conf", ACCESS, caller=w.root) == access_list((USER, 7, 6), group=4, mask=0, other=4)
    w.call("setxattr", "/etc/conf", ACCESS, access_list(owner=7, group=5, other=5), 0, caller=w.root)
    assert w.stat("/etc/conf", caller=w.root).st_mode & 0o777 == 0o755
    fails(errno.ENODATA, w.call, "getxattr", "/etc/conf", ACCESS, caller=w.root)
    w.call("removexattr", "/etc/conf", ACCESS, caller=w.root)


def test_lists_that_can_not_be(w):
    good = access_list((USER, 7, 6), mask=6)
    for bad in (b"\2\0\0", b"\1" + good[1:], good[:-8], good + good[4:12], good[:20] + good[28:],
                acl.pack([(USER_OBJ, 8, 0), (GROUP_OBJ, 4, 0), (OTHER, 0, 0)]), access_list((USER, 7, 6))):
        fails(errno.EINVAL, w.call, "setxattr", "/etc/conf", ACCESS, bad, 0, caller=w.root)
    fails(errno.EACCES, w.call, "setxattr", "/etc/conf", DEFAULT, good, 0, caller=w.root)
    fails(errno.EOPNOTSUPP, w.call, "setxattr", "/link", ACCESS, good, 0, follow=False, caller=w.root)
    w.call("chown", "/etc/conf", 5, 5, caller=w.root)
    fails(errno.EPERM, w.call, "setxattr", "/etc/conf", ACCESS, good, 0, caller=somebody(9))


@pytest.mark.parametrize("named, who, allowed", [
    (((USER, 7, 4),), somebody(7), os.R_OK),
    (((USER, 7, 6),), somebody(7), os.R_OK),                             # the mask takes w away
    (((USER, 7, 0),), somebody(7, 50), 0),                               # a user's entry counts before groups
    (((GROUP, 50, 4),), somebody(8, 1, 50), os.R_OK),
    (((GROUP, 50, 0), (GROUP, 51, 4)), somebody(8, 50, 51), os.R_OK),    # one group that may is enough
    (((GROUP, 50, 0),), somebody(8, 50), 0),
    (((GROUP, 50, 4),), somebody(9, 9), os.X_OK),                        # others
])
def test_the_supervisor_decides_by_lists(w, named, who, allowed):
    w.call("chown", "/etc/conf", 0, 0, caller=w.root)
    w.call("setxattr", "/etc/conf", ACCESS, access_list(*named, group=0, mask=4, other=1), 0, caller=w.root)
    for mask in (os.R_OK, os.W_OK, os.X_OK):
        if mask & allowed:
            w.call("access", "/etc/conf", mask, caller=who)
        else:
            fails(errno.EACCES, w.call, "access", "/etc/conf", mask, caller=who)


def test_a_list_lets_somebody_into_a_directory(w):
    w.call("chown", "/srv", 0, 0, caller=w.root)
    w.call("chmod", "/srv", 0o700, caller=w.root)
    w.call("mkdir", "/srv/sub", 0o755, caller=w.root)
    fails(errno.EACCES, w.node, "/srv/sub", caller=somebody(7))
    w.call("setxattr", "/srv", ACCESS, access_list((USER, 7, 7), owner=7, mask=7), 0, caller=w.root)
    assert w.node("/srv/sub", caller=somebody(7)).kind
    w.call("mkdir", "/srv/mine", 0o755, caller=somebody(7))
    fails(errno.EACCES, w.node, "/srv/sub", caller=somebody(8))


def test_what_is_made_in_a_directory_gets_its_default_list(w, tmp_path):
    default = access_list((USER, 7, 6), owner=7, group=5, mask=7, other=0)
    try:
        os.setxattr(tmp_path, DEFAULT, default)
    except OSError:
        pytest.skip("the file system of the tests has no access control lists")
    os.removexattr(tmp_path, DEFAULT)
    w.call("setxattr", "/srv", DEFAULT, default, 0, caller=w.root)
    assert w.call("getxattr", "/srv", DEFAULT, caller=w.root) == default
    w.write("/srv/file", b"", mode=0o664, caller=w.root)
    assert w.call("getxattr", "/srv/file", ACCESS, caller=w.root) == access_list((USER, 7, 6), group=5, mask=6)
    w.call("mkdir", "/srv/sub", 0o777, caller=w.root)
    assert w.call("getxattr", "/srv/sub", DEFAULT, caller=w.root) == default
    w.call("removexattr", "/srv", DEFAULT, caller=w.root)
    w.write("/srv/other", b"", caller=w.root)
    assert w.call("listxattr", "/srv/other", caller=w.root) == []
