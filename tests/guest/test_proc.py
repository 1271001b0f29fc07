"""/proc and /dev inside a machine, and the programs that read them."""

import os

import pytest

from .conftest import USER


def test_only_the_machines_processes(shell):
    assert shell("ls /proc | grep -c '^[0-9]'; ls -d /proc/1 2>&1; ls /proc/self/task | wc -l; sleep 5 & "
                 "ls -d /proc/$! | grep -c proc").splitlines()[1:] == [
        "ls: cannot access '/proc/1': No such file or directory", "1", "1"]
    pids = shell("ls /proc | grep '^[0-9]'; echo $$").split()
    assert pids[-1] in pids[:-1] and len(pids) <= 4


def test_processes_of_the_host(run_guest):
    """Everything that ps says of them natively, and nothing within."""
    outside = os.getpid()
    done = run_guest("sh", "-c", f"""
        ps -o pid= -p {outside}; ps -e | wc -l; cat /proc/{outside}/comm; cat /proc/{outside}/environ; ls -l /proc/{outside}/exe
        readlink /proc/{outside}/cwd; echo x >/proc/{outside}/comm; kill -0 {outside}; ls /proc/{outside}; ls /proc/$$ | wc -l
        cat /proc/$$/status | grep TracerPid""", options=["--pid", "host"])
    lines = done.stdout.split()
    assert lines[0] == str(outside) and int(lines[1]) > 4
    with open("/proc/self/comm") as file:
        assert lines[2] == file.read().strip()
    assert lines[3:7] == ["cmdline", "comm", "stat", "status"] and int(lines[7]) > 20 and lines[8:] == ["TracerPid:", "0"]
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines() if line] == [
        "No such file or directory", "No such file or directory", "Permission denied", "No such process"]


def test_guest_names(shell, job):
    (job / "f").write_text("")
    assert shell("""
        readlink /proc/self/exe /proc/$$/exe /proc/self/cwd /proc/self/root; exec 5<f 6</etc/hostname 7>/home/user/gone; rm /home/user/gone
        readlink /proc/$$/fd/5 /proc/$$/fd/6 /proc/$$/fd/7 /dev/fd/5 /proc/self; exec 8< <(:)
        readlink /proc/$$/fd/8 | sed 's/[0-9]*//g'; cat /proc/self/cwd/f; ls -d /proc/self/root/etc; cat /proc/$$/fd/6
        cd /usr/share; readlink /proc/$$/cwd; ls /proc/$$/cwd/perl5 >/dev/null && stat -L -c %F /proc/$$/fd/6
        echo through >&7; cat /proc/$$/fd/7; cat /proc/self/comm; tr '\\0' ' ' </proc/self/cmdline; echo
    """).splitlines() == [
        "/usr/bin/readlink", "/usr/bin/bash", "/home/user/job", "/", "/home/user/job/f", "/etc/hostname",
        "/home/user/gone (deleted)", "/home/user/job/f"] + [PID] + ["pipe:[]", "/proc/self/root/etc", "image",
        "/usr/share", "regular file", "through", "cat", "tr \\0   "]


class _Pid:
    def __eq__(self, other):
        return other.isdigit()


PID = _Pid()


def test_maps_mounts_status(shell, debian_tree, job):
    maps = shell("cat /proc/self/maps /proc/self/smaps; cat /proc/self/numa_maps 2>/dev/null || true")
    assert "/usr/bin/cat" in maps and "libc.so.6" in maps and "[stack]" in maps and "[heap]" in maps
    for hidden in (str(debian_tree), "apppot", "unreachable"):
        assert hidden not in maps
    mounts = shell("cat /proc/mounts; echo; cat /proc/self/mountinfo; df -a >/dev/null; findmnt -n -o TARGET /home/user/job;"
                   "mountpoint -q /proc; mountpoint /home/user/job; stat -f -c %T /proc")
    assert str(debian_tree) not in mounts and str(job) not in mounts
    assert [line.split()[1] for line in mounts.splitlines()[:1]] == ["/"]
    assert "/home/user/job is a mountpoint" in mounts
    status = dict(line.split(":\t") for line in shell("cat /proc/self/status").splitlines())
    assert status["Name"] == "cat" and status["TracerPid"] == "0" and status["Seccomp"] == "0"
    assert status["State"] == "R (running)"
    assert status["Uid"].split() == [str(os.getuid())] * 4


def test_ps_top_pgrep_pstree_killall(shell):
    out = shell("""
        sleep 77 & sleep 77 & ps -C sleep -o pid= | wc -l; pgrep -x sleep | wc -l; ps -o user=,comm= -p $!
        top -b -n 1 | awk '$NF == "sleep"' | wc -l; pstree $$ | grep -c sleep; killall sleep; wait; pgrep -x sleep | wc -l
        ps -e | wc -l; uptime >/dev/null && free >/dev/null && vmstat >/dev/null && w >/dev/null; echo $?; pidof no-such || true
    """).splitlines()
    assert out[:4] == ["2", "2", f"{USER:<8} sleep", "2"]
    assert out[4] >= "1" and out[5] == "0" and int(out[6]) <= 6 and out[7:] == ["0"]


