"""What changes a file goes to the namespace; questions go to the host where its answer is right."""

import os
import struct
from errno import (
    E2BIG, EBADF, EFAULT, EINVAL, EISDIR, ENOENT, EOPNOTSUPP, ERANGE, EROFS,
)

import pytest

from apppot.syscalls import attributes, xattrs
from apppot.syscalls.answer import NATIVE, Run
from tests.syscalls.fake_task import UID, FakeTask, StubNamespace, call, fails

NOW = (1 << 30) - 1
OMIT = (1 << 30) - 2
NOFOLLOW, EMPTY, EACCESS = 0x100, 0x1000, 0x200
CWD = -100
SECOND = 1_000_000_000


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("file")
    return tmp_path


@pytest.fixture
def task(tree):
    task = FakeTask(StubNamespace(tree))
    opened = [os.open(tree / name, flags)
              for name, flags in (("file", os.O_RDONLY), ("dir", os.O_RDONLY), ("file", os.O_PATH))]
    task.descriptors.update(zip((3, 4, 5), opened))
    yield task
    for fd in opened:
        os.close(fd)


def host(task, name):
    return task.ns.root + name


# mode and owner


def test_modes(task):
    path = task.path(b"link")
    assert call(task, attributes.chmod, path, 0o107640) == 0
    assert call(task, attributes.fchmodat, CWD, path, 0o600) == 0
    assert call(task, attributes.fchmodat2, CWD, path, 0o600, 0) == 0
    assert call(task, attributes.fchmod, 3, 0o4755) == 0
    assert task.ns.did == [("chmod", b"/file", mode) for mode in (0o7640, 0o600, 0o600, 0o4755)]


def test_a_symlink_has_no_mode(task):
    fails(EOPNOTSUPP, task, attributes.fchmodat2, CWD, task.path(b"link"), 0o600, NOFOLLOW)
    assert call(task, attributes.fchmodat2, CWD, task.path(b"file"), 0o600, NOFOLLOW) == 0


def test_owners(task):
    path = task.path(b"link")
    assert call(task, attributes.chown, path, 1, -1) == 0
    assert call(task, attributes.lchown, path, -1, 2) == 0
    assert call(task, attributes.fchown, 3, 1, 2) == 0
    assert call(task, attributes.fchownat, 3, task.path(b""), 3, 4, EMPTY) == 0
    assert task.ns.did == [
        ("chown", b"/file", 1, -1), ("chown", b"/link", -1, 2), ("chown", b"/file", 1, 2), ("chown", b"/file", 3, 4),
    ]


def test_names_are_relative_to_the_descriptor(task, tree):
    (tree / "dir" / "inner").touch()
    call(task, attributes.fchmodat, 4, task.path(b"inner"), 0)
    assert task.ns.did == [("chmod", b"/dir/inner", 0)]


@pytest.mark.parametrize("error, path, flags", [
    (ENOENT, b"missing", 0), (ENOENT, b"", 0), (EINVAL, b"file", 0x8000), (EFAULT, None, 0),
])
def test_bad_names(task, error, path, flags):
    fails(error, task, attributes.fchownat, CWD, 0 if path is None else task.path(path), 0, 0, flags)
    assert task.ns.did == []


def test_bad_descriptors(task):
    fails(EBADF, task, attributes.fchmod, 99, 0)
    fails(EBADF, task, attributes.fchmod, -1, 0)
    fails(EBADF, task, attributes.fchmod, CWD, 0)
    fails(EBADF, task, attributes.fchmod, 5, 0)  # O_PATH
    assert call(task, attributes.fchownat, 5, task.path(b""), 1, 1, EMPTY) == 0


def test_a_file_without_a_name_is_changed_through_its_descriptor(task, tree):
    with open(tree / "gone", "w") as file:
        os.unlink(file.name)
        task.descriptors[7] = file.fileno()
        assert call(task, attributes.fchmod, 7, 0o640) == 0
        assert os.fstat(file.fileno()).st_mode & 0o7777 == 0o640
        times = task.put(struct.pack("<4q", 5, 6, 0, OMIT))
        assert call(task, attributes.utimensat, 7, 0, times, 0) == 0
        assert os.fstat(file.fileno()).st_atime_ns == 5 * SECOND + 6
        assert task.ns.did == []
        task.ns.mount.readonly = True
        fails(EROFS, task, attributes.fchmod, 7, 0)


def test_what_the_guest_deleted_from_the_image_stays_as_it_is(task, tree, monkeypatch):
    before = (tree / "file").stat().st_mode
    hidden = task.ns.at

    def whited_out(path):
        node = hidden(path)
        node.kind = 0
        return node

    monkeypatch.setattr(task.ns, "at", whited_out)
    assert call(task, attributes.fchmod, 3, 0) == 0
    assert (tree / "file").stat().st_mode == before


