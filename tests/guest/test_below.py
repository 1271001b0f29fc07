"""Names in directories that are looked at for the first time, by what is known of one above them."""

import re
import shutil
import subprocess
import sys

import pytest

KINDS = """
import errno, os, sys
os.chdir(sys.argv[1])
os.makedirs("top/dir/sub/deep")
for name in "top/file", "top/dir/file", "top/dir/sub/file", "top/dir/sub/deep/file":
    open(name, "w").close()
for name, target in ("link", "dir"), ("dangling", "nowhere"), ("file-link", "file"), ("far", os.getcwd() + "/top/dir"):
    os.symlink(target, "top/" + name)

def ask(call, *words):
    try:
        result = call(*words)
        return result if call is os.access else os.fstat(result).st_mode if isinstance(result, int) else result.st_mode
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        if call is os.open and "result" in locals():
            os.close(result)

def look():
    for name in ["top/" + first + rest for first in ("dir", "link", "far", "dangling", "file", "file-link", "no")
                 for rest in ("", "/", "//", "/file", "/file/", "/sub", "/sub/", "/sub//deep/", "/sub/./file",
                              "/sub/../file", "/no/file", "/sub/deep/../../file", "/sub/deep/file")]:
        for top in "", os.getcwd() + "/":
            yield top and "abs", name, [
                ask(call, top + name, *words) for call, *words in (
                    (os.stat,), (os.lstat,), (os.access, 0), (os.access, 4), (os.access, 1), (os.open, 0),
                    (os.open, os.O_DIRECTORY), (os.open, os.O_DIRECTORY | os.O_NOFOLLOW), (os.open, os.O_WRONLY))]
    yield os.stat(".").st_ino == os.stat(os.getcwd()).st_ino

for _ in range(3):
    print(*look(), sep="\\n")
os.rename("top/dir/sub", "top/dir/away")
print(*look(), sep="\\n")
os.symlink("away", "top/dir/sub")
print(*look(), sep="\\n")
os.unlink("top/link")
os.mkdir("top/link")
print(*look(), sep="\\n")
"""
ONCE = """
import os, sys
top = sys.argv[1]
for number in range(300):
    os.makedirs(f"{top}/{number}/a")
    open(f"{top}/{number}/a/file", "w").close()
os.chdir(top)
for number in range(300):
    for name in f"{number}/a/file", f"{top}/{number}/a/file":
        os.stat(name)
        open(name).close()
    for name in f"{number}/no/file", f"{top}/{number}/no/file":
        assert not os.path.exists(name)
    os.close(os.open(f"{number}/a/", os.O_DIRECTORY))
    fd = os.open(f"{number}", os.O_NONBLOCK)           # as tar does
    os.stat(fd)
    os.close(fd)
"""
REMOVED = """
import errno, os, sys
os.chdir(sys.argv[1])
os.makedirs("target/sub")
for name in "target/file", "file":
    open(name, "w").close()

def mode(name):
    try:
        return os.stat(name).st_mode
    except OSError as error:
        return errno.errorcode[error.errno]

def look(*names):
    for name in names:
        for name in name, os.getcwd() + "/" + name:
            print(os.path.relpath(name), {mode(name) for _ in range(100)})     # often enough for an entry of its own

for new in "nothing", "link", "file", "directory", "moved":
    os.mkdir("q")
    os.mkdir("q/sub")
    fd = os.open("q", os.O_DIRECTORY)
    names = "q", "q/file", "q/sub", "q/sub/file"
    if new == "moved":
        names += "q/../file", "q/sub/../../file"
    look(*names)
    os.rmdir("q/sub")
    look(*names)
    os.mkdir("sub", dir_fd=fd)
    os.mkdir(os.getcwd() + "/q/sub/deep")
    look(*names, "q/sub/deep")
    os.rmdir("q/sub/deep")
    os.rmdir("sub", dir_fd=fd)
    look(*names, "q/sub/deep")
    os.rmdir("q")
    os.close(fd)
    look(*names)
    if new == "link":
        os.symlink(os.getcwd() + "/target", "q")
    elif new == "file":
        open("q", "w").close()
    elif new == "directory":
        os.mkdir("q")
        open("q/file", "w").close()
    elif new == "moved":
        os.rename("target", "q")
    look(*names)
    if new in ("link", "file"):
        os.unlink("q")
    elif new == "directory":
        os.unlink("q/file")
        os.rmdir("q")
"""


