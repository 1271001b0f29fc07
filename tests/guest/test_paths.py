"""Every path call with good and bad arguments gives what it gives natively, on the overlay and in the job directory."""

import subprocess
import sys

import pytest

# Lines that differ for a reason. (line of paths.c, where) -> why
EXCEPTIONS = {}


@pytest.fixture(scope="module")
def natively(program, tmp_path_factory):
    directory = tmp_path_factory.mktemp("paths")
    done = subprocess.run([program("paths"), directory], cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("place", ["/home/user/job/here", "/home/user/here", "/tmp/here", "/usr/share/here"])
@pytest.mark.parametrize("isolation", ["standard", "strict"])
def test_path_calls(run_guest, program, natively, job, place, isolation):
    """A static program that the job brings is on the fast path, and not with --isolation strict."""
    (job / "paths").write_bytes(program("paths").read_bytes())
    (job / "paths").chmod(0o755)
    if place.startswith("/usr"):  # a directory of the image, so that everything happens beside lower files
        place = "/var/tmp/here"
    done = run_guest("sh", "-c", 'mkdir -p "$1" && cd "$1" && /home/user/job/paths "$1"', "sh", place,
                     options=["--isolation", isolation])
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    different = [f"natively: {a}\n   guest: {b}" for a, b in zip(natively, shown) if a != b
                 and a.split()[0] not in EXCEPTIONS]
    assert not different, "\n".join(["", *different])
    assert len(natively) == len(shown)


LOWER = r"""
import os, sys, errno
os.chdir(sys.argv[1])
def t(f, *a, **k):
    try: r = f(*a, **k)
    except OSError as e: r = errno.errorcode[e.errno]
    print(f.__name__, *a, *k.values(), '->', r if not isinstance(r, os.stat_result) else oct(r.st_mode))
t(os.rmdir, 'full'); t(os.unlink, 'full/a'); t(os.listdir, 'full'); t(os.unlink, 'full/b'); t(os.rmdir, 'full')
t(os.listdir, 'full'); t(os.mkdir, 'full'); t(os.listdir, 'full'); t(os.lstat, 'full/a')
t(os.rename, 'dir', 'moved'); t(os.path.exists, 'dir'); t(lambda: sorted(os.listdir('moved'))); t(os.mkdir, 'dir')
t(os.listdir, 'dir'); t(os.rename, 'moved/deep', 'dir/deep'); t(lambda: open('dir/deep/file').read())
t(os.rename, 'dir', 'file'); t(os.rename, 'file', 'dir'); t(os.rename, 'file', 'file2'); t(os.stat, 'file2')
t(os.link, 'file2', 'hard'); t(lambda: os.stat('file2').st_nlink); t(os.unlink, 'file2'); t(os.lstat, 'file2')
t(os.symlink, 'hard', 'file2'); t(lambda: open('file2').read()); t(os.chmod, 'file2', 0o600); t(os.lstat, 'hard')
t(lambda: open('hard', 'a').write('more')); t(lambda: open('file2').read()); t(os.truncate, 'hard', 2)
t(lambda: os.stat('hard').st_size); t(os.readlink, 'link'); t(os.unlink, 'link'); t(os.readlink, 'link')
t(lambda: open('shared', 'x')); t(lambda: open('new', 'x').close()); t(os.remove, 'new'); t(lambda: open('new', 'x').close())
a = open('shared', 'r+'); t(lambda: (a.write('SH'), a.flush(), open('shared').read())); t(os.remove, 'shared')
t(lambda: (a.seek(0), a.read())); t(os.path.exists, 'shared'); t(lambda: sorted(os.listdir('.')))
t(os.utime, 'hard', (5, 6)); t(lambda: os.stat('hard').st_mtime); t(os.makedirs, 'x/y/z'); t(os.removedirs, 'x/y/z')
t(lambda: [(r[0], sorted(r[1]), sorted(r[2])) for r in sorted(os.walk('.'))])
"""


def image_of(debian_tree, directory):
    """An image with the programs of the tree, to which more may be added."""
    image = directory / "image"
    image.mkdir()
    for name in ("usr", "etc", "bin", "lib", "lib64", "sbin"):
        source = debian_tree / name
        if source.is_symlink():
            (image / name).symlink_to(source.readlink())
        else:
            subprocess.run(["cp", "-al" if name == "usr" else "-a", source, image], check=True)
    return image


def test_lower_files_change_as_files_do(run_guest, debian_tree, job, tmp_path):
    """The same changes to a tree that is in a read-only layer and to one that isn't."""

    def fill(directory):
        for name in ("full", "dir/deep"):
            (directory / name).mkdir(parents=True)
        for name in ("full/a", "full/b", "dir/deep/file", "dir/other", "file", "shared"):
            (directory / name).write_text(name)
        (directory / "link").symlink_to("file")
        return directory

    plain = fill(tmp_path / "plain")
    natively = subprocess.run([sys.executable, "-c", LOWER, plain], capture_output=True, text=True, check=True).stdout
    image = image_of(debian_tree, tmp_path)
    fill(image / "data")
    before = sorted(str(path) for path in (image / "data").rglob("*"))
    done = run_guest("python3", "-c", LOWER, "/data", image=image)
    assert done.returncode == 0, done.stderr
    assert done.stdout == natively
    assert sorted(str(path) for path in (image / "data").rglob("*")) == before
    assert (image / "data/shared").read_text() == "shared"


OPEN = r"""
import os, stat, sys
os.chdir(sys.argv[1])
for name in 'removed', 'replaced', 'kept':
    fd = os.open(name, os.O_RDONLY)
    if name == 'removed':
        os.unlink(name)
        os.mkdir(name, 0o755)
    elif name == 'replaced':
        open('new', 'w').close()
        os.chmod('new', 0o644)
        os.rename('new', name)
    for turn in range(3):
        os.fchmod(fd, 0o600)
        os.utime(fd, (1, 2))
        print(name, stat.S_ISREG(os.fstat(fd).st_mode), oct(os.stat(name).st_mode), os.stat(name).st_mtime == 2,
              os.readlink(f'/proc/self/fd/{fd}').rpartition('/')[2])
        try:
            print(os.read(os.open(f'/proc/self/fd/{fd}', os.O_RDONLY), 9))
        except OSError as error:
            print(error)
"""


@pytest.mark.parametrize("isolation", ["standard", "strict"])
def test_an_open_lower_file_is_not_what_took_its_name(run_guest, debian_tree, tmp_path, isolation):
    def fill(directory):
        directory.mkdir(parents=True)
        for name in "removed", "replaced", "kept":
            (directory / name).write_text(name)
        return directory

    plain = fill(tmp_path / "plain")
    natively = subprocess.run([sys.executable, "-c", OPEN, plain], capture_output=True, text=True, check=True).stdout
    image = image_of(debian_tree, tmp_path)
    fill(image / "data")
    done = run_guest("python3", "-c", OPEN, "/data", image=image, options=["--isolation", isolation], check=True)
    assert done.stdout == natively
    assert all((image / "data" / name).read_text() == name for name in ("removed", "replaced", "kept"))
