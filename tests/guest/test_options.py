"""apppot-start's command line, seen from inside a machine."""

import os
import re
import signal
import subprocess
import sys
from itertools import takewhile

import pytest

from .conftest import HOME, USER, environment


def test_what_runs(run_guest, job, debian_tree, tmp_path):
    script = job / "apppot-run"
    script.write_text("#!/bin/sh\necho apppot-run\nexit 8\n")
    script.chmod(0o755)
    assert run_guest("echo", "given").stdout == "given\n"
    done = run_guest()
    assert (done.stdout, done.returncode) == ("apppot-run\n", 8)
    script.unlink()
    cow = ["--cow", tmp_path / "cow"]
    run_guest("sh", "-c", "printf '#!/bin/sh\\necho autorun\\n' >/home/user/apppot-autorun; chmod +x /home/user/apppot-autorun", options=cow,
              check=True)
    assert run_guest(options=cow).stdout == "autorun\n"
    assert run_guest(input="echo from a shell; exit 4\n").stdout == "from a shell\n"


def test_environment(run_guest):
    done = run_guest("sh", "-c", "echo $A $B $KEPT $PATH", options=["--env", "A=1", "--env", "B=x y"], env={"KEPT": "k"})
    assert done.stdout.startswith("1 x y k /")
    done = run_guest("env", options=["--clean-env", "--env", "A=1", "--env", "KEPT"], env={"KEPT": "k", "LOST": "l"})
    names = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert names["A"] == "1" and names["KEPT"] == "k" and "LOST" not in names and names["HOME"] == HOME
    assert "bin" in names["PATH"]


def test_image_from_the_environment_and_the_current_directory(debian_tree, job):
    command = [sys.executable, "-m", "apppot.cli.start", "cat", "/etc/hostname"]
    done = subprocess.run(command, cwd=job, env=environment(APPPOT_IMAGE=str(debian_tree)), capture_output=True, text=True)
    assert done.stdout == "image\n", done.stderr
    (job / "apppot.img").symlink_to(debian_tree)
    done = subprocess.run(command, cwd=job, env=environment(), capture_output=True, text=True)
    assert done.stdout == "image\n", done.stderr


def test_relative_names_of_cache_and_temporary_directory(run_guest, job):
    for _ in range(2):                     # the second time what is in the cache is used
        done = run_guest("sh", "-c", "cd /; ls -d /etc", env={"APPPOT_CACHE": "cache", "TMPDIR": "."}, check=True)
        assert done.stdout == "/etc\n"
    assert os.listdir(job / "cache/patched")


def listing():
    return subprocess.run("ls -A /; ls -lA /etc", shell=True, capture_output=True, text=True).stdout


