"""Copy-on-write: kept or thrown away, the image never written, killed runs."""

import fcntl
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest


def fingerprint(tree):
    """Everything of a tree that a run could change, without reading 20,000 files."""
    return subprocess.run(["find", ".", "-printf", r"%P|%m|%s|%T@|%C@|%l|%n\n"], cwd=tree, capture_output=True,
                          check=True).stdout


def test_changes_are_thrown_away_without_cow(shell):
    shell("echo x >/home/user/x; rm -rf /usr/share/perl5; touch /etc/new", options=["--root"])
    assert shell("ls /home/user /etc/new 2>&1; ls -d /usr/share/perl5").splitlines()[-1] == "/usr/share/perl5"


def test_changes_are_kept_with_cow(shell, tmp_path):
    cow = tmp_path / "cow"
    options = ["--root", "--cow", cow]
    shell("mkdir /opt/mine; echo kept >/opt/mine/file; rm /etc/motd; rm -r /usr/share/perl5; echo more >>/etc/hostname;"
          "mv /etc/skel /etc/leks; ln /opt/mine/file /opt/mine/hard; ln -s x /opt/mine/sym; chmod 700 /srv;"
          "truncate -s 100M /opt/sparse; touch -d 2001-01-01 /opt/mine", options=options)
    assert shell("cat /opt/mine/file; ls /etc/motd /usr/share/perl5 /etc/skel 2>&1 | wc -l; cat /etc/hostname;"
                 "ls -A /etc/leks | head -1; stat -c %h /opt/mine/hard; readlink /opt/mine/sym; stat -c %a /srv;"
                 "du -k /opt/sparse | cut -f1; stat -c %s /opt/sparse; date -r /opt/mine +%Y", options=options
                 ).splitlines() == ["kept", "3", "image", "more", ".bash_logout", "2", "x", "700", "0", "104857600", "2001"]


@pytest.mark.parametrize("options", [[], ["--isolation", "strict"]])
def test_the_names_of_the_hosts_network_until_the_guest_writes_its_own(shell, tmp_path, options):
    hosts = Path("/etc/hosts").read_text()
    options = [*options, "--cow", tmp_path / "cow"]
    assert shell("cat /etc/hosts; test $(id -u) = 0 || test ! -w /etc/hosts", options=options) == hosts
    assert shell("test -w /etc/hosts; cat /etc/hosts; echo '192.0.2.1 mine' >>/etc/hosts; cat /etc/hosts",
                 options=["--root", *options]) == f"{hosts}{hosts}192.0.2.1 mine\n"
    assert shell("sudo chmod 600 /etc/hosts; sudo cat /etc/hosts; sudo rm /etc/hosts; cat /etc/hosts || :",
                 options=options) == f"{hosts}192.0.2.1 mine\n"
    assert shell("cat /etc/hosts", options=options) == hosts
    assert Path("/etc/hosts").read_text() == hosts


def test_cow_before_the_image_name(debian_tree, run_guest, tmp_path):
    image = f"{tmp_path}/cow:{debian_tree}"
    run_guest("sh", "-c", "echo x >/home/user/x", image=image, check=True)
    assert run_guest("cat", "/home/user/x", image=f"{tmp_path}/cow,{debian_tree}", check=True).stdout == "x\n"


def test_the_image_is_never_written(shell, debian_tree, tmp_path):
    before = fingerprint(debian_tree)
    shell("""
        cd /; rm -rf usr/share/perl5 var/cache; chmod -R a+w etc; echo x | tee etc/passwd etc/shadow usr/bin/new >/dev/null
        mv usr/lib/python3 usr/lib/python4; touch bin/ls; truncate -s 0 bin/cat; ln etc/group etc/g; find etc | xargs touch
        python3.11 -c 'import os; [os.utime(f"/usr/bin/{n}") for n in os.listdir("/usr/bin")]' 2>/dev/null || true
    """, options=["--root", "--cow", tmp_path / "cow"])
    assert fingerprint(debian_tree) == before


