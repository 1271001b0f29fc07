"""The fast path answers what the slow path would, and what it is there for makes no stops."""

import os
import re

import pytest


def test_repeated_calls_make_no_stops(run_guest):
    script = "import os\nfor _ in range(2000): os.stat('/usr/bin/env'); os.access('/etc/passwd', 4); open('/etc/passwd').close()"
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], check=True)
    total = int(re.search(r"(\d+) calls intercepted", done.stderr)[1])
    off = run_guest("python3", "-S", "-c", script, options=["--stats", "--isolation", "strict"], check=True)
    assert total < 1000 < 6000 < int(re.search(r"(\d+) calls intercepted", off.stderr)[1])


def test_it_is_on_where_nothing_is_to_confine_guests(run_guest):
    script = "import os\nfor _ in range(2000): os.stat('/usr/bin/env')"
    done = run_guest("python3", "-S", "-c", script, options=["--stats", "--isolation", "none"], check=True)
    assert int(re.search(r"(\d+) calls intercepted", done.stderr)[1]) < 500
    assert int(re.search(r"(\d+) calls answered without", done.stderr)[1]) > 1900


def test_names_in_a_directory_whose_lower_part_is_empty(run_guest):
    """An image's /tmp: names in it make no stops, it is itself as ever, and what is missing by one name is there by another."""
    script = """
import os
top = os.stat("/tmp")
def itself():
    opened = os.open("/tmp", os.O_RDONLY)
    seen = os.stat("/tmp"), os.lstat("/tmp/"), os.stat("/tmp/."), os.fstat(opened)
    os.close(opened)
    assert all((one.st_dev, one.st_ino, one.st_mode) == (top.st_dev, top.st_ino, top.st_mode) for one in seen)
for number in range(1000):
    os.close(os.open("/tmp/new", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.rename("/tmp/new", "/tmp/old"), os.stat("/tmp/old"), os.link("/tmp/old", "/tmp/new"), os.unlink("/tmp/old")
    os.unlink("/tmp/new")
os.chdir("/tmp")
for number in range(5):
    itself()
    assert not os.path.exists(f"{number}") and not os.path.lexists(f"{number}") and not os.access(f"{number}", 0)
    open(f"/tmp/{number}", "w").close()
    os.stat(f"{number}"), os.stat(f"/tmp/{number}")
    os.mkdir(f"/tmp/d{number}"), os.stat(f"d{number}"), open(f"d{number}/file", "w").close()
    assert sorted(os.listdir("/tmp")) == sorted(os.listdir(".")) == sorted(f"{d}{n}" for d in ("", "d") for n in range(number + 1))
    os.rename(f"/tmp/{number}", "/tmp/other")
    assert not os.path.exists(f"{number}")
    os.rename("other", f"/tmp/{number}")
"""
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], check=True)
    assert all(_counted(done, call) < 100 for call in ("openat", "rename", "newfstatat", "link", "unlink"))


def test_readlink_of_what_is_no_link(run_guest):
    """What realpath(3) asks at every component of a path: directories in merged and in other directories, files."""
    script = """
import errno, os
names = "/usr", "/usr/lib", "/usr/bin/env", "/etc", "/etc/passwd", "/tmp", "/tmp/d"
os.mkdir("/tmp/d")
def look():
    for name in names:
        try:
            os.readlink(name)
        except OSError as error:
            assert error.errno == errno.EINVAL, name
        else:
            raise AssertionError(name)
for _ in range(1000): look()
os.rmdir("/tmp/d")
try:
    os.readlink("/tmp/d")
except FileNotFoundError:
    os.symlink("/usr", "/tmp/d")
print(os.readlink("/tmp/d"))
os.unlink("/tmp/d")
os.mkdir("/tmp/d")
look()
os.rename("/tmp/d", "/tmp/e")
os.symlink("e", "/tmp/d")
print(os.readlink("/tmp/d"))
"""
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], check=True)
    assert done.stdout == "/usr\ne\n"
    counted = re.search(r"(\d+)  readlink$", done.stderr, re.MULTILINE)
    assert counted is None or int(counted[1]) < 100


def test_virtual_root_sees_its_own_files(run_guest):
    script = "import os\nfor _ in range(5): print(os.stat('/usr/bin/env').st_uid, os.stat('/tmp').st_uid)"
    assert run_guest("python3", "-c", script, options=["--root"], check=True).stdout == "0 0\n" * 5


