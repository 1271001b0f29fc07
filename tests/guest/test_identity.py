"""Who one is inside: user, virtual root, set-user-id programs, recorded owners."""

import os
import subprocess

import pytest

from .conftest import HOME, USER

UID, GID = os.getuid(), os.getgid()


def test_the_user(shell):
    assert shell("id -un; id -u; id -g; echo $HOME; getent passwd $(id -u) | cut -d: -f1,3,4,6; id -gn; whoami; cd; pwd;"
                 "python3 -c 'import os, pwd; print(os.getlogin() if 0 else pwd.getpwuid(os.getuid()).pw_dir)'"
                 ).splitlines() == [USER, str(UID), str(GID), HOME, f"{USER}:{UID}:{GID}:{HOME}", USER, USER,
                                    HOME, HOME]


def test_files_without_a_record_belong_to_who_looks(shell):
    """The tree's files belong to the host user, who has nothing on disk that says whose they are in the guest."""
    script = "stat -c %U:%G /etc/passwd /usr/bin/su / /home/user/job; touch /etc/new; stat -c %U:%G /etc/new"
    assert shell(script).split() == [f"{USER}:{USER}"] * 5
    assert shell(script.replace("/home/user/job", ""), options=["--root"]).split() == ["root:root"] * 4


@pytest.mark.skipif(UID == 0, reason="the host's root may")
def test_what_belongs_to_root_by_record_is_closed_to_the_user(shell, tmp_path):
    options = ["--cow", tmp_path / "cow"]
    shell("chown -R root:root /etc /srv; chown root:shadow /etc/shadow; chmod 755 /etc /srv; chmod 640 /etc/shadow;"
          "install -m 600 /dev/null /etc/secret; chown root:root /etc/secret", options=["--root", *options])
    assert shell("touch /etc/x 2>&1; rm -f /etc/passwd 2>&1; chown daemon /srv 2>&1; cat /etc/shadow 2>&1; echo >>/etc/secret;"
                 "mkdir /srv/new 2>&1; chmod 777 /srv 2>&1; mv /etc/passwd /etc/p 2>&1; stat -c %U:%G:%a /etc/shadow;"
                 "truncate -s 0 /etc/secret 2>&1; [ -w /etc/secret ] || echo no", options=options).splitlines() == [
        "touch: cannot touch '/etc/x': Permission denied", "rm: cannot remove '/etc/passwd': Permission denied",
        "chown: changing ownership of '/srv': Operation not permitted", "cat: /etc/shadow: Permission denied",
        "mkdir: cannot create directory ‘/srv/new’: Permission denied",
        "chmod: changing permissions of '/srv': Operation not permitted",
        "mv: cannot move '/etc/passwd' to '/etc/p': Permission denied", "root:shadow:640",
        "truncate: cannot open '/etc/secret' for writing: Permission denied", "no"]


def test_root(shell):
    assert shell("id -u; whoami; stat -c %U:%G /etc/passwd; touch /etc/x; stat -c %U:%G /etc/x; head -c 5 /etc/shadow; "
                 "echo; echo $HOME", options=["--root"]).splitlines() == [
        "0", "root", "root:root", "root:root", "root:", "/root"]


def test_sudo_without_a_password_where_the_image_has_none(shell, debian_tree):
    assert not (debian_tree / "usr/bin/sudo").exists()
    assert shell("sudo id -u; sudo -u daemon id -un; sudo sh -c 'echo $SUDO_USER; touch /etc/made'; ls /etc/made; "
                 "sudo -n true && echo ok; sudo sh -c 'exit 7' || echo $?; sudo A=b env | grep ^A=; sudo -E true; id -un;"
                 "sudo -i pwd; sudo -H sh -c 'echo $HOME'").splitlines() == [
        "0", "daemon", USER, "/etc/made", "ok", "7", "A=b", USER, "/root", "/root"]


def test_user_option(shell):
    assert shell("id -un; id -u; touch /tmp/x; stat -c %U /tmp/x; echo $HOME", options=["--user", "daemon"]).splitlines() == [
        "daemon", "1", "daemon", "/usr/sbin"]


def test_users_and_su(shell):
    assert shell("""
        useradd -m -s /bin/bash alice; echo alice:secret | chpasswd; id -un alice; stat -c %U:%G /home/alice
        su alice -c 'id -un; cd; touch mine; stat -c %U mine'
        su - alice -c 'pwd; echo $USER'; usermod -aG games alice; su alice -c 'id -Gn'
        groupadd -g 4242 team; chgrp team /home/alice/mine; stat -c %g:%G /home/alice/mine; passwd -S alice | cut -c1-7
        userdel -r alice 2>/dev/null; ls /home/alice 2>&1; id alice 2>&1; true
    """, options=["--root"]).splitlines() == [
        "alice", "alice:alice", "alice", "alice", "/home/alice", "alice", "alice games", "4242:team", "alice P",
        "ls: cannot access '/home/alice': No such file or directory", "id: ‘alice’: no such user"]


