"""Images whose files have owners and modes that the host's disk can't keep: what the fast path says of them is true."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

from .conftest import PROGRAMS, environment
from .test_namespace_operations import STRESS, TREE, expected, stress  # noqa: F401  (a fixture)

PROGRAMS_OF_IMAGE = ("bash", "dash", "sh", "ls", "cat", "stat", "chmod", "chown", "mkdir", "env", "id", "python3", "python3.11", "sleep")
LIBRARIES = ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libexpat.so.1", "libz.so.1", "libtinfo.so.6", "libselinux.so.1",
             "libpcre2-8.so.0", "libcrypto.so.3", "libacl.so.1", "libattr.so.1")
LEFT_OUT = re.compile(r"usr/lib/python3.11/(test|idlelib|pydoc_data|ensurepip|lib2to3|turtledemo|tkinter|config-.*)(/|$)")
KINDS = ("tar", "squashfs", "ext4", "changes")
OWN = os.getuid() or 1001


def add(archive, name, kind=tarfile.REGTYPE, data=b"", mode=0o644, uid=0, gid=0, target="", device=(0, 0), mtime=1_600_000_000.5,
        listed=""):
    import io

    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid, info.linkname, info.size = kind, mode, uid, gid, target, len(data)
    info.devmajor, info.devminor = device
    info.mtime = mtime
    if listed:
        info.pax_headers["SCHILY.acl.access"] = listed
    archive.addfile(info, io.BytesIO(data))


def add_odd(archive, top):
    """Files of every kind, with owners and modes of every kind."""
    add(archive, top, tarfile.DIRTYPE, mode=0o755)
    for number, mode in enumerate((0o644, 0o600, 0o640, 0o604, 0o044, 0o755, 0o700, 0o710, 0o4755, 0o2755, 0o000, 0o666, 0o111)):
        for uid, gid in ((0, 0), (OWN, OWN), (0, OWN), (12, 34), (OWN, 0), (65534, 65534)):
            add(archive, f"{top}/file{mode:o}-{uid}-{gid}", data=b"x" * number * 700, mode=mode, uid=uid, gid=gid)
    for mode in (0o755, 0o700, 0o711, 0o744, 0o1777, 0o2775, 0o777):
        for uid in (0, OWN):
            add(archive, f"{top}/dir{mode:o}-{uid}", tarfile.DIRTYPE, mode=mode, uid=uid, mtime=1_500_000_000)
            add(archive, f"{top}/dir{mode:o}-{uid}/sub", tarfile.DIRTYPE)
            for name in ("file", "sub/file"):
                add(archive, f"{top}/dir{mode:o}-{uid}/{name}", data=b"inside")
    add(archive, f"{top}/devices", tarfile.DIRTYPE, mode=0o755)
    add(archive, f"{top}/devices/null", tarfile.CHRTYPE, mode=0o666, device=(1, 3))
    add(archive, f"{top}/devices/disk", tarfile.BLKTYPE, mode=0o660, gid=6, device=(300, 70000))
    add(archive, f"{top}/devices/plain", data=b"beside devices")
    add(archive, f"{top}/fifo", tarfile.FIFOTYPE, mode=0o622)
    add(archive, f"{top}/hard", data=b"linked", uid=7)
    add(archive, f"{top}/dir755-0/hard", tarfile.LNKTYPE, target=f"{top}/hard")
    for name, target in (("link", "hard"), ("over", "dir700-0/file"), ("dir", "dir755-0"), ("gone", "nowhere"), ("self", "self")):
        add(archive, f"{top}/{name}", tarfile.SYMTYPE, target=target, mode=0o777)
    add(archive, f"{top}/empty")
    add(archive, f"{top}/large", data=os.urandom(300_000))


def add_listed(archive, top):
    """What access control lists refuse and permit the user, against what the mode says."""
    for name, mode, bits, group in (("refused", 0o4, "---", "r-x"), ("permitted", 0, "r-x", "---")):
        listed = f"user::rwx\nuser:{OWN}:{bits}\ngroup::{group}\nmask::r-x\nother::{'r-x' if mode else '---'}\n"
        add(archive, f"{top}/{name}", data=b"listed", mode=0o755 if mode else 0o750, listed=listed)
        add(archive, f"{top}/{name}.d", tarfile.DIRTYPE, mode=0o755 if mode else 0o750, listed=listed)
        add(archive, f"{top}/{name}.d/file", data=b"inside")


def add_stress(archive, scratch, top, uid):
    """The directories of the stress test, of one owner."""
    if not scratch.exists():
        subprocess.run([sys.executable, "-c", TREE, str(scratch / top)], check=True)

    def owned(info):
        info.uid = info.gid = uid
        info.mode = 0o755 if info.isdir() else info.mode
        return info
    archive.add(scratch / top, top, filter=owned)


def add_programs(archive, debian_tree):
    def kept(info):
        info.uid = info.gid = 0
        return None if LEFT_OUT.match(info.name) else info
    for name in ("bin", "lib", "lib64"):
        archive.add(debian_tree / name, name, filter=kept)
    libraries = debian_tree / "usr/lib/x86_64-linux-gnu"
    names = [f"usr/bin/{name}" for name in PROGRAMS_OF_IMAGE] + ["usr/lib64", "usr/lib/python3.11"]
    for name in LIBRARIES:
        if os.path.lexists(libraries / name):
            names += [f"usr/lib/x86_64-linux-gnu/{each}" for each in {name, os.path.basename(os.path.realpath(libraries / name))}]
    for name in names:
        archive.add(debian_tree / name, name, filter=kept)
    for name in ("etc", "tmp", "root"):
        add(archive, name, tarfile.DIRTYPE, mode={"tmp": 0o1777, "root": 0o700}.get(name, 0o755))
    add(archive, "etc/passwd", data=b"root:x:0:0::/root:/bin/sh\ndaemon:x:12:34::/:/bin/sh\n")
    add(archive, "etc/shadow", data=b"root:*:1::::::\n", mode=0o640, gid=42)


@pytest.fixture(scope="module")
def made(debian_tree, tmp_path_factory):
    """{kind: (image, options)} of one and the same tree, and the environment with a cache of its own."""
    place = tmp_path_factory.mktemp("recorded")
    env = environment(APPPOT_CACHE=str(place / "cache"))

    def archive(name, *fill):
        with tarfile.open(place / name, "w", format=tarfile.PAX_FORMAT) as made:
            for each, *arguments in fill:
                each(made, *arguments)
        return place / name

    subprocess.run(["cc", "-static", "-O2", "-o", place / "fstat", PROGRAMS / "fstat.c"], check=True)
    files = [(add, "opt", tarfile.DIRTYPE, b"", 0o755),
             (add, "opt/fstat", tarfile.REGTYPE, (place / "fstat").read_bytes(), 0o755), (add_odd, "opt/odd"),
             (add, "opt/listed", tarfile.DIRTYPE, b"", 0o755), (add_listed, "opt/listed"), (add_stress, place / "own", "opt/stress", OWN),
             (add_stress, place / "root", "opt/root/stress", 0)]
    whole = archive("whole.tar", (add_programs, debian_tree), *files)
    images = {"tar": (whole, []), "changes": (debian_tree, ["--changes", archive("changes.tar", *files)])}
    for kind in ("squashfs", "ext4"):
        subprocess.run([sys.executable, "-m", "apppot.cli.main", "image", "convert", "-q", whole, "-o", place / f"image.{kind}",
                        "--format", kind], cwd=place, env=env, check=True)
        images[kind] = place / f"image.{kind}", []
    yield images, {"APPPOT_CACHE": str(place / "cache")}
    subprocess.run(["chmod", "-R", "u+rwX", place / "own", place / "root"], check=True)


@pytest.fixture(params=KINDS)
def machine(request, made, run_guest, job):
    """machine(*command, options=...) -> CompletedProcess of a run in one kind of image."""
    images, env = made
    image, more = images[request.param]
    for program in (STRESS, PROGRAMS / "show_all.py"):
        (job / program.name).write_bytes(program.read_bytes())

    def run(*command, options=(), **settings):
        return run_guest(*command, image=image, options=[*more, *options], env=env, check=True, **settings)

    run.kind = request.param
    return run


def on_and_off(machine, *command, options=()):
    """What the command prints with the fast path; it must be what it prints without."""
    on, off = (machine(*command, options=[*options, "--isolation", isolation]).stdout.splitlines()
               for isolation in ("standard", "strict"))
    different = [(one, two) for one, two in zip(on, off, strict=False) if one != two]
    assert not different, f"{len(different)} lines, the first: {different[0]}"
    assert len(on) == len(off)
    return on


@pytest.mark.parametrize("options", [[], ["--root"]])
def test_what_is_shown(machine, options):
    others = [] if machine.kind == "changes" else ["/usr/lib/python3.11/email", "/usr/bin", "/root"]     # links come and go
    lines = on_and_off(machine, "python3", "-B", "show_all.py", "/opt/odd", *others, options=options)
    assert len(lines) > 300
    closed = [line for line in lines if line.startswith("/opt/odd/file600-0-0 ")]
    as_user = os.getuid() and not options
    assert len(closed) == 2 and all(line.endswith(" 13 13 22") == bool(as_user) for line in closed)     # EACCES


@pytest.mark.parametrize("place, options", [("/opt/stress", []), ("/opt/root/stress", ["--root"]), ("/tmp/stress", [])])
def test_namespace_operations(machine, expected, job, place, options):  # noqa: F811
    if options and os.getuid() == 0:
        options = []
    if place == "/tmp/stress":
        (job / "tree.py").write_text(TREE)
        done = machine("sh", "-c", 'python3 tree.py "$4" && exec python3 "$@"', "sh", *stress(3, place), options=options)
    elif place == "/opt/stress" and os.getuid() == 0:
        pytest.skip("root's own files are those of the other place")
    else:
        done = machine("python3", *stress(3, place), options=options)
    assert done.stdout.splitlines() == expected(3).splitlines()


@pytest.mark.parametrize("options", [[], ["--root"]])
def test_repeated_calls_make_no_stops(machine, options):
    script = """