def test_the_hosts_own_root_by_default(job):
    before = listing()
    done = subprocess.run([sys.executable, "-m", "apppot.cli.start", "sh", "-c",
                           "id -un; pwd; touch /home/user/x && sudo touch /etc/apppot-probe && ls /etc/apppot-probe; cat /etc/debian_version"],
                          cwd=job, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == [USER, "/home/user/job", "/etc/apppot-probe"]
    assert listing() == before


def test_network(run_guest):
    probe = ("import socket\ns = socket.socket()\ns.settimeout(2)\ntry: s.connect(('127.0.0.1', 9))\n"
             "except ConnectionRefusedError: print('refused')\nexcept OSError as e: print('none')")
    assert run_guest("python3", "-c", probe).stdout == "refused\n"
    assert run_guest("python3", "-c", probe.replace("s = socket.socket()", "try: s = socket.socket()\n"
                     "except OSError: print('none'); raise SystemExit"), options=["--network", "none"]).stdout == "none\n"
    pair = "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))"
    assert run_guest("python3", "-c", pair, options=["--network", "none"]).stdout == "b'x'\n"


def test_trace_and_stats(run_guest, job, tmp_path):
    run_guest("sh", "-c", "cat /etc/hostname; true", options=[f"--trace={tmp_path}/log"], check=True)
    log = (tmp_path / "log").read_text()
    assert "/etc/hostname" in log and "openat" in log and "execve" in log
    done = run_guest("cat", "/etc/hostname", options=["--trace"])
    assert done.stdout == "image\n" and "openat" in done.stderr
    done = run_guest("cat", "/etc/hostname", options=["--stats"])
    assert done.stdout == "image\n" and "execve" in done.stderr or "openat" in done.stderr


def numbers(text, head):
    """{call: count} of the paragraph of --stats that begins with `head`."""
    _, _, rest = text.partition(head)
    return {name: int(count) for count, name in (line.split() for line in takewhile(lambda line: line[:1] == " ",
                                                                                     rest.splitlines()[1:]))}


def test_stats_of_the_fast_path(run_guest):
    """What several processes did, by fork, vfork and exec, and threads that end while others call; each is counted once."""
    script = """
import os, subprocess, threading
def calls():
    for _ in range(100):
        os.access("/etc/passwd", 4)
calls()
if os.fork() == 0:
    calls()
    os._exit(0)
os.wait()
for _ in range(50):
    threads = [threading.Thread(target=calls) for _ in range(3)]
    [thread.start() for thread in threads]
    subprocess.run(["true"], close_fds=False)
    [thread.join() for thread in threads]
subprocess.run(["true"], close_fds=False)
calls()
os.execv("/bin/true", ["true"])
"""
    done = run_guest("python3", "-S", "-c", script, options=["--stats"], check=True)
    hits = numbers(done.stderr, "calls answered without a stop")
    missed = numbers(done.stderr, "calls of patched sites intercepted")
    assert 15_300 <= hits["access"] + missed["access"] < 15_420 and missed["access"] < 20
    assert re.search(r"fast path: libc.so.6: \d\d sites patched, \d+ of no known form", done.stderr)
    off = run_guest("true", options=["--stats", "--isolation", "strict"], check=True)
    assert off.stderr.endswith("fast path: off, --isolation strict\n")


def test_old_options_are_accepted_with_one_line(run_guest):
    done = run_guest("echo", "ok", options=["--slirp", "/usr/bin/slirp", "--uml", "linux", "-X", "con=null"])
    assert done.stdout == "ok\n"
    assert len(done.stderr.splitlines()) == 1
    done = run_guest("echo", "ok", options=["-q", "--slirp", "/usr/bin/slirp"])
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_limits(run_guest):
    done = run_guest("python3", "-c", "x = bytearray(600 << 20); print(len(x))", options=["--mem", "300M"])
    assert done.returncode != 0 and "629145600" not in done.stdout
    assert run_guest("python3", "-c", "print(len(bytearray(50 << 20)))", options=["--mem", "300M"]).stdout == "52428800\n"
    assert run_guest("nproc", options=["--cpus", "1"]).stdout == "1\n"
    done = run_guest("sleep", "100", options=["--timeout", "1"], timeout=30)
    assert done.returncode not in (0, 1)


def test_end_with_another_process(start_guest, run_guest):
    """The machine ends, children and daemons included, when the named process has: killed, and not waited for by anybody."""
    script = subprocess.Popen(["sleep", "1000"])
    guest = start_guest("sh", "-c", "setsid sleep 611 & sleep 612 & echo $$; exec sleep 613",
                        options=["--end-with", os.getpid(), "--end-with", script.pid])
    guest.stdout.readline()
    assert guest.poll() is None
    script.kill()
    assert guest.wait(30) == 128 + signal.SIGKILL
    assert guest.stdout.read() == ""                       # nobody holds the pipe any more
    script.wait()
    done = run_guest("echo", "ran", options=["--end-with", script.pid])
    assert (done.returncode, done.stdout) == (125, "")
    assert f"--end-with {script.pid}: there is no such process" in done.stderr


@pytest.mark.parametrize("isolation", ["standard", "strict", "none"])
def test_isolation(run_guest, isolation):
    assert run_guest("sh", "-c", "cat /etc/hostname; echo x >f; cat f", options=["--isolation", isolation]).stdout == "image\nx\n"


def test_a_guest_can_not_reach_files_outside(run_guest, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    done = run_guest("sh", "-c", f"cat {secret} /proc/1/root{secret} ../../../../../../{secret}; ls {tmp_path}")
    assert done.returncode != 0 and done.stdout == ""


def test_machines_in_machines_say_what_is_wrong(run_guest):
    """ptrace is denied inside; the line says so. (No nesting in this version.)"""
    done = run_guest("sh", "-c", "ls / >/dev/null; echo fine")
    assert done.stdout == "fine\n"
