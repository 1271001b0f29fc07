"""coreutils, findutils, tar, sed and awk from the Debian tree."""

import os
import subprocess


def test_files_in_the_job_directory_are_the_hosts(shell, job):
    (job / "in").write_text("b\na\nc\n")
    shell("sort in >out; mkdir -p deep/er; cp out deep/er/; ln -s deep/er/out link; ln out hard; chmod 640 hard")
    assert (job / "out").read_text() == "a\nb\nc\n"
    assert (job / "link").read_text() == "a\nb\nc\n"
    assert os.stat(job / "hard").st_nlink == 2
    assert os.stat(job / "out").st_mode & 0o777 == 0o640


def test_the_usual_tools_on_the_overlay(shell):
    assert shell("""
        set -e
        cd /home/user; mkdir a; cd a; touch one two; mv one three; rm two; ls
        cp -a /etc/skel skel; ls -A skel | sort | head -1
        rm -r skel; cd ..; rmdir a 2>&1 || true; rm -r a; ls -d a 2>&1 || true
        echo text | tee t | wc -c; dd if=/dev/zero of=z bs=1k count=3 status=none; stat -c %s z; truncate -s 10 z
        stat -c %s z; od -An -tx1 z | tr -d ' \\n'; echo; readlink -f /bin/sh; realpath ../../etc/../tmp
        install -D -m 755 t x/y/t; stat -c %a x/y/t; df --output=target / | tail -1; pwd; basename $PWD
    """).splitlines() == [
        "three", ".bash_logout", "rmdir: failed to remove 'a': Directory not empty",
        "ls: cannot access 'a': No such file or directory", "5", "3072", "10", "00" * 10, "/usr/bin/dash", "/tmp",
        "755", "/", "/home/user", "user"]


def test_find_sees_every_file_of_the_tree_once(shell, debian_tree):
    shown = shell("find /usr/share /usr/lib -xdev | sort").splitlines()
    there = subprocess.run(["find", "usr/share", "usr/lib", "-xdev"], cwd=debian_tree, capture_output=True, text=True,
                           check=True).stdout
    assert len(shown) == len(set(shown))
    assert shown == sorted("/" + line for line in there.splitlines())


def test_find_while_files_are_removed(shell):
    script = "mkdir d && cd d && seq 3000 | xargs touch && find . -type f -delete && ls -A | wc -l"
    assert shell("cd /home/user && " + script).strip() == "0"
    assert shell(script).strip() == "0"


def test_tar_round_trip(shell):
    out = shell("""
        set -e; cd /home/user
        tar -C / -cf t.tar usr/share/perl5 etc; mkdir out; tar -C out -xf t.tar
        diff -r --no-dereference out/usr/share/perl5 /usr/share/perl5 && echo same
        diff -r --no-dereference out/etc /etc && echo same
        tar -C / -df t.tar && echo no difference
        tar -cJf t.tar.xz out && tar -tJf t.tar.xz | wc -l; find out | wc -l
    """).split("\n")
    assert out[:3] == ["same", "same", "no difference"]
    assert out[3] == out[4]


def test_sed_and_awk_pipelines(shell):
    assert shell("seq 100 | sed -n '/7$/p' | awk '{s += $1} END {print s, NR}' | tr ' ' :") == "520:10\n"
    assert shell("cp /etc/passwd p && sed -i 's/^root/toor/' p && head -c4 p && ls") == "toorp\n"


def test_checksums_of_big_files_through_the_overlay(shell):
    first, second = shell("""
        cd /home/user; head -c 50000000 /dev/urandom >r; sha256sum <r; cp r r2; rm r; cat r2 | sha256sum
    """).splitlines()
    assert first == second


def test_times_are_kept(shell):
    assert shell("cp -p /etc/hostname h; test h -nt /etc/hostname || test h -ot /etc/hostname || echo same;"
                 "touch -d '2001-02-03 04:05:06 UTC' h; TZ=UTC stat -c %y h") == (
        "same\n2001-02-03 04:05:06.000000000 +0000\n")


def test_du_counts_what_is_there(shell, debian_tree):
    shown = int(shell("du -s --apparent-size -B1 /usr/share/perl5").split()[0])
    there = int(subprocess.run(["du", "-s", "--apparent-size", "-B1", debian_tree / "usr/share/perl5"],
                               capture_output=True, text=True, check=True).stdout.split()[0])
    assert shown == there


def test_rm_r_of_a_lower_directory(shell):
    assert shell("rm -r /usr/share/perl5 && ls -d /usr/share/perl5; mkdir /usr/share/perl5 && ls -A /usr/share/perl5 |"
                 " wc -l", options=["--root"]) == "0\n"


def test_inotify_tells_of_a_directory_of_the_image(run_guest):
    """A directory that nobody has written to yet: what comes, changes and goes in it is told."""
    script = """
import ctypes, os, struct
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
assert libc.inotify_add_watch(fd, b"/usr/share", 0x100 | 0x200 | 0x8) >= 0       # IN_CREATE, IN_DELETE, IN_CLOSE_WRITE
open("/usr/share/new", "w").close()
os.mkdir("/usr/share/made")
os.unlink("/usr/share/new")
data = os.read(fd, 4096)
while data:
    _, mask, _, length = struct.unpack_from("iIII", data)
    print(hex(mask), data[16:16 + length].decode().rstrip(chr(0)))
    data = data[16 + length:]
"""
    assert run_guest("python3", "-c", script, check=True).stdout.splitlines() == [
        "0x100 new", "0x8 new", "0x40000100 made", "0x200 new"]