import os, sys
for _ in range(3000):
    os.stat('/usr/lib/python3.11/os.py'), os.access('/usr/lib/python3.11/json/decoder.py', 4), os.lstat('/usr/lib/python3.11')
    open('/usr/lib/python3.11/abc.py').close()
for _ in range(300): os.listdir('/usr/lib/python3.11/json')
for _ in range(3000 if sys.argv[1:] == [] else 0): os.getuid()
"""
    done = machine("python3", "-S", "-c", script, *options, options=["--stats", *options])
    assert int(re.search(r"(\d+) calls intercepted", done.stderr)[1]) < 1000


@pytest.mark.parametrize("options", [[], ["--root"]])
def test_fstat_of_newer_libraries(machine, options):
    names = [f"/opt/odd/{name}" for name in ("file644-0-0", "file4755-12-34", "hard", "devices", "devices/plain", "dir755-0", "large")]
    lines = on_and_off(machine, "/opt/fstat", *names, "/usr", "/tmp", "/dev/null", options=options)
    assert len(lines) == 11
    names.remove("/opt/odd/devices")         # a directory with devices is listed by the supervisor
    done = machine("/opt/fstat", *names, options=["--stats", *options])
    assert int(re.search(r"(\d+) calls intercepted", done.stderr)[1]) < 1000


ROOTS_DIRECTORY = """
import os, subprocess, sys
look = "import os, sys\\nfor _ in range(5): os.stat(sys.argv[1]), open(sys.argv[1]).close(), os.listdir(os.path.dirname(sys.argv[1]))"
def attempt(call, *arguments, **more):
    try:
        return str(call(*arguments, **more))[:30]
    except OSError as error:
        return error.strerror
