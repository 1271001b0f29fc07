"""apppot-snap in real machines: base, changes and merge from inside, starts with changes, kills."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from .conftest import CHECK_TESTS, environment

pytestmark = pytest.mark.skipif(CHECK_TESTS, reason="these are about AppPot's own program")

CHANGE = """
cd /opt; mkdir mine; echo hello >mine/file; chown 12:34 mine/file; chmod 4750 mine/file; mknod mine/null c 1 3
ln mine/file mine/hard; ln -s ../nowhere mine/sym; mkfifo mine/fifo; truncate -s 30M mine/sparse; touch -d 2001-02-03 mine
echo changed >/etc/hostname; rm -r /usr/share/perl5; mv /etc/skel /etc/leks; touch "/opt/new
line" "$(printf '/opt/\\377')"; useradd -m alice
"""
SHOW = """
cd /; stat -c '%N %u:%g %a %F %t,%T %Y %h %s' opt/* opt/mine/* etc/hostname etc/leks/.bashrc home/alice; cat etc/hostname
ls -d usr/share/perl5 etc/skel 2>&1; id -un alice; du -k opt/mine/sparse | cut -f1
"""


def snap(cow, *words, cwd, **more):
    return subprocess.run([sys.executable, "-m", "apppot.cli.snap", "--cow", cow, *words], cwd=cwd, capture_output=True,
                          text=True, env=environment(**more), timeout=60)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("APPPOT_CACHE", str(tmp_path / "cache"))
    return {"APPPOT_CACHE": str(tmp_path / "cache")}


def test_changes_travel(shell, job, tmp_path, cache):
    seen = shell(CHANGE + "apppot-snap changes /home/user/job/c.tar.gz >&2\n" + SHOW, options=["--root"])
    for _ in range(2):          # unpacked, found in the cache
        assert shell(SHOW, options=["--root", "--changes", "c.tar.gz"], env=cache) == seen
    (job / "c.tar.gz").rename(job / "apppot.2001-01-01.changes.tar.gz")
    assert shell("ls /etc/skel /usr/share/perl5 >/dev/null; apppot-snap merge >&2\n" + SHOW, options=["--root"]) == seen
    options = ["--root", "--cow", tmp_path / "cow"]
    shell("true", options=options)
    done = snap(tmp_path / "cow", "-v", "merge", cwd=job)
    assert done.returncode == 0 and "+ opt/mine/file\n" in done.stdout, done.stderr
    assert shell(SHOW, options=options) == seen
    done = snap(tmp_path / "cow", "changes", "again.tar.gz", cwd=job)
    assert (done.returncode, done.stdout[:14]) == (0, "again.tar.gz: "), done.stderr
    assert shell(SHOW, options=["--root", "--changes", "again.tar.gz"], env=cache) == seen


def test_nothing_changed(shell, run_guest, job, tmp_path):
    assert shell("apppot-snap -n changes x") == "x: 0 names would be written\n"
    run_guest("true", options=["--cow", tmp_path / "cow"], check=True)
    assert snap(tmp_path / "cow", "-n", "changes", "x", cwd=job).stdout == "x: 0 names would be written\n"
    assert os.listdir(job) == []


def test_not_as_the_first_program(run_guest):
    done = run_guest("apppot-snap", "changes")
    assert done.returncode == 126 and "--cow" in done.stderr and len(done.stderr.splitlines()) == 1


def test_base_inside(shell, run_guest, job, cache):
    shell("""
        echo site >/etc/site; apppot-snap changes /home/user/job/site.tar.gz; apppot-snap base
        echo mine >/etc/mine; rm /etc/site; apppot-snap changes /home/user/job/mine.tar.gz
    """, options=["--root"])
    with tarfile.open(job / "mine.tar.gz") as tar:
        assert tar.getnames()[1:] == [".", "etc", "etc/mine", "etc/.wh.site"]
    both = ["--changes", "site.tar.gz", "--changes", "mine.tar.gz"]
    assert shell("cat /etc/mine; ls /etc/site 2>&1 || true", options=both, env=cache) == (
        "mine\nls: cannot access '/etc/site': No such file or directory\n")
    alone = run_guest("true", options=["--changes", "mine.tar.gz"], env=cache)
    assert alone.returncode == 125 and alone.stderr.count("sha256:") == 2 and len(alone.stderr.splitlines()) == 1
    assert shell("cat /etc/mine", options=["--changes", "mine.tar.gz", "--force"], env=cache) == "mine\n"


def test_changes_in_the_job_directory_are_found(shell, run_guest, job, cache):
    shell("echo x >/etc/found; apppot-snap changes /home/user/job/apppot-changes.tar.gz", options=["--root"])
    done = run_guest("cat", "/etc/found", env=cache, check=True)
    assert done.stdout == "x\n"
    found, unpacking = done.stderr.splitlines()
    assert found == "apppot-start: apppot-changes.tar.gz in the current directory is put over the image"
    assert unpacking.startswith("apppot-start: unpacking ") and "apppot-changes.tar.gz (" in unpacking
    assert run_guest("cat", "/etc/found", options=["-q"], env=cache, check=True).stderr == ""


def test_changes_for_a_layer_that_is_kept_are_merged_once(shell, run_guest, job, tmp_path):
    shell("echo old >/etc/x; apppot-snap changes /home/user/job/c.tar.gz", options=["--root"])
    options = ["--root", "--cow", tmp_path / "cow"]
    assert shell("cat /etc/x; echo new >/etc/x", options=[*options, "--changes", "c.tar.gz"]) == "old\n"
    assert shell("cat /etc/x", options=[*options, "--changes", "c.tar.gz"]) == "new\n"
    assert shell("cat /etc/x", options=options) == "new\n"


@pytest.mark.skipif(os.getuid() == 0, reason="the host's root is root inside: there is no user")
def test_the_user_of_another_host(shell, job, cache):
    """What belongs to `user` belongs to `user` everywhere, whatever the numbers."""
    shell("echo mine >~/mine; sudo touch /srv/roots /srv/users; sudo chown root /srv/roots; sudo chown user /srv/users; "
          "apppot-snap changes c.tar.gz")
    with tarfile.open(job / "c.tar.gz") as tar:
        assert tar.getmember("home/user/mine").uid == 1000
        assert (tar.getmember("srv/users").uid, tar.getmember("srv/users").uname) == (1000, "user")
        assert (tar.getmember("srv/roots").uid, tar.getmember("srv/roots").uname) == (0, "root")
        assert "etc/passwd" not in tar.getnames()
    assert shell("stat -c %U ~/mine ~ /srv/roots /srv/users", options=["--changes", "c.tar.gz"], env=cache
                 ).split() == ["user", "user", "root", "user"]


def test_busybox_alone(run_guest, tmp_path, job, cache):
    image = tmp_path / "image"
    (image / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), image / "bin/busybox")
    (image / "bin/sh").symlink_to("busybox")
    done = run_guest("sh", "-c", "echo x >/new; apppot-snap -v changes c.tar.gz; apppot-snap frob; echo $?", image=image,
                     options=["--root"])
    assert done.stdout == "+ ./\n+ new\nc.tar.gz: 2 names, %d bytes\n2\n" % (job / "c.tar.gz").stat().st_size
    assert "'frob'" in done.stderr
    assert run_guest("/bin/busybox", "cat", "/new", image=image, options=["--changes", "c.tar.gz"], env=cache).stdout == "x\n"


def test_one_static_program_alone(run_guest, tmp_path, job, program, cache):
    source = tmp_path / "only.c"
    source.write_text('#include <unistd.h>\n#include <fcntl.h>\nint main(int n, char **v) { char *a[] = {"apppot-snap", v[1], '
                      'v[2], 0}; if (n < 3) { char b[9]; return read(open("/made", O_RDONLY), b, 9) == 4 ? 6 : 7; } '
                      'write(open("/made", O_WRONLY | O_CREAT, 0644), "made", 4); execv("/usr/bin/apppot-snap", a); '
                      'return 9; }\n')
    image = tmp_path / "image"
    image.mkdir()
    subprocess.run(["gcc", "-w", "-static", "-o", image / "only", source], check=True)
    done = run_guest("/only", "changes", "c.tar.gz", image=image, options=["--root"])
    assert (done.returncode, done.stderr) == (0, "apppot-snap: writing c.tar.gz\n"), done.stderr
    with tarfile.open(job / "c.tar.gz") as tar:
        assert tar.getnames()[1:] == [".", "made"]
    assert run_guest("/only", "changes", "c.tar.gz", image=image, options=["--root", "-q"]).stderr == ""
    assert run_guest("/only", image=image, options=["--changes", "c.tar.gz"], env=cache).returncode == 6
    assert run_guest("/only", image=image).returncode == 7
    assert run_guest("/only", "merge", "c.tar.gz", image=image, options=["--root"]).returncode == 0


def test_what_can_not_be_done(run_guest, job):
    (job / "text").write_text("no archive\n" * 100)
    done = run_guest("bash", "-c", """
        apppot-snap; echo $?; apppot-snap --cow x changes; echo $?; apppot-snap merge text; echo $?
        apppot-snap merge gone; echo $?; apppot-snap merge; echo $?; apppot-snap changes /proc/x; echo $?
        apppot-snap changes /dev/null; echo $?; apppot-snap merge /etc; echo $?
        mkfifo f; apppot-snap merge f; echo $?; apppot-snap changes >/dev/full -; echo $?
    """, options=["--user", "daemon"])
    assert done.stdout.split() == ["2", "2"] + ["125"] * 8
    assert all(line.startswith("apppot-snap: ") for line in done.stderr.splitlines()), done.stderr


def test_others_go_on_meanwhile(run_guest):
    done = run_guest("bash", "-c", """
        head -c 300M /dev/urandom >/tmp/big; (while :; do date +%s%N >>/tmp/ticks; sleep 0.02; done) & ticker=$!
        apppot-snap changes - | cat >/dev/null; wc -l </tmp/ticks; kill $ticker
    """, check=True)
    assert int(done.stdout) > 20


def test_a_killed_snapshot_leaves_nothing(run_guest, job, start_guest):
    done = run_guest("bash", "-c", """
        head -c 200M /dev/urandom >/tmp/big; echo former >c.tar.gz
        apppot-snap changes c.tar.gz & sleep 0.7; kill -9 $!; wait $!; echo $?; cat c.tar.gz; ls -A
    """, check=True)
    assert done.stdout.split() == ["137", "former", "c.tar.gz"]
    machine = start_guest("bash", "-c", "head -c 200M /dev/urandom >/tmp/big; echo ready; exec apppot-snap changes c.tar.gz")
    assert machine.stdout.readline() == "ready\n"
    time.sleep(0.7)
    machine.send_signal(signal.SIGKILL)
    machine.wait()
    time.sleep(0.3)
    assert (job / "c.tar.gz").read_text() == "former\n" and os.listdir(job) == ["c.tar.gz"]
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and str(job) in _cwd(pid)]


def _cwd(pid):
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


@pytest.mark.parametrize("delay", [0.1, 0.3, 0.5, 0.8])
def test_a_killed_merge(shell, start_guest, run_guest, job, tmp_path, delay):
    shell("""
        mkdir /opt/many; cd /opt/many; for i in $(seq 2000); do echo $i >$i; done; rm -r /usr/share/perl5
        apppot-snap changes /home/user/job/c.tar.gz
    """, options=["--root"])
    options = ["--root", "--cow", tmp_path / "cow"]
    machine = start_guest("bash", "-c", "mkdir /opt/mine; echo ready; apppot-snap merge /home/user/job/c.tar.gz; sleep 9",
                          options=options)
    assert machine.stdout.readline() == "ready\n"
    time.sleep(delay)
    machine.send_signal(signal.SIGKILL)
    machine.wait()
    for _ in range(50):
        if run_guest("true", options=options).returncode == 0:
            break
        time.sleep(0.1)
    assert shell("ls /opt/many 2>/dev/null | wc -l; ls -d /usr/share/perl5 2>/dev/null | wc -l; ls -d /opt/mine",
                 options=options).split() in (["0", "1", "/opt/mine"], ["2000", "0", "/opt/mine"])
    assert sorted(name for name in os.listdir(tmp_path / "cow") if "merging" in name) == []


def test_the_machine_ends_while_a_snapshot_is_made(run_guest, job):
    start = time.monotonic()
    run_guest("bash", "-c", "head -c 300M /dev/urandom >/tmp/big; apppot-snap changes c.tar.gz & sleep 0.5; exit 0", check=True)
    assert time.monotonic() - start < 30 and os.listdir(job) == []