def test_what_others_do_in_a_bound_directory_is_seen(start_guest, job):
    """Files come, go and become links from outside, between two looks through a patched site."""
    script = """
import os, sys
for line in sys.stdin:
    try:
        os.stat("d/x"), os.stat("d/x")
        print("there", os.stat("/home/user/job/d/x").st_size, flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""
    (job / "d").mkdir()
    guest = start_guest("python3", "-c", script)

    def look():
        guest.stdin.write("\n")
        guest.stdin.flush()
        return guest.stdout.readline().strip()

    assert look() == look() == "No such file or directory"
    (job / "d" / "x").write_text("now")
    assert look() == look() == "there 3"
    (job / "d" / "x").unlink()
    (job / "d" / "x").symlink_to("nowhere")
    assert look() == look() == "No such file or directory"
    (job / "d").rename(job / "e")
    (job / "d").symlink_to("e")
    (job / "e" / "nowhere").write_text("found")
    assert look() == look() == "there 5"


def _counted(done, call):
    counted = re.search(rf"(\d+)  {call}$", done.stderr.partition("fast path:")[0], re.MULTILINE)
    return int(counted[1]) if counted else 0


LOOK = """
import os, stat
def look(*names):
    for name in names:
        for call in os.stat, os.lstat, os.readlink, os.listdir, lambda name: os.access(name, os.R_OK), \\
                lambda name: str(os.statvfs(name).f_fsid), lambda name: os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK):
            for _ in range(3):
                try:
                    told = call(name)
                except OSError as error:
                    told = error.strerror
                if isinstance(told, os.stat_result):
                    told = oct(told.st_mode), told.st_nlink, told.st_uid, told.st_size
                elif isinstance(told, list):
                    told = len(told), "sudo" in told, "new" in told
                elif isinstance(told, int) and told > 2:
                    os.close(told)
                    told = "open"
            print(name, told)
"""


def test_directories_with_mount_points(run_guest):
    """/usr/bin is one layer's, but for the programs that AppPot puts there; then root changes it."""
    script = LOOK + """
def all():
    look("/usr/bin/env", "/usr/bin/sudo", "/usr/bin/apppot-snap", "/usr/bin/awk", "/usr/bin/new", "/usr/bin", "/bin/sudo")
    os.chdir("/usr/bin")
    look("env", "sudo", "awk", "new", "../bin/sudo", "../bin/new", ".")
all()
os.symlink("sudo", "new")
all()
os.unlink("/usr/bin/new"), os.unlink("/usr/bin/env"), os.mkdir("new")
all()
"""
    told = {isolation: run_guest("python3", "-S", "-c", script, options=["--root", "--isolation", isolation], check=True).stdout
            for isolation in ("standard", "strict")}
    assert told["standard"] == told["strict"]
    assert "/usr/bin/new ('0o40" in told["strict"] and "/usr/bin/env No such file" in told["strict"]


def test_what_stands_for_itself_in_a_directory_of_several_layers(run_guest, job):
    """Files, directories, mount points and symlinks, named in /etc and /home/user and in the root, while they change."""
    script = LOOK + """
names = "/etc/passwd", "/etc/mtab", "/etc/new", "/home/user/job", "/home/user/link", "/tmp/d", "/tmp/d/e", "/usr", "/lib", "/dev/null", "/proc/filesystems"
def all():
    look(*names)
    os.chdir("/tmp")
    look("d", "d/e", "../etc/new", "../home/user/link", ".")
    os.chdir("/home/user")
    look("job", "link", "job/later", ".")
all()
os.makedirs("/tmp/d/e"), os.symlink("/tmp/d", "/home/user/link"), os.symlink("/home/user/job/later", "/etc/new")
all()
open("/home/user/job/later", "w").close()
all()
os.rename("/tmp/d", "/tmp/f"), os.symlink("f", "/tmp/d")
all()
os.unlink("/tmp/d"), os.mkdir("/tmp/d"), os.chmod("/tmp/d", 0o300)
all()
os.unlink("/home/user/job/later"), os.unlink("/home/user/link"), os.mkdir("/home/user/link"), os.unlink("/etc/new")
all()
"""
    for root in ["--root"], []:
        if not root:
            script = script.replace("/etc/new", "/var/tmp/new")
        told = {}
        for isolation in "standard", "strict":
            told[isolation] = run_guest("python3", "-S", "-c", script, options=[*root, "--isolation", isolation], check=True).stdout
        assert told["standard"] == told["strict"]


@pytest.mark.parametrize("root", [True, False])
def test_names_that_end_in_a_dot(run_guest, root):
    """As compilers name directories; also by way of what is missing, which may come to be there, and where nobody may search."""
    place = "/opt" if root else "/tmp"
    script = LOOK + f"""
place = {place!r}
names = ("/usr/bin/.", "/usr/bin/./", "/usr/bin//.", "/usr/bin/../lib/.", "/usr/bin/../new/a/.", "/usr/new/a", "/lib/.", "/etc/.",
         "/etc/passwd/.", "/usr/bin/env/.", "/.", "//.", "/usr/./.", "/usr/../.", place + "/d/.", place + "/d/e/.", place + "/l/.",
         place + "/d/../new/a/.", place + "/d/../new/a", place + "/new/.", place + "/d/file/.")
def all():
    look(*names)
    os.chdir(place)
    look("d/.", "d/e/.", "./.", "l/.", "d/../new/a/.", "new/a/.")
os.makedirs(place + "/d/e"), os.symlink("d", place + "/l"), open(place + "/d/file", "w").close()
all()
os.makedirs(place + "/new/a")
all()
os.rmdir(place + "/new/a"), open(place + "/new/a", "w").close()
all()
for mode in 0o600, 0o300, 0o711:
    os.chmod(place + "/d", mode)
    all()
os.rename(place + "/d", place + "/f"), os.symlink("f", place + "/d")
all()
if place == "/opt":
    os.makedirs("/usr/new/a")
    all()
"""
    options = ["--root"] if root else []
    told = {isolation: run_guest("python3", "-S", "-c", script, options=[*options, "--isolation", isolation], check=True).stdout
            for isolation in ("standard", "strict")}
    assert told["standard"] == told["strict"]
    assert f"{place}/d/. ('0o40600'" in told["strict"] if root else f"{place}/d/. Permission denied" in told["strict"]