subprocess.run(["sudo", "sh", "-c", "mkdir -p /tmp/shut/sub && echo >/tmp/shut/sub/file && chown -R 0:0 /tmp/shut && chmod 700 /tmp/shut"], check=True)
for path in "/opt/odd/dir700-0/file", "/opt/odd/dir700-0/sub/file", "/opt/odd/dir744-0/file", "/tmp/shut/sub/file":
    subprocess.run(["sudo", "sh", "-c", 'python3 -c "$1" "$2"', "sh", look, path], check=True)
    directory = os.path.dirname(path)
    for _ in range(3):
        print(path, attempt(os.stat, path), attempt(os.open, path, os.O_RDONLY), os.access(path, 0), attempt(os.listdir, directory),
              attempt(os.readlink, path), attempt(os.chdir, directory))
        if os.access(directory, os.R_OK):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            print(os.listdir(fd), attempt(os.stat, "file", dir_fd=fd), attempt(os.open, "file", os.O_RDONLY, dir_fd=fd))
            os.close(fd)
"""


def test_where_only_root_may_look(machine):
    """Virtual root was there first, with the fast path."""
    lines = on_and_off(machine, "python3", "-c", ROOTS_DIRECTORY)
    if os.getuid():
        assert len(lines) == 15
        assert not [line for line in lines if "Permission denied" not in line]


LISTED = """
import os
def attempt(call, *arguments):
    try:
        return str(call(*arguments))
    except OSError as error:
        return error.strerror