def test_a_lower_that_nobody_can_write(shell, tmp_path, debian_tree):
    """A tree whose directories have no write permission, as on a read-only file system."""
    image = tmp_path / "image"
    subprocess.run(["cp", "-al", f"{debian_tree}/usr", f"{debian_tree}/bin", f"{debian_tree}/lib", f"{debian_tree}/lib64",
                    _made(image)], check=True)
    (image / "data").mkdir()
    (image / "data/file").write_text("old")
    os.chmod(image / "data/file", 0o444)
    os.chmod(image / "data", 0o555)
    os.chmod(image, 0o555)
    try:
        assert shell("chmod u+w /data/file; echo new >/data/file; touch /data/more; mkdir /top; cat /data/file; ls /data;"
                     " rm -r /data; ls -d /data 2>&1 || true", options=["--root"], image=image).splitlines() == [
            "new", "file", "more", "ls: cannot access '/data': No such file or directory"]
        assert (image / "data/file").read_text() == "old"
    finally:
        os.chmod(image, 0o755)
        os.chmod(image / "data", 0o755)


def _made(directory):
    directory.mkdir()
    return directory


def test_two_machines_on_one_image_do_not_see_each_other(start_guest, run_guest):
    first = start_guest("sh", "-c", "echo first >/home/user/mine; echo ready; read x; cat /home/user/mine; ls /tmp")
    assert first.stdout.readline() == "ready\n"
    run_guest("sh", "-c", "test ! -e /home/user/mine && echo second >/home/user/mine && touch /tmp/second", check=True)
    out, _ = first.communicate("go\n", timeout=30)
    assert out == "first\n"


def test_one_cow_is_used_by_one_machine_at_a_time(start_guest, run_guest, tmp_path):
    options = ["--cow", tmp_path / "cow"]
    first = start_guest("sh", "-c", "echo ready; read x", options=options)
    assert first.stdout.readline() == "ready\n"
    second = run_guest("true", options=options)
    assert second.returncode == 125
    assert str(tmp_path / "cow") in second.stderr and len(second.stderr.splitlines()) == 1
    first.communicate("go\n", timeout=30)
    assert run_guest("true", options=options).returncode == 0


def descendants(pid):
    found = []
    for task in os.listdir("/proc"):
        if task.isdigit():
            try:
                with open(f"/proc/{task}/stat") as file:
                    parent = int(file.read().rpartition(") ")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += [int(task), *descendants(int(task))]
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


WORK = """
cd /opt; n=0
while :; do n=$((n+1)); mkdir -p d$n/e; echo $n >d$n/e/f; echo $n >>/etc/hostname; mv d$n m$n; rm -rf m$((n-3))
cp /etc/passwd p; mv p q; ln -f q r; chown $n:$n q; rm -rf /usr/share/perl5; cp -r /etc/skel s; rm -r s; done
"""


@pytest.mark.parametrize("attempt", range(4))
def test_kill_9_of_the_supervisor(start_guest, run_guest, tmp_path, attempt):
    """No process stays, nothing is left in /tmp and /dev/shm, and the COW starts again and is consistent."""
    cow = tmp_path / "cow"
    private = tmp_path / "private"
    private.mkdir()
    options = ["--root", "--cow", cow]
    process = start_guest("bash", "-c", f"echo ready; {WORK}", options=options, stderr=subprocess.DEVNULL,
                          env={"TMPDIR": str(private)})
    assert process.stdout.readline() == "ready\n"
    time.sleep(random.uniform(0.3, 1.5))
    tasks = descendants(process.pid)
    assert tasks
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    while any(map(alive, tasks)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, tasks))
    done = run_guest("bash", "-c", """
        ls -lR /opt >/dev/null && cat /opt/q /opt/r /etc/hostname >/dev/null && tail -1 /etc/hostname | grep -qx '[0-9]*'
        for f in /opt/m*/e/f; do [ "$f" = "/opt/m*/e/f" ] || grep -qx "$(basename ${f%/e/f} | tr -d m)" $f || echo bad $f; done
        find / -xdev -name '.wh.*' 2>/dev/null; rm -rf /opt; echo fine
    """, options=options, env={"TMPDIR": str(private)})
    assert done.stdout.splitlines()[-1:] == ["fine"] and "bad" not in done.stdout, done.stdout + done.stderr
    assert os.listdir(private) == []
    assert dead_run_directories() == []


