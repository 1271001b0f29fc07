"""What programs ask as they start is answered without stops, as the supervisor would answer it."""

import re

import pytest

MISSING = """
import errno, os
def failed(path):
    try:
        os.execv(path, ["it"])
    except OSError as error:
        return errno.errorcode[error.errno]
os.mkdir("/tmp/work")
os.chdir("/tmp/work")
os.mkdir("directory")
os.symlink("none", "dangling")
os.symlink("/bin/true", "link")
names = "/usr/bin/none", "/etc/none", "/none", "/tmp/work/none", "none", "./none", "directory/none", "/none/none"
others = "none/none", "dangling", "/tmp/work/dangling/", "directory", "/tmp/work/directory", "/etc/passwd", "/etc/passwd/none", "/usr/bin/env/", "", "a" * 300
for _ in range(300):
    assert {failed(name) for name in names} == {"ENOENT"}
print([failed(name) for name in others])
def runs(path):
    child = os.fork()
    if child == 0:
        os.execv(path, ["it"])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
os.symlink("/bin/true", "none")
os.link("none", "directory/none")
assert all(map(runs, ["/tmp/work/none", "none", "./none", "link", "directory/none"]))
os.rename("none", "other")
print(failed("none"), runs("other"), failed("/tmp/work/none"))
"""

NAMES = """
import errno, os, socket
a, b = socket.socketpair()
server = socket.socket(socket.AF_UNIX)
server.bind("/tmp/named")
r, w = os.pipe()
path = os.open("/etc", os.O_PATH)
inet = socket.socket()
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def asked(call, fd, length=110):
    buffer, room = ctypes.create_string_buffer(110), ctypes.c_int(length)
    if libc[call](fd, buffer, ctypes.byref(room)):
        return errno.errorcode[ctypes.get_errno()]
    return room.value, buffer.raw[:room.value]
for _ in range(300):
    said = [(asked("getsockname", fd), asked("getpeername", fd)) for fd in (0, r, w, path, 999, -1)]
print(said, asked("getpeername", r, -1), libc.getpeername(r, 1, 1))
print([(asked("getsockname", one.fileno()), asked("getpeername", one.fileno())) for one in (a, server, inet)])
print(server.getsockname())
"""


def counted(done, call):
    """How many calls stopped."""
    seen = done.stderr.partition("fast path:")[0]
    found = re.search(rf"^ *(\d+)  {call}$", seen, re.MULTILINE)
    return int(found[1]) if found else 0


def both(run_guest, script, *options):
    """The run with the fast path, which prints what one without it does."""
    on, off = [run_guest("python3", "-S", "-c", script, options=["--stats", "--isolation", isolation, *options], check=True)
               for isolation in ("standard", "strict")]
    assert on.stdout.splitlines() == off.stdout.splitlines()
    return on


def test_programs_that_are_not_there(run_guest):
    assert counted(both(run_guest, MISSING), "execve") < 100


def test_names_of_what_is_no_socket(run_guest):
    done = both(run_guest, NAMES)
    assert counted(done, "getsockname") < 50 and counted(done, "getpeername") < 50


@pytest.mark.parametrize("options", [(), ("--hostname", "given"), ("--root",)])
def test_the_machines_name(run_guest, options):
    script = """
import os, socket
names = [os.uname() for _ in range(200)]
assert len(set(names)) == 1
print(names[0])
try:
    socket.sethostname("other")
except PermissionError:
    print("may not")
print(os.uname(), socket.gethostname())
"""
    done = both(run_guest, script, *options)
    assert counted(done, "uname") < 10 or options[:1] == ("--hostname",)
    assert ("'other'" in done.stdout or "nodename='other'" in done.stdout) == (options == ("--root",))


def test_access_by_way_of_symlinks(run_guest):
    script = """
import os
os.symlink("/bin/true", "/tmp/program")
os.symlink("/etc/passwd", "/tmp/text")
names = "/usr/bin/awk", "/usr/bin/gcc", "/bin/sh", "/lib64/ld-linux-x86-64.so.2", "/home", "/tmp", "/etc"
for _ in range(300):
    said = [[os.access(name, mode) for mode in (0, 4, 1, 5)] for name in names]
    assert os.access("/tmp", 7)
print(said)
names += "/tmp/program", "/tmp/text"
for name in names:
    print([os.access(name, mode) for mode in range(8)])
    print([os.access(name, mode, follow_symlinks=False) for mode in (0, 1)])
os.unlink("/tmp/text")
print(os.access("/tmp/text", 0))
os.symlink("/none", "/tmp/text")
print(os.access("/tmp/text", 0))
os.rename("/tmp/program", "/tmp/text")
print(os.access("/tmp/text", 1), os.access("/tmp/program", 0))
"""
    assert counted(both(run_guest, script), "access") < 200


@pytest.mark.parametrize("options", [(), ("--root",)])
def test_directories_of_several_layers_themselves(run_guest, options):
    script = """
import os
places = "/home", "/home/", "/etc", "/tmp", "/root/../etc"
def looks(path):
    status = os.stat(path)
    opened = os.open(path, os.O_RDONLY)
    assert os.fstat(opened) == status == os.lstat(path)
    os.close(opened)
    return status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_dev, status.st_ino
for _ in range(200):
    seen = [os.stat(place) for place in places]
print([looks(place) for place in places])
before = os.stat("/tmp").st_mtime_ns
os.mkdir("/tmp/new")
assert os.stat("/tmp").st_mtime_ns > before
if os.getuid() == 0:
    os.chmod("/home", 0o710), os.chown("/etc", 5, 6)
    print([looks(place) for place in places])
    os.mkdir("/srv/new")
    assert len({os.stat("/srv") for _ in range(9)}) == 1
    os.rename("/srv", "/moved")
    assert not os.path.exists("/srv") and os.path.isdir("/moved/new")
    os.mkdir("/srv", 0o700)
    print(oct(os.stat("/srv").st_mode))
    os.rmdir("/srv"), os.symlink("/moved", "/srv")
    assert os.stat("/srv") == os.stat("/moved") != os.lstat("/srv")
"""
    assert counted(both(run_guest, script, *options), "newfstatat") < 300


def test_no_terminal(run_guest):
    """What a shell opens first."""
    script = """
import errno, os
child = os.fork()
if child == 0:
    os.setsid()
    for _ in range(300):
        try:
            os.open("/dev/tty", os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO
    os.mkfifo("/tmp/fifo")
    try:
        os.open("/tmp/fifo", os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        os._exit(error.errno)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = both(run_guest, script)
    assert done.stdout == "6\n" and counted(done, "openat") < 100


def test_threads_and_programs_take_no_stop_of_clone3(run_guest):
    """glibc then makes them by clone; whoever asks for clone3 itself gets it."""
    script = """
import ctypes, os, threading
for _ in range(20):
    thread = threading.Thread(target=lambda: None)
    thread.start(), thread.join()
    child = os.posix_spawn("/bin/true", ["true"], os.environ)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
arguments = (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17)
child = ctypes.CDLL(None).syscall(435, arguments, 64)
if child == 0:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = both(run_guest, script)
    assert done.stdout == "7\n" and counted(done, "clone3") == 1
