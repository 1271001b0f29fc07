"""What virtual root changes, and what other virtual identities may do."""

import errno
import os
import stat

from apppot.vfs.caller import Caller
from apppot.vfs.ownership import Ownership, escape, unescape
from tests.vfs.test_resolve import fails

LOWER = {"etc": {"passwd": b"root\n", "shadow": b"secret"}, "home": {}, "tmp": {}}
MALLORY = Caller(uid=4242, gid=4242, virtual=True)


def owner(w, path, caller=None):
    st = w.stat(path, caller=caller)
    return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)


def test_unrecorded_files_belong_to_whoever_looks(world):
    w = world(LOWER)
    assert owner(w, "/etc/passwd", w.root)[:2] == (0, 0)
    assert owner(w, "/etc/passwd", MALLORY)[:2] == (4242, 4242)
    assert owner(w, "/etc/passwd")[:2] == (os.geteuid(), os.getegid())


def test_chown_and_modes_survive_in_the_cow(world):
    w = world(LOWER)
    w.call("chown", "/etc/shadow", 0, 42, caller=w.root)
    w.call("chmod", "/etc/shadow", 0o4000, caller=w.root)
    for caller in (w.root, w.caller, MALLORY):
        assert owner(w, "/etc/shadow", caller) == (0, 42, 0o4000)
    assert stat.S_IMODE(os.stat(w.cow.upper + b"/etc/shadow").st_mode) == 0o600
    w.rename("/etc", "/new dir", caller=w.root)
    w.link("/new dir/shadow", "/hard\nlink", caller=w.root)
    for clean in (False, True, True):
        w.reopen(clean)
        assert owner(w, "/new dir/shadow", w.root) == owner(w, "/hard\nlink", w.root) == (0, 42, 0o4000)
    w.call("unlink", "/new dir/shadow", caller=w.root)
    w.reopen()
    assert owner(w, "/hard\nlink", w.root) == (0, 42, 0o4000)
    w.call("unlink", "/hard\nlink", caller=w.root)
    assert not w.ownership.records


def test_a_torn_line_of_the_log_is_ignored(world):
    w = world(LOWER)
    w.call("chown", "/etc/passwd", 1, 1, caller=w.root)
    w.ownership.close(False)
    with open(w.cow.ownership_log, "ab") as log:
        log.write(b"set 7 7 -1 -1 etc/pass")
    w.reopen(False)
    assert owner(w, "/etc/passwd", w.root)[:2] == (1, 1)
    with open(w.cow.ownership_log, "rb") as log:
        assert log.read() == b"set 1 1 -1 -1 etc/passwd\n"


def test_names_in_the_log():
    for name in (b"plain", b"a b", b"100%", b"new\nline", bytes(range(1, 256))):
        assert unescape(escape(name)) == name and b"\n" not in escape(name) and b" " not in escape(name)


def test_recorded_owners_decide(world):
    w = world(LOWER)
    w.call("chown", "/etc/shadow", 0, 0, caller=w.root)
    w.call("chmod", "/etc/shadow", 0o640, caller=w.root)
    w.call("chown", "/home", 0, 0, caller=w.root)
    w.call("chmod", "/home", 0o755, caller=w.root)
    fails(errno.EACCES, w.read, "/etc/shadow", MALLORY)
    fails(errno.EACCES, w.ns.access, MALLORY, w.node("/etc/shadow"), os.R_OK)
    fails(errno.EACCES, w.write, "/home/mine", b"", caller=MALLORY)
    fails(errno.EPERM, w.call, "chmod", "/etc/shadow", 0o777, caller=MALLORY)
    fails(errno.EPERM, w.call, "chown", "/etc/shadow", 4242, -1, caller=MALLORY)
    grouped = Caller(uid=4242, gid=4242, groups=(0,), virtual=True)
    assert w.read("/etc/shadow", grouped) == b"secret"
    w.call("chmod", "/home", 0o700, caller=w.root)
    fails(errno.EACCES, w.node, "/home/x", caller=MALLORY)
    fails(errno.EACCES, w.node, "/home/..", caller=MALLORY)
    assert w.node("/home/x", caller=w.root).kind == 0
    w.call("chmod", "/home", 0o711, caller=w.root)
    assert w.node("/home/x", caller=MALLORY).kind == 0


