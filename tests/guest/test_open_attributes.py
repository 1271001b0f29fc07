"""Extended attributes and access control lists of open files: the same with the fast path on and off, and few stops."""

import os
import re

import pytest

from apppot.platform import landlock

fast_path = pytest.mark.skipif(landlock.abi() == 0, reason="without Landlock the fast path is off")

LOOK = r"""
import os, struct, sys
NAMES = ("system.posix_acl_access", "security.selinux", "security.capability", "trusted.a", "user.a", "user.apppot.trusted.a", "bad")
ACL = "system.posix_acl_access"
def entries(*given):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, bits, number) for tag, bits, number in given)
NOBODY = 0xffffffff
SMALL = entries((1, 6, NOBODY), (4, 4, NOBODY), (32, 0, NOBODY))
LARGE = entries((1, 6, NOBODY), (2, 4, 1234), (4, 4, NOBODY), (16, 5, NOBODY), (32, 1, NOBODY))
def tell(what, call, *arguments):
    told = []
    for _ in range(3):                  # the first time the site may not be patched yet
        try:
            told.append(call(*arguments))
        except OSError as error:
            told.append(error.strerror)
    print(what, *arguments[1:2], sorted(map(str, told)))
def look(what, fd):
    tell(what, lambda fd: sorted(os.listxattr(fd)), fd)
    for name in NAMES:
        tell(what, os.getxattr, fd, name)
def put(what, fd, name, value, flags=0):
    try:
        os.setxattr(fd, name, value, flags)
    except OSError as error:
        print(what, name, error.strerror)
def looked(what, name, flags=os.O_RDONLY):
    fd = os.open(name, flags, 0o644)
    look(what, fd)
    return fd

def lists(what, fd):
    for value in SMALL, LARGE, SMALL, LARGE, b"", LARGE[:-3], LARGE[:-8], b"x":
        put(what, fd, ACL, value)
        print(what, oct(os.fstat(fd).st_mode), os.fstat(fd).st_size)
        look(what, fd)
    for mode in 0o2755, 0o4711:
        os.fchmod(fd, mode)
        put(what, fd, ACL, SMALL, os.XATTR_REPLACE)
        print(what, oct(os.fstat(fd).st_mode))

made = os.O_RDWR | os.O_CREAT
for what, name in ("upper", "/tmp/made"), ("job", "/home/user/job/made"), ("shared", "/dev/shm/made-" + sys.argv[1]):
    fd = looked(what, name, made)
    lists(what, fd)
    for name_, value in ("user.a", b"1"), ("trusted.a", b"2"), ("user.apppot.trusted.a", b"3"):
        put(what, fd, name_, value)
        look(what, fd)
    os.chmod(name, 0)
    look(what, fd)
    os.rename(name, name + ".moved")
    other = looked(what, name, made)            # another has its name now
    put(what, other, "user.a", b"4")
    look(what, fd), look(what, other)
    os.rename(name, name + ".moved")            # and has taken its place
    look(what, fd), look(what, other)
    os.unlink(name + ".moved")
    look(what, other)
    put(what, other, "user.a", b"5")
    look(what, other)
# Of the image: one that is copied up by name, by a descriptor that only reads, is removed, has another in its place.
first = looked("image", "/usr/share/base-files/motd")
put("image", "/usr/share/base-files/motd", "user.a", b"6")
look("image", first)
second = looked("image", "/usr/share/base-files/profile")
put("image", second, "user.a", b"7")
look("image", second)
third = looked("image", "/usr/share/base-files/dot.bashrc")
put("image", third, ACL, SMALL)
look("image", third), look("image", os.open("/usr/share/base-files/dot.bashrc", os.O_RDONLY))
print(oct(os.stat("/usr/share/base-files/dot.bashrc").st_mode))
fourth = looked("image", "/usr/share/base-files/info.dir")
os.unlink("/usr/share/base-files/info.dir")
look("image", fourth)
with open("/usr/share/base-files/info.dir", "w") as file:
    put("image", file.fileno(), "user.a", b"8")
    look("image", file.fileno()), look("image", fourth)
for name in "/usr/bin/env", "/etc/passwd", "/etc/hostname", "/proc/self/status", "/proc/self/maps", "/dev/null", "/usr", "/etc", "/tmp", "/proc", \
        "/home/user/job":
    looked(name, name)
looked("path", "/usr/bin/env", os.O_PATH)
look("pipe", os.pipe()[0]), look("closed", 999), look("here", -100)
"""


@pytest.mark.parametrize("options", [[], ["--root"]])
def test_open_files_have_the_same_attributes_with_and_without_stops(run_guest, job, extended_attributes, tmp_path_factory, options):
    (job / "look.py").write_text(LOOK)
    own, told = tmp_path_factory.mktemp("own").name, {}
    for isolation in "standard", "strict":
        for name in job.glob("made*"):
            name.unlink()
        done = run_guest("python3", "-S", "look.py", own, options=[*options, "--isolation", isolation], check=True)
        told[isolation] = done.stdout.splitlines()
    assert told["standard"] == told["strict"]
    assert "image user.a [\"b'6'\", \"b'6'\", \"b'6'\"]" in told["strict"] and "image user.a [\"b'7'\", \"b'7'\", \"b'7'\"]" in told["strict"]


@pytest.mark.parametrize("isolation", ["standard", "strict"])
def test_lists_of_changed_files_are_what_the_host_makes_of_them(run_guest, job, extended_attributes, isolation):
    (job / "probe").touch()
    try:
        os.setxattr(job / "probe", "system.posix_acl_access", bytes.fromhex(
            "0200000001000600ffffffff020004000100000004000400ffffffff10000400ffffffff20000000ffffffff"))
    except OSError:
        pytest.skip("the file system of the tests has no access control lists")
    (job / "look.py").write_text(LOOK.partition("made = ")[0] + """
for name in "/tmp/f", "/home/user/job/f":
    lists(*[os.path.basename(name), os.open(name, os.O_RDWR | os.O_CREAT, 0o644)])
    print()
""")
    changed, hosts = run_guest("python3", "-S", "look.py", options=["--isolation", isolation], check=True).stdout.split("\n\n")[:2]
    assert changed == hosts and "x04" in changed


@fast_path
@pytest.mark.parametrize("place", ["/tmp/copy", "/home/user/job/copy"])
def test_copying_with_all_attributes(run_guest, job, place):
    (job / "tree").mkdir()
    for number in range(200):
        (job / "tree" / str(number)).write_text(str(number))
        (job / "tree" / str(number)).chmod(0o640)
    script = 'cp -a tree $1; cat $1/* | wc -c; stat -c %a $1/* | sort | uniq -c'
    done = run_guest("sh", "-ec", script, "sh", place, options=["--stats"], check=True)
    assert done.stdout.split() == [str(sum(len(str(number)) for number in range(200))), "200", "640"]
    stops = dict((name, int(number)) for number, name in re.findall(r"^ +(\d+)  (\w+)$", done.stderr.partition("fast path:")[0], re.M))
    assert stops.get("flistxattr", 0) < 10 and stops.get("fgetxattr", 0) < 10
    assert stops["fsetxattr"] + stops["utimensat"] < 420