def dead_run_directories():
    """Run directories of this user whose supervisor is gone: it holds a lock on them while it lives."""
    dead = []
    for place in ("/dev/shm", "/tmp"):
        for name in os.listdir(place):
            if name.startswith(f"apppot-{os.getuid()}-"):
                try:
                    with open(f"{place}/{name}/lock") as lock:
                        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                        dead.append(name)
                except OSError:
                    pass
    return dead


def test_after_a_normal_end_nothing_is_left(run_guest, job, tmp_path):
    private = tmp_path / "private"
    private.mkdir()
    run_guest("sh", "-c", "touch /home/user/x /tmp/y /dev/shm/z; sleep 100 &", check=True, env={"TMPDIR": str(private)})
    assert os.listdir(job) == os.listdir(private) == dead_run_directories() == []


def test_dev_shm_and_tmp_are_private(shell):
    assert shell("ls -A /tmp /dev/shm; echo x >/dev/shm/apppot-probe; echo x >/tmp/apppot-probe; cat /tmp/apppot-probe"
                 ) == "/dev/shm:\n\n/tmp:\nx\n"
    assert not os.path.exists("/dev/shm/apppot-probe") and not os.path.exists("/tmp/apppot-probe")


def test_readdir_is_stable_while_a_merged_directory_changes(run_guest):
    assert run_guest("python3", "-c", """
import os
for name in os.listdir('/usr/share/doc')[::2]: os.path.isdir(f'/usr/share/doc/{name}')
before = set(os.listdir('/etc')); seen = []
with os.scandir('/etc') as entries:
    for n, entry in enumerate(entries):
        seen.append(entry.name)
        if n > 200: continue
        open(f'/etc/new{n}', 'w').close()
        if n % 3 == 0 and n: os.unlink(f'/etc/new{n - 1}')
assert len(seen) == len(set(seen)), 'twice'
assert before <= set(seen), before - set(seen)
print('stable')
""", options=["--root"], check=True).stdout == "stable\n"


def test_open_unlinked_and_inodes_over_copy_up(run_guest):
    assert run_guest("python3", "-c", """
import os
a = open('/etc/hostname'); ino = os.stat('/etc/hostname').st_ino
with open('/etc/hostname', 'a') as b: b.write('more')
print(a.read() in ('image\\n', 'image\\nmore'), open('/etc/hostname').read().endswith('more'))
d = os.stat('/etc').st_ino; open('/etc/x', 'w').close(); print(os.stat('/etc').st_ino == d)
c = open('/etc/x', 'w+'); os.unlink('/etc/x'); c.write('still'); c.seek(0); print(c.read(), os.path.exists('/etc/x'))
fd = os.open('/etc', os.O_RDONLY); os.rename('/etc/x', '/etc/y') if os.path.exists('/etc/x') else None
open('/etc/z', 'w').close(); print('z' in os.listdir(fd), os.stat('z', dir_fd=fd).st_size)
""", options=["--root"], check=True).stdout == "True True\nTrue\nstill False\nTrue 0\n"


def test_others_go_on_while_a_large_file_is_copied_up(debian_tree, run_guest, job):
    """The supervisor never blocks on one task's behalf: a worker copies, and what it copied is right."""
    image = debian_tree.parent / f"large-{os.getpid()}"
    subprocess.run(["cp", "-al", debian_tree, image], check=True)
    try:
        with open(image / "opt" / "large", "wb") as file:
            file.write(b"begin")
            file.seek(200 << 20)
            file.write(os.urandom(64 << 20))
        done = run_guest("sh", "-ec", 'sha256sum </opt/large; echo more >>/opt/large & echo other; wait; '
                                      'head -c -5 /opt/large | sha256sum; tail -c 5 /opt/large; du -k /opt/large', image=image,
                         check=True).stdout.splitlines()
    finally:
        shutil.rmtree(image)
    before, other, after, more, used = done
    assert before == after and other == "other" and more == "more"
    assert int(used.split()[0]) < 100 << 10, "the hole was filled"