def test_stopped_processes_are_shown_as_stopped(shell):
    assert shell("sleep 9 & kill -STOP $!; sleep 0.2; ps -o stat= -p $! | cut -c1; grep State /proc/$!/status; "
                 "cut -d' ' -f3 /proc/$!/stat; kill -CONT $!; sleep 0.2; ps -o stat= -p $! | cut -c1; kill $!").splitlines() == [
        "T", "State:\tT (stopped)", "T", "S"]


def test_proc_of_virtual_root(shell):
    assert shell("grep -E '^(Uid|CapEff)' /proc/self/status; stat -c %U /proc/self/ /proc/$$; ps -o user= -p $$",
                 options=["--root"]).split() == ["Uid:", "0", "0", "0", "0", "CapEff:", "000001ffffffffff", "root", "root", "root"]


def test_reopening_descriptors(run_guest):
    assert run_guest("python3", "-c", """
import ctypes, os
fd = os.open('/tmp', os.O_TMPFILE | os.O_RDWR); os.write(fd, b'tmpfile')
print(open(f'/proc/self/fd/{fd}').read())
assert ctypes.CDLL(None).linkat(-100, b'/proc/self/fd/%d' % fd, -100, b'/tmp/named', 0x400) == 0; print(open('/tmp/named').read())
r, w = os.pipe(); again = os.open(f'/dev/fd/{w}', os.O_WRONLY); os.write(again, b'pipe'); print(os.read(r, 9))
d = os.open('/usr/share', os.O_PATH); print('perl5' in os.listdir(f'/proc/self/fd/{d}'), os.stat(f'/proc/self/fd/{d}/perl5').st_mode)
print(os.path.realpath(f'/proc/self/fd/{d}'), open(f'/proc/self/fd/{d}/../../etc/hostname').read())
os.chmod(f'/proc/self/fd/{os.open("/tmp/named", os.O_PATH)}', 0o640); print(oct(os.stat('/tmp/named').st_mode))
""", check=True).stdout == "tmpfile\ntmpfile\nb'pipe'\nTrue 16877\n/usr/share image\n\n0o100640\n"


def test_dev(shell):
    assert shell("""
        ls /dev | tr '\\n' ' '; echo; echo x >/dev/null; head -c 3 /dev/zero | od -An -tx1; echo x >/dev/full; echo $?
        head -c 4 /dev/urandom | wc -c; echo err >/dev/stderr; echo out >/dev/stdout; echo in | cat /dev/stdin; ls /dev/shm
        stat -c '%F %t:%T' /dev/null; [ -w /dev/null ] && echo writable; ls -d /dev/pts /dev/ptmx; echo t >/dev/tty || true
    """.replace("/dev/tty", "/dev/tty 2>/dev/null")).splitlines()[1:] == [
        " 00 00 00", "1", "4", "out", "in", "character special file 1:3", "writable", "/dev/ptmx", "/dev/pts"]


def test_dev_has_no_device_of_the_host(shell):
    names = set(shell("ls /dev").split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "fd", "stdin", "stdout", "stderr", "shm"} <= names
    assert not [name for name in names if name.startswith(("sd", "vd", "nvme", "mem", "kmsg", "loop"))]


def test_hostname(shell):
    assert shell("hostname; uname -n; cat /proc/sys/kernel/hostname; python3 -c 'import socket; print(socket.gethostname())'",
                 options=["--hostname", "inside"]).split() == ["inside"] * 4


@pytest.mark.parametrize("path", ["/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches"])
def test_the_host_can_not_be_changed_through_proc(run_guest, path):
    done = run_guest("sh", "-c", f"echo h >{path}", options=["--root"])
    assert done.returncode != 0


def test_sys_is_readable(shell):
    assert shell("cat /sys/kernel/mm/transparent_hugepage/enabled >/dev/null; ls /sys/devices/system/cpu | grep -c cpu0; "
                 "nproc >/dev/null; lscpu >/dev/null && echo ok").split() == ["1", "ok"]


def test_auxv_is_the_programs_own(run_guest):
    # all but AT_HWCAP, which the C library answers otherwise
    script = """
import ctypes, struct
getauxval = ctypes.CDLL(None).getauxval
getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
with open("/proc/self/auxv", "rb") as file:
    found = list(struct.iter_unpack("QQ", file.read()))
print(all(getauxval(kind) == value for kind, value in found if kind not in (0, 16)), found[-1], len(found) > 15)
"""
    assert run_guest("python3", "-c", script, check=True).stdout == "True (0, 0) True\n"