def test_what_compilers_look_for_makes_no_stops(run_guest):
    script = """
import os
for _ in range(1000):
    for name in "/usr/bin/.", "/usr/lib/../lib/.", "/usr/bin/../missing/lib/.", "/usr/bin/../missing/lib/crt1.o":
        os.access(name, os.R_OK) if name.endswith("o") else os.path.isdir(name)
"""
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], check=True)
    assert _counted(done, "newfstatat") < 100 and _counted(done, "access") < 100


def test_files_that_are_looked_at_without_following_make_no_stops(run_guest):
    script = """
import os
for _ in range(1000):
    os.lstat("/usr/bin/env"), os.lstat("/etc/passwd"), os.stat("/home/user/job"), os.lstat("/home/user/job")
    os.readlink("/usr/bin/awk")
    os.statvfs("/usr"), os.close(os.open("/proc/filesystems", os.O_RDONLY))
os.chdir("/usr/bin")
for _ in range(1000):
    os.lstat("env"), os.lstat("awk"), os.close(os.open(".", os.O_RDONLY))
"""
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], check=True)
    assert all(_counted(done, call) < 500 for call in ("newfstatat", "openat", "readlink", "statfs"))


def test_extended_attributes(run_guest, job):
    """Of files without any, with those of users, and with those that are kept under other names."""
    script = """
import os, sys
def look(name):
    for follow in True, False:
        for attribute in "system.posix_acl_access", "security.selinux", "security.capability", "trusted.a", "user.a", \\
                "user.apppot.trusted.a", "bad":
            for _ in range(2):
                try:
                    told = os.getxattr(name, attribute, follow_symlinks=follow)
                except OSError as error:
                    told = error.strerror
            print(name, attribute, follow, told)
        for _ in range(2):
            try:
                told = sorted(os.listxattr(name, follow_symlinks=follow))
            except OSError as error:
                told = error.strerror
        print(name, follow, told)
os.chdir(sys.argv[1])
for name in "plain", "users", "kept", "closed":
    open(name, "w").close()
def put(name, attribute, value):
    try:
        os.setxattr(name, attribute, value)
    except OSError as error:
        print(name, attribute, error.strerror)
look("users"), look("kept"), look("missing")
put("users", "user.a", b"1"), put("kept", "user.a", b"2"), put("kept", "trusted.a", b"3"), put("closed", "user.a", b"4")
put("kept", "system.posix_acl_access", bytes.fromhex(
    "0200000001000600ffffffff020004000100000004000400ffffffff10000400ffffffff20000000ffffffff"))
os.chmod("closed", 0), os.symlink("kept", "link"), os.symlink("nowhere", "dangling"), os.mkdir("directory")
for name in "plain", "users", "kept", "closed", "link", "dangling", "directory", "missing", "plain/x", ".", "/etc/passwd", \\
        "/usr/bin/env", "/usr", "/etc", "/home/user/job", "/proc/self/status", "/dev/null":
    look(name)
os.removexattr("users", "user.a")
os.rename("kept", "plain")
look("users"), look("kept"), look("plain")
"""
    (job / "look.py").write_text(script)
    for place in "/home/user/job/x", "/tmp", "/tmp/x":
        for root in [], ["--root"]:
            told = [run_guest("sh", "-c", 'mkdir -p $1; python3 -S /home/user/job/look.py $1; rm -rf $1', "sh", place,
                              options=[*root, "--isolation", isolation], check=True).stdout
                    for isolation in ("standard", "strict")]
            assert told[0] == told[1]
            assert "users user.a True b'1'" in told[0]
            assert "closed system.posix_acl_access True No data available" in told[0]


def test_attributes_of_files_without_any_make_no_stops(run_guest):
    script = """
import os
for _ in range(1000):
    os.listxattr("/usr/bin/env")
    try:
        os.getxattr("/usr/bin/env", "system.posix_acl_access", follow_symlinks=False)
    except OSError:
        continue
"""
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], check=True)
    assert (os.getuid() == 0 or _counted(done, "listxattr") < 10) and _counted(done, "lgetxattr") < 10