for name in "refused", "permitted":
    path = "/opt/listed/" + name
    for _ in range(4):
        os.stat(path)
        print(name, attempt(lambda: open(path).read()), os.access(path, os.R_OK), attempt(os.listdir, path + ".d"),
              attempt(lambda: open(path + ".d/file").read()), attempt(os.stat, path + ".d/none"), attempt(os.chdir, path + ".d"))
"""


# squashfs has no access control lists.
@pytest.mark.parametrize("machine", [kind for kind in KINDS if kind != "squashfs"], indirect=True)
def test_lists_that_say_otherwise_than_the_mode(machine):
    if os.getuid() == 0:
        pytest.skip("root's own machines ask no list")
    lines = on_and_off(machine, "python3", "-c", LISTED)
    assert lines == ["refused Permission denied False" + 4 * " Permission denied"] * 4 + [
        "permitted listed True ['file'] inside No such file or directory None"] * 4


CHANGED_BY_ROOT = """
import os, subprocess
def sudo(*words): subprocess.run(["sudo", *words], check=True)
def look(path, name=None):
    status = os.stat(path)
    try:
        os.close(os.open(name or path, os.O_RDONLY))
        opened = "opened"
    except OSError as error:
        opened = error.strerror
    return f"{status.st_uid}:{status.st_gid} {status.st_mode:o} {opened} {os.access(name or path, os.R_OK)}"
file, directory = "/opt/odd/file644-0-0", "/opt/odd/dir755-0"
for top in "/opt/odd", "/tmp/mine":
    if top == "/tmp/mine":
        os.makedirs("/tmp/mine/dir755-0")
        for name in "file644-0-0", "dir755-0/file":
            open(f"{top}/{name}", "w").close()
    file, directory = f"{top}/file644-0-0", f"{top}/dir755-0"
    for _ in range(3): look(file), look(directory, directory + "/file")
    print(look(file))
    for words in ("chown", "12:34"), ("chmod", "600"), ("chmod", "604"), ("chown", "0:0"), ("chmod", "4711"), ("chmod", "644"):
        sudo(*words, file)
        print(*words, look(file), look(file))
    print(look(directory, directory + "/file"))
    for words in ("chown", "0:0"), ("chmod", "700"), ("chmod", "711"), ("chmod", "744"), ("chown", "12"), ("chmod", "755"):
        sudo(*words, directory)
        print(*words, look(directory, directory + "/file"), look(directory, directory + "/file"), os.access(directory, os.W_OK))
        try:
            os.close(os.open(directory + "/new", os.O_CREAT | os.O_WRONLY))
            print("made")
        except OSError as error:
            print(error.strerror)
