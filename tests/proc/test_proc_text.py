"""What /proc says, on sample texts of the kernel's."""

from types import SimpleNamespace

import pytest

from apppot.vfs import proc_text

STUB = b"/opt/apppot/stub"
WINDOW = b"/dev/shm/apppot-window"


def guest(path: bytes) -> bytes | None:
    """A machine whose image is /image, with the job directory on /home/user/job."""
    for host, name in ((b"/image", b""), (b"/host/job", b"/home/user/job")):
        if path == host or path.startswith(host + b"/"):
            return name + path[len(host):] or b"/"
    return None


@pytest.mark.parametrize(("host", "shown"), [
    (b"/image/usr/bin/cat", b"/usr/bin/cat"),
    (b"/image", b"/"),
    (b"/host/job/input data", b"/home/user/job/input data"),
    (b"/image/tmp/x (deleted)", b"/tmp/x (deleted)"),
    (b"pipe:[4711]", b"pipe:[4711]"),
    (b"socket:[12]", b"socket:[12]"),
    (b"anon_inode:[eventpoll]", b"anon_inode:[eventpoll]"),
    (b"/memfd:name (deleted)", b"/memfd:name (deleted)"),
    (b"/imagery/secret", b"(unreachable)/secret"),
])
def test_a_magic_link_shows_the_guests_name(host, shown):
    assert proc_text.link(host, guest) == shown


MAPS = b"""\
00400000-00452000 r-xp 00000000 08:02 173521      /image/usr/bin/dbus-daemon
00651000-00652000 r--p 00051000 08:02 173521                             /image/usr/bin/a name
00e03000-00e24000 rw-p 00000000 00:00 0           [heap]
35b1a21000-35b1a22000 rw-p 00000000 00:00 0
7e8100000000-7e8100100000 r--s 00000000 00:1a 99  /dev/shm/apppot-window (deleted)
7e8200000000-7e8200001000 r-xp 00000000 08:02 98  /opt/apppot/stub
f2c6ff8c000-7f2c7078c000 rw-p 00000000 00:00 0    [stack:986]
7f0000000000-7f0000001000 rw-s 00000000 00:05 77  /memfd:x (deleted)
7f0000002000-7f0000003000 rw-p 00000000 08:02 78  /image/tmp/gone (deleted)
7f0000004000-7f0000005000 rw-p 00000000 08:02 79  /image/tmp/two\\012lines
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
"""


def test_maps_show_guest_names_and_hide_stub_and_window():
    assert proc_text.maps(MAPS, guest, {STUB, WINDOW}) == b"""\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
00651000-00652000 r--p 00051000 08:02 173521                             /usr/bin/a name
00e03000-00e24000 rw-p 00000000 00:00 0           [heap]
35b1a21000-35b1a22000 rw-p 00000000 00:00 0
f2c6ff8c000-7f2c7078c000 rw-p 00000000 00:00 0    [stack:986]
7f0000000000-7f0000001000 rw-s 00000000 00:05 77  /memfd:x (deleted)
7f0000002000-7f0000003000 rw-p 00000000 08:02 78  /tmp/gone (deleted)
7f0000004000-7f0000005000 rw-p 00000000 08:02 79  /tmp/two\\012lines
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
"""


def test_smaps_lines_go_with_their_mapping():
    smaps = b"""\
7e8200000000-7e8200001000 r-xp 00000000 08:02 98  /opt/apppot/stub
Size:                  4 kB
VmFlags: rd ex mr mw me
00400000-00452000 r-xp 00000000 08:02 173521      /image/bin/x
Size:                328 kB
VmFlags: rd ex mr mw me
"""
    assert proc_text.maps(smaps, guest, {STUB}) == b"""\
00400000-00452000 r-xp 00000000 08:02 173521      /bin/x
Size:                328 kB
VmFlags: rd ex mr mw me
"""


def test_numa_maps():
    text = b"""\
00400000 default file=/image/usr/bin/a\\040b mapped=1 active=0 N0=1 kernelpagesize_kB=4
7e8200000000 default file=/opt/apppot/stub mapped=1 N0=1
7ffd0000 default stack anon=3 dirty=3 N0=3
"""
    assert proc_text.numa_maps(text, guest, {STUB}) == b"""\
00400000 default file=/usr/bin/a\\040b mapped=1 active=0 N0=1 kernelpagesize_kB=4
7ffd0000 default stack anon=3 dirty=3 N0=3
"""