# times


def times(task, *numbers):
    return task.put(struct.pack(f"<{len(numbers)}q", *numbers))


def test_utime_and_utimes(task):
    path = task.path(b"file")
    assert call(task, attributes.utime, path, 0) == 0
    assert call(task, attributes.utime, path, times(task, 1, -2)) == 0
    assert call(task, attributes.utimes, path, times(task, 1, 2, 3, 4)) == 0
    assert call(task, attributes.futimesat, 3, 0, 0) == 0
    assert task.ns.did == [
        ("utime", b"/file", NOW, NOW),
        ("utime", b"/file", SECOND, -2 * SECOND),
        ("utime", b"/file", SECOND + 2000, 3 * SECOND + 4000),
        ("utime", b"/file", NOW, NOW),
    ]
    fails(EINVAL, task, attributes.utimes, path, times(task, 1, 1000000, 0, 0))


def test_utimensat(task):
    link = task.path(b"link")
    assert call(task, attributes.utimensat, CWD, link, times(task, 7, 8, 0, OMIT), NOFOLLOW) == 0
    assert call(task, attributes.utimensat, 3, 0, times(task, 0, NOW, 9, 0), 0) == 0
    assert call(task, attributes.utimensat, 3, task.path(b""), 0, EMPTY) == 0
    assert call(task, attributes.utimensat, CWD, task.path(b"missing"), times(task, 0, OMIT, 0, OMIT), 0) == 0
    assert task.ns.did == [
        ("utime", b"/link", 7 * SECOND + 8, None), ("utime", b"/file", NOW, 9 * SECOND), ("utime", b"/file", NOW, NOW),
    ]


def test_bad_times(task):
    path = task.path(b"file")
    fails(EINVAL, task, attributes.utimensat, CWD, path, times(task, 0, SECOND, 0, 0), 0)
    fails(EINVAL, task, attributes.utimensat, CWD, path, 0, 0x8000)
    fails(EINVAL, task, attributes.utimensat, 3, 0, 0, NOFOLLOW)
    fails(EFAULT, task, attributes.utimensat, CWD, 0, 0, 0)
    fails(EFAULT, task, attributes.utimensat, CWD, path, 1, 0)
    fails(EBADF, task, attributes.utimensat, 5, 0, 0, 0)


# size


def test_truncate(task):
    assert call(task, attributes.truncate, task.path(b"link"), 1 << 40) == 0
    assert task.ns.did == [("truncate", b"/file", 1 << 40)]
    fails(EINVAL, task, attributes.truncate, task.path(b"file"), -1)
    fails(EISDIR, task, attributes.truncate, task.path(b"dir"), 0)


# extended attributes


def test_setting_extended_attributes(task):
    link, name, value = task.path(b"link"), task.path(b"user.a"), task.put(b"hello")
    assert call(task, xattrs.setxattr, link, name, value, 5, 0) == 0
    assert call(task, xattrs.lsetxattr, link, name, value, 4, 1) == 0
    assert call(task, xattrs.fsetxattr, 3, name, 0, 0, 2) == 0
    args = task.put(struct.pack("<QII", value, 2, 1))
    assert call(task, xattrs.setxattrat, CWD, link, 0, name, args, 16) == 0
    assert task.ns.did == [
        ("setxattr", b"/file", b"user.a", b"hello", 0), ("setxattr", b"/link", b"user.a", b"hell", 1),
        ("setxattr", b"/file", b"user.a", b"", 2), ("setxattr", b"/file", b"user.a", b"he", 1),
    ]


def test_removing_extended_attributes(task):
    link, name = task.path(b"link"), task.path(b"user.a")
    call(task, xattrs.removexattr, link, name)
    call(task, xattrs.lremovexattr, link, name)
    call(task, xattrs.fremovexattr, 3, name)
    call(task, xattrs.removexattrat, CWD, link, NOFOLLOW, name)
    assert [path for _, path, _ in task.ns.did] == [b"/file", b"/link", b"/file", b"/link"]


def test_bad_extended_attributes(task):
    path, name = task.path(b"file"), task.path(b"user.a")
    fails(EINVAL, task, xattrs.setxattr, path, name, 0, 0, 4)
    fails(E2BIG, task, xattrs.setxattr, path, name, 0, 65537, 0)
    fails(ERANGE, task, xattrs.setxattr, path, task.path(b""), 0, 0, 0)
    fails(ERANGE, task, xattrs.setxattr, path, task.path(b"user." + b"a" * 251), 0, 0, 0)
    fails(EFAULT, task, xattrs.setxattr, path, 0, 0, 0, 0)
    fails(EINVAL, task, xattrs.setxattrat, CWD, path, 0, name, task.put(bytes(16)), 8)
    fails(E2BIG, task, xattrs.setxattrat, CWD, path, 0, name, task.put(bytes(16) + b"x"), 17)