CHANGED = """
    cd /srv; touch f; chown 12:34 f; chmod 4751 f; mknod null c 1 3; mkdir d; chown -R daemon:adm d; chmod 2770 d
    ln -s f l; chown -h 5:6 l; mknod block b 7 0; chown 0:0 /etc/hostname; chmod 000 /etc/motd
"""
STAT = "cd /srv; stat -c '%n %u:%g %a %F %t,%T' f null d l block /etc/hostname /etc/motd"
SHOWN = ["f 12:34 4751 regular empty file 0,0", "null 0:0 644 character special file 1,3", "d 1:4 2770 directory 0,0",
         "l 5:6 777 symbolic link 0,0", "block 0:0 644 block special file 7,0", "/etc/hostname 0:0 644 regular file 0,0",
         "/etc/motd 0:0 0 regular file 0,0"]


def test_owners_modes_and_devices_are_recorded_with_the_cow(shell, tmp_path):
    options = ["--root", "--cow", tmp_path / "cow"]
    assert shell(CHANGED + STAT, options=options).splitlines() == SHOWN
    assert shell(STAT, options=options).splitlines() == SHOWN
    assert shell("mv /srv/f /srv/g; cp -a /srv/g /srv/h; ln /srv/g /srv/i; rm /srv/g; stat -c %u:%g:%a /srv/h /srv/i;"
                 "tar -C /srv -cf /t.tar . && tar --numeric-owner -tvf /t.tar | grep -c 12/34; mkdir /x; tar -C /x -xpf /t.tar; stat -c "
                 "%u:%g:%a /x/h /x/d", options=options).splitlines() == [
        "12:34:4751", "12:34:4751", "2", "12:34:4751", "1:4:2770"]
    for path in (tmp_path / "cow").rglob("*"):
        assert path.lstat().st_uid == UID


def test_set_user_id_programs(shell, tmp_path):
    options = ["--cow", tmp_path / "cow"]
    shell("cp /usr/bin/id /usr/local/bin/rid; chmod 4755 /usr/local/bin/rid; cp /usr/bin/id /usr/local/bin/gid; "
          "chown root:daemon /usr/local/bin/gid; chmod 2755 /usr/local/bin/gid", options=[*options, "--root"])
    out = shell("rid; gid; su -c true </dev/null 2>&1 | head -1", options=options)
    assert ("euid=0(root)" in out) == (UID != 0)
    assert "egid=1(daemon)" in out


def test_identity_calls(run_guest, job):
    """setresuid and friends as virtual root, as setuid(2) and capabilities(7) say."""
    out = run_guest("python3", "-c", """
import os
print(os.getresuid(), os.getresgid(), os.getgroups())
os.setgroups([5, 6]); os.setresgid(100, 101, 102); print(os.getresgid(), os.getgroups())
open('/secret', 'w').close(); os.chown('/secret', 0, 0); os.chmod('/secret', 0o600)
os.setresuid(0, 33, 0); print(os.getresuid())
try: open('/secret')
except PermissionError as e: print('denied')
os.seteuid(0); open('/secret').close(); os.setuid(33); print(os.getresuid())
for call in (lambda: os.setuid(0), lambda: os.setgroups([]), lambda: os.setgid(0), lambda: os.chown('/secret', 1, 1),
             lambda: os.mknod('/tmp/x', 0o20600, os.makedev(1, 3)), lambda: os.chroot('/')):
    try: call(); print('may')
    except PermissionError: print('may not')
print([line for line in open('/proc/self/status') if line.startswith(('Uid', 'Gid', 'Groups'))])
""", options=["--root"], check=True).stdout.splitlines()
    assert out == ["(0, 0, 0) (0, 0, 0) [0]", "(100, 101, 102) [5, 6]", "(0, 33, 0)", "denied", "(33, 33, 33)",
                   *["may not"] * 6,
                   "['Uid:\\t33\\t33\\t33\\t33\\n', 'Gid:\\t100\\t101\\t102\\t101\\n', 'Groups:\\t5 6 \\n']"]


def test_chroot_as_virtual_root(shell):
    assert shell("mkdir -p /c/bin /c/etc; cp /bin/busybox /c/bin/; ln -s busybox /c/bin/sh; echo in >/c/etc/where; "
                 "chroot /c sh -c 'busybox cat /etc/where; cd ../..; busybox pwd; busybox ls /'; cat /etc/hostname",
                 options=["--root"]).splitlines() == ["in", "/", "bin", "etc", "image"]


def test_tar_of_the_system_by_root_has_its_owners(shell):
    assert shell("tar -C / -cf - etc/passwd etc/shadow usr/bin/su | tar -tvf - | awk '{print $1, $2, $6}'",
                 options=["--root"]).splitlines() == [
        "-rw-r--r-- root/root etc/passwd", "-rw-r----- root/root etc/shadow", "-rwsr-xr-x root/root usr/bin/su"]


def test_nothing_on_the_host_changes_owner(run_guest, job):
    (job / "f").write_text("")
    run_guest("sh", "-c", "chown 12:34 f; chmod 600 f; stat -c %u:%g f", options=["--root"], check=True)
    assert (job / "f").stat().st_uid == UID
    assert subprocess.run(["stat", "-c", "%a", job / "f"], capture_output=True, text=True).stdout == "600\n"