@pytest.mark.parametrize("place", ["/tmp/below", "/home/user/job/below"])
@pytest.mark.parametrize("isolation", ["standard", "strict"])
def test_names_in_removed_directories(run_guest, job, tmp_path, place, isolation):
    (job / "removed.py").write_text(REMOVED)
    native = subprocess.run([sys.executable, job / "removed.py", tmp_path], check=True, capture_output=True, text=True).stdout
    done = run_guest("sh", "-ec", 'mkdir "$1"; umask 022; exec python3 removed.py "$1"', "sh", place,
                     options=["--isolation", isolation], check=True)
    assert done.stdout.splitlines() == native.splitlines()


@pytest.mark.parametrize("place", ["/tmp/below", "/home/user/job/below"])
@pytest.mark.parametrize("isolation", ["standard", "strict"])
def test_every_kind_of_name_is_what_it_is_natively(run_guest, job, tmp_path, place, isolation):
    (job / "kinds.py").write_text(KINDS)
    subprocess.run([sys.executable, job / "kinds.py", tmp_path], check=True)
    shutil.rmtree(tmp_path / "top")
    native = subprocess.run([sys.executable, job / "kinds.py", tmp_path], check=True, capture_output=True, text=True).stdout
    done = run_guest("sh", "-ec", 'mkdir "$1"; umask 022; exec python3 kinds.py "$1"', "sh", place,
                     options=["--isolation", isolation], check=True)
    assert done.stdout.splitlines() == native.splitlines()


@pytest.mark.parametrize("place", ["/tmp/below", "/home/user/job/below"])
def test_new_directories_make_no_stops(run_guest, place):
    done = run_guest("sh", "-ec", 'mkdir "$1"; exec python3 -S -c "$2" "$1"', "sh", place, ONCE, options=["--stats"], check=True)
    stops = {name: int(count) for count, name in re.findall(r"^ +(\d+) +(\w+)$", done.stderr.partition("fast path:")[0], re.M)}
    assert max(stops.get(name, 0) for name in ("newfstatat", "openat", "fstat")) < 200


SIZES = """
import os, sys
def sizes(name):
    yield os.stat(name).st_size
    with open(name) as file:
        yield os.fstat(file.fileno()).st_size
    yield os.stat(name).st_size if os.access(name, os.R_OK) else None
for line in sys.stdin:
    first, *names = line.split()
    if first != "-":
        os.chdir(first)
    print(*[size for name in names for size in sizes(name)], flush=True)
"""


@pytest.fixture
def sizes(start_guest):
    """Ask a guest, which goes to a directory first ("-": stays), for the sizes of files, as three calls see each."""
    guest = start_guest("python3", "-c", SIZES)

    def ask(directory, *names):
        guest.stdin.write(" ".join((directory, *names)) + "\n")
        guest.stdin.flush()
        return {int(size) for size in guest.stdout.readline().split()}

    return ask


@pytest.mark.parametrize("way", ["dir", "dir/sub", "dir/sub/deep/deeper"])
def test_links_put_in_the_way_from_outside_lead_through_the_guests_tree(sizes, job, way):
    """The way is looked at anew each time: a link that comes in between is followed in the guest's root, not the host's."""
    first = way.partition("/")[0]
    for top, text in ("top", "1"), ("target", "22"):
        (job / top / way).mkdir(parents=True)
        (job / top / way / "file").write_text(text)
    names = f"top/{way}/file", f"/home/user/job/top/{way}/file"
    for _ in range(3):
        assert sizes("-", *names) == {1}
    (job / "top" / first).rename(job / "top" / "old")
    (job / "top" / first).symlink_to(f"/home/user/job/target/{first}")
    for _ in range(3):
        assert sizes("-", *names) == {2}
    (job / "top" / first).unlink()
    (job / "top" / "old").rename(job / "top" / first)
    for _ in range(3):
        assert sizes("-", *names) == {1}


@pytest.mark.parametrize("way", ["", "dir/", "dir/sub/deep/"])
def test_a_current_directory_that_is_moved_from_outside(sizes, job, way):
    """Relative names go with it, absolute ones stay where they are."""
    for top, text in ("top", "1"), ("new", "22"):
        (job / top / way).mkdir(parents=True)
        (job / top / way / "file").write_text(text)
    name = f"/home/user/job/top/{way}file"
    assert sizes("/home/user/job/top", way + "file", name) == {1}
    assert sizes("-", way + "file", name) == {1}
    (job / "top").rename(job / "moved")
    assert sizes("-", way + "file") == {1}
    (job / "new").rename(job / "top")
    for _ in range(3):
        assert sizes("-", way + "file") == {1}
        assert sizes("-", name) == {2}