def mount(path, fstype=b"ext4", source=b"apppot", options=b"rw,relatime"):
    return SimpleNamespace(path=path, fstype=fstype, source=source, options=options)


MOUNTS = [mount(b"/"), mount(b"/proc", b"proc", b"proc"), mount(b"/home/user/my job", source=b"job dir", options=b"ro"),
          mount(b"/home/user/my job/in", b"hostfs", b"/host/job")]


def test_mounts():
    assert proc_text.mounts(MOUNTS).splitlines() == [
        b"apppot / ext4 rw,relatime 0 0", b"proc /proc proc rw,relatime 0 0",
        b"job\\040dir /home/user/my\\040job ext4 ro 0 0", b"hostfs /home/user/my\\040job/in hostfs rw,relatime 0 0"]


def test_mountinfo_knows_what_is_mounted_on_what():
    lines = proc_text.mountinfo(MOUNTS, lambda path: 0x801).splitlines()
    assert lines[0] == b"21 20 8:1 / / rw,relatime - ext4 apppot rw"
    assert lines[2] == b"23 21 8:1 / /home/user/my\\040job ro - ext4 job\\040dir ro"
    assert lines[3].split()[:2] == [b"24", b"23"]


def test_mountstats():
    assert proc_text.mountstats(MOUNTS[:1]) == b"device apppot mounted on / with fstype ext4\n"


STATUS = b"""\
Name:\tcat
State:\tt (tracing stop)
Tgid:\t4242
PPid:\t4241
TracerPid:\t4000
Uid:\t1000\t1000\t1000\t1000
Gid:\t1000\t1000\t1000\t1000
Groups:\t4 1000 
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t1
Speculation_Store_Bypass:\tthread vulnerable
"""


def fields(text):
    return dict(line.split(":\t") for line in text.decode().splitlines())


def who(uid, virtual=True, groups=(0,)):
    return SimpleNamespace(ruid=uid, euid=uid, suid=uid, fsuid=uid, rgid=uid, egid=uid, sgid=uid, fsgid=uid,
                           groups=groups, virtual=virtual)


def test_status_hides_the_supervisor():
    shown = fields(proc_text.status(STATUS, who(7, virtual=False)))
    assert shown == fields(STATUS) | {"TracerPid": "0", "NoNewPrivs": "0", "Seccomp": "0", "Seccomp_filters": "0",
                                      "State": "R (running)"}


def test_status_shows_the_guests_own_filter():
    shown = fields(proc_text.status(STATUS.replace(b"filters:\t1", b"filters:\t3"), None))
    assert (shown["Seccomp"], shown["Seccomp_filters"]) == ("2", "2")


def test_status_of_an_old_kernel_has_no_filter_count():
    assert fields(proc_text.status(STATUS.replace(b"Seccomp_filters:\t1\n", b""), None))["Seccomp"] == "0"


def test_status_of_virtual_root_and_of_a_stopped_virtual_user():
    root = fields(proc_text.status(STATUS, who(0, groups=(0, 4))))
    assert (root["Uid"], root["Groups"], root["CapEff"]) == ("0\t0\t0\t0", "0 4 ", "000001ffffffffff")
    user = fields(proc_text.status(STATUS, who(33), stopped=True))
    assert (user["Gid"], user["CapEff"], user["State"]) == ("33\t33\t33\t33", "0" * 16, "T (stopped)")


def test_the_state_of_a_stopped_task_with_a_nasty_name():
    stat = b"12 (a) t (b) t 1 12 12 0 -1 4194304 90"
    assert proc_text.stat_state(stat) == b"t"
    assert proc_text.stopped_stat(stat) == b"12 (a) t (b) T 1 12 12 0 -1 4194304 90"


def test_auxv_is_read_behind_argv_and_envp():
    words = [2, 0x10, 0x20, 0, 0x30, 0, 3, 111, 9, 222, 0, 0]
    stack = b"".join(word.to_bytes(8, "little") for word in words)
    kept = b"".join(word.to_bytes(8, "little") for word in (3, 1, 9, 2, 0, 0))

    def read(address, length):
        return stack[address - 0x1000:address - 0x1000 + length]

    assert proc_text.auxv(read, 0x1000, kept) == stack[-48:]
    assert proc_text.auxv(read, 0x2000, kept) == kept
    assert proc_text.auxv(lambda address, length: bytes(length), 0x1000, kept) == kept