def test_the_host_is_asked_where_nothing_is_recorded(task):
    link, name = task.path(b"link"), task.path(b"user.a")
    assert call(task, xattrs.getxattr, link, name, 0, 0) == Run({0: host(task, b"/file")})
    assert call(task, xattrs.lgetxattr, link, name, 0, 0) == Run({0: host(task, b"/link")})
    task.descriptors[4] = b"pipe:[1]"
    assert call(task, xattrs.fgetxattr, 4, name, 0, 0) is NATIVE
    assert call(task, xattrs.flistxattr, 4, 0, 0) is NATIVE


def test_attributes_that_may_be_kept_are_not_asked_of_the_host(task):
    kept = b"system.posix_acl_access"
    task.ns.xattrs = {kept: b"list"}
    assert call(task, xattrs.getxattr, task.path(b"link"), task.path(kept), 0, 0) == 4
    assert call(task, xattrs.fgetxattr, 3, task.path(kept), 0, 0) == 4
    for listing in (xattrs.listxattr, xattrs.llistxattr):
        assert call(task, listing, task.path(b"file"), 0, 0) == 24
    assert call(task, xattrs.flistxattr, 3, 0, 0) == 24


def test_recorded_extended_attributes(tree):
    task = FakeTask(StubNamespace(tree), root=True)
    task.descriptors[3] = host(task, b"/file")
    task.ns.xattrs = {b"user.a": b"hello", b"user.b": b""}
    path, name, buffer = task.path(b"file"), task.path(b"user.a"), task.put(bytes(32))
    assert call(task, xattrs.getxattr, path, name, 0, 0) == 5
    assert call(task, xattrs.getxattr, path, name, buffer, 5) == 5
    assert task.read(buffer, 6) == b"hello\0"
    fails(ERANGE, task, xattrs.getxattr, path, name, buffer, 4)
    assert call(task, xattrs.fgetxattr, 3, name, buffer, 32) == 5
    args = task.put(struct.pack("<QII", buffer, 32, 0))
    assert call(task, xattrs.getxattrat, CWD, path, 0, name, args, 16) == 5
    assert call(task, xattrs.listxattr, path, buffer, 32) == 14
    assert task.read(buffer, 14) == b"user.a\0user.b\0"
    assert call(task, xattrs.flistxattr, 3, 0, 0) == 14
    assert call(task, xattrs.listxattrat, 3, task.path(b""), EMPTY, buffer, 32) == 14


def test_inode_flags_are_not_kept(task):
    fails(EOPNOTSUPP, task, attributes.file_getattr, CWD, task.path(b"file"), 0, 0, 0)
    fails(ENOENT, task, attributes.file_setattr, CWD, task.path(b"missing"), 0, 0, 0)


# questions


def test_statfs_is_the_hosts(task):
    assert call(task, attributes.statfs, task.path(b"link"), 0) == Run({0: host(task, b"/file")})
    fails(ENOENT, task, attributes.statfs, task.path(b"missing"), 0)


def test_access_asks_the_host_about_plain_files(task):
    link = task.path(b"link")
    assert call(task, attributes.access, link, os.R_OK) == Run({0: host(task, b"/file")})
    assert call(task, attributes.faccessat, CWD, link, os.X_OK) == Run({1: host(task, b"/file")})
    assert call(task, attributes.faccessat2, CWD, link, os.F_OK, NOFOLLOW) == Run({1: host(task, b"/link")})
    assert task.ns.did == []
    fails(EINVAL, task, attributes.access, link, 8)
    fails(EINVAL, task, attributes.faccessat2, CWD, link, 0, 1)


def test_writing_is_the_overlays_business(task):
    assert call(task, attributes.access, task.path(b"file"), os.W_OK) == 0
    task.ns.plain = False
    assert call(task, attributes.access, task.path(b"file"), os.R_OK) == 0
    assert call(task, attributes.faccessat2, 3, task.path(b""), os.R_OK, EMPTY) == 0
    assert task.ns.did == [("access", b"/file", amode, UID) for amode in (os.W_OK, os.R_OK, os.R_OK)]


def test_access_is_about_the_real_user(task):
    task.creds = task.creds.after_exec(set_uid=0)
    call(task, attributes.access, task.path(b"file"), os.R_OK)
    call(task, attributes.faccessat2, CWD, task.path(b"file"), os.R_OK, EACCESS)
    assert [uid for *_, uid in task.ns.did] == [UID, 0]