def test_sticky_directories(world):
    w = world(LOWER)
    w.call("chmod", "/tmp", 0o1777, caller=w.root)
    w.call("chown", "/tmp", 0, 0, caller=w.root)
    w.write("/tmp/f", b"", caller=w.root)
    w.call("chown", "/tmp/f", 77, 77, caller=w.root)
    fails(errno.EPERM, w.call, "unlink", "/tmp/f", caller=MALLORY)
    fails(errno.EPERM, w.rename, "/tmp/f", "/tmp/g", caller=MALLORY)
    w.call("unlink", "/tmp/f", caller=Caller(uid=77, gid=77, virtual=True))


def test_virtual_root_reads_what_it_forbade_everyone(world):
    w = world(LOWER)
    w.call("mkdir", "/secret", 0o000, caller=w.root)
    w.write("/secret/f", b"1", mode=0o000, caller=w.root)
    assert owner(w, "/secret", w.root)[2] == 0
    w.call("chmod", "/etc/passwd", 0o000, caller=w.root)
    w.write("/etc/passwd", b"more", os.O_APPEND, caller=w.root)
    assert w.read("/etc/passwd", w.root) == b"root\nmore"
    w.write("/secret/f", b"2", os.O_TRUNC, caller=w.root)
    assert w.read("/secret/f", w.root) == b"2"
    assert owner(w, "/secret/f", w.root)[2] == 0


def test_devices(world):
    w = world(LOWER)
    w.call("mknod", "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3), caller=Caller(umask=0, virtual=True))
    w.call("mknod", "/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0), caller=w.root)
    w.call("mknod", "/pipe", stat.S_IFIFO | 0o600, 0, caller=w.root)
    fails(errno.EPERM, w.call, "mknod", "/x", stat.S_IFCHR | 0o666, os.makedev(1, 3), caller=MALLORY)
    for again in range(2):
        assert w.node("/null").kind == stat.S_IFCHR
        assert w.stat("/null", caller=w.root).st_rdev == os.makedev(1, 3)
        assert owner(w, "/null", w.root) == (0, 0, 0o666)
        assert w.ns.open(w.root, w.node("/null"), os.O_RDWR) == b"/dev/null"
        fails(errno.ENXIO, w.ns.open, w.root, w.node("/disk"), os.O_RDONLY)
        assert dict((e[0], e[2] << 12) for e in w.ns.readdir(w.root, w.node("/")))[b"disk"] == stat.S_IFBLK
        assert stat.S_ISFIFO(os.stat(w.node("/pipe").host).st_mode)
        w.reopen(again)


def test_set_uid_bits_are_never_real(world):
    w = world(LOWER)
    w.write("/su", b"", caller=w.root)
    w.call("chown", "/su", 0, 0, caller=w.root)
    w.call("chmod", "/su", 0o4755, caller=w.root)
    assert owner(w, "/su") == (0, 0, 0o4755)
    assert stat.S_IMODE(os.stat(w.cow.upper + b"/su").st_mode) == 0o755
    w.call("chown", "/su", 5, 5, caller=w.root)
    assert owner(w, "/su") == (5, 5, 0o755)


def test_capabilities_are_recorded(world):
    w = world(LOWER)
    value = bytes.fromhex("0100000202000000000000000000000000000000")
    try:
        w.call("setxattr", "/etc/passwd", "security.capability", value, caller=w.root)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
        return
    assert w.call("getxattr", "/etc/passwd", "security.capability", caller=w.root) == value
    assert w.call("listxattr", "/etc/passwd", caller=w.root) == [b"security.capability"]
    w.call("removexattr", "/etc/passwd", "security.capability", caller=w.root)
    assert w.call("listxattr", "/etc/passwd", caller=w.root) == []


def test_setgid_directories_pass_their_group_on(world):
    w = world(LOWER)
    w.call("chown", "/home", 0, 50, caller=w.root)
    w.call("chmod", "/home", 0o2775, caller=w.root)
    w.call("mkdir", "/home/sub", 0o755, caller=w.root)
    assert owner(w, "/home/sub", w.root)[1:] == (50, 0o2755)


def test_records_without_a_log():
    ownership = Ownership()
    assert not ownership.records
    ownership.close()