"""


def test_what_virtual_root_changes_is_seen_at_once(machine):
    lines = on_and_off(machine, "python3", "-c", CHANGED_BY_ROOT)
    if os.getuid():
        assert lines[:3] == ["0:0 100644 opened True", *["chown 12:34 12:34 100644 opened True 12:34 100644 opened True",
                             "chmod 600 12:34 100600 Permission denied False 12:34 100600 Permission denied False"]]
        assert any(line.startswith("chmod 700 0:0 40700 Permission denied False") for line in lines)


COPIED_UP = """
import os
def show(status):
    return oct(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, status.st_size, status.st_rdev
top = "/opt/odd"
for name in ("large", "hard", "dir755-0/hard", "empty", "devices/plain", "file644-0-0"):
    path = f"{top}/{name}"
    for _ in range(3): os.stat(path)
    before = os.open(path, os.O_RDONLY)
    with open(path, "r+b") as file:
        file.write(b"changed")
    after = os.open(path, os.O_RDONLY)
    os.chmod(path, 0o640)
    print(name, show(os.stat(path)), show(os.fstat(before)), show(os.fstat(after)), os.read(before, 7) == b"changed",
          os.read(after, 7), sorted(os.listdir(os.path.dirname(path))))
os.rename(f"{top}/dir755-0", f"{top}/elsewhere")
print(sorted(os.listdir(f"{top}/elsewhere")), show(os.stat(f"{top}/elsewhere/sub/file")), os.path.exists(f"{top}/dir755-0/file"))
os.unlink(f"{top}/devices/null")
print(os.listdir(f"{top}/devices"), os.path.exists(f"{top}/devices/null"), show(os.stat(f"{top}/devices/disk")))
os.mkdir(f"{top}/devices/null")
print(show(os.stat(f"{top}/devices/null"))[:3])
"""


def test_files_that_are_open_when_they_are_copied_up(machine):
    lines = on_and_off(machine, "python3", "-c", COPIED_UP, options=["--root"])
    assert lines[0].startswith("large ('0o100640', 0, 0, 1, 300000, 0)") and len(lines) == 9


def test_contents_that_were_looked_at_first(machine, debian_tree, tmp_path):
    """On a cold cache: a file that was only looked at is a hole still."""
    script = """
import hashlib, os, sys
for top in sys.argv[1:]:
    for directory, names, files in os.walk(top):
        for name in files: os.stat(f"{directory}/{name}"), os.stat(f"{directory}/{name}")
for _ in range(2):
    for top in sys.argv[1:]:
        for directory, names, files in sorted(os.walk(top)):
            for name in sorted(files):
                with open(f"{directory}/{name}", "rb") as file:
                    print(hashlib.sha256(file.read()).hexdigest(), f"{directory}/{name}")
"""
    tops = ["usr/lib/python3.11/json", "usr/lib/python3.11/asyncio", "usr/lib/python3.11/email"]
    done = machine("python3", "-B", "-c", script, *(f"/{top}" for top in tops))
    lines = []
    for top in tops:
        for directory, _, files in sorted(os.walk(debian_tree / top)):
            for name in sorted(files):
                with open(os.path.join(directory, name), "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
                lines.append(f"{digest} /{os.path.relpath(os.path.join(directory, name), debian_tree)}")
    assert done.stdout.splitlines() == lines * 2


def test_patched_libraries_are_made_of_whole_files(machine, made, tmp_path):
    """The C library of an image whose contents come when they are needed, on a cache that holds nothing yet."""
    cache = tmp_path / "cache"
    images, _ = made
    image, more = images["squashfs"]
    del machine
    done = subprocess.run([sys.executable, "-m", "apppot.cli.start", *more, "--image", image, "--stats", "python3", "-c",
                           "import os\nfor _ in range(500): os.stat('/usr')\nprint('done')"], cwd=tmp_path,
                          env=environment(APPPOT_CACHE=str(cache)), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert len(list((cache / "patched").iterdir())) == 2
    shutil.rmtree(cache)
