"""What a machine may use of the host, and what happens beyond."""

import os
import signal
import subprocess
import sys
import time

import pytest

from .conftest import environment, start_command

MIB = 1 << 20


def python(script):
    return "python3", "-S", "-c", script


def ended(done, *words):
    """The machine was killed, and one line says why."""
    assert done.returncode == 137, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("apppot-start: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


# -- processes and threads

FORKS = """
import os, time
def fill(body):
    made = []
    while True:
        try:
            pid = os.fork()
        except BlockingIOError:
            return made
        if pid == 0:
            body()
            os._exit(0)
        made.append(pid)
for body in (lambda: time.sleep(100), lambda: time.sleep(100), lambda: None, lambda: None):     # twice alive, twice zombies
    made = fill(body)
    print(len(made))
    [os.kill(pid, 9) for pid in made]
    [os.waitpid(pid, 0) for pid in made]
"""
THREADS = """
import threading
made, event = 0, threading.Event()
try:
    while True:
        threading.Thread(target=event.wait).start()
        made += 1
except RuntimeError:
    print(made)
event.set()
"""


@pytest.mark.parametrize("isolation", ["standard", "strict"])
def test_as_many_tasks_as_allowed(run_guest, isolation):
    options = ["--pids", "20", "--isolation", isolation]
    assert run_guest(*python(FORKS), options=options).stdout == "19\n19\n19\n19\n"
    assert run_guest(*python(THREADS), options=options).stdout == "19\n"
    vforks = "import subprocess\nfor _ in range(30): subprocess.run(['true'], close_fds=False, check=True)\nprint('done')"
    assert run_guest(*python(vforks), options=options).stdout == "done\n"


def test_a_fork_that_fails_for_other_reasons_leaves_its_place(run_guest):
    """The kernel refuses CLONE_SIGHAND without CLONE_VM."""
    script = ("import ctypes, os\nlibc = ctypes.CDLL(None)\n"
              "for _ in range(50): assert libc.syscall(56, 0x800 | 17, 0, 0, 0, 0) == -1\n"
              "pids = [os.fork() for _ in range(1)]\nprint('forked') if pids[0] else os._exit(0)")
    assert run_guest(*python(script), options=["--pids", "2"]).stdout == "forked\n"


def test_a_fork_bomb(run_guest):
    done = run_guest("bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 60", options=["--pids", "40", "--timeout", "3"])
    assert done.returncode == 124
    assert "Resource temporarily unavailable" in done.stderr


# -- memory, measured; tests/virtual has what is so where the kernel enforces --mem by control groups

MEASURED = {"APPPOT_CGROUP": os.devnull}


def test_one_process_gets_enomem(run_guest):
    done = run_guest(*python("x = bytearray(600 << 20)"), options=["--mem", "300M"], env=MEASURED)
    assert done.returncode == 1 and "MemoryError" in done.stderr
    assert run_guest(*python("print(len(bytearray(50 << 20)))"), options=["--mem", "300M"], env=MEASURED).stdout == "52428800\n"


def test_what_processes_share_counts_once(run_guest):
    script = """
import mmap, os, time
kept = bytearray(b"x") * (120 << 20)
shared = mmap.mmap(-1, 60 << 20)
shared.write(b"y" * (60 << 20))
for _ in range(8):
    if os.fork() == 0:
        assert shared[::4096].count(b"y") == 15360 and kept[::4096].count(b"x") == 30720
        time.sleep(3)
        os._exit(0)
print([os.wait()[1] for _ in range(8)] == [0] * 8)
"""
    done = run_guest(*python(script), options=["--mem", "300M", "--stats"], env=MEASURED)
    assert done.stdout == "True\n", done.stderr
    seen = next(line for line in done.stderr.splitlines() if line.startswith("memory: "))
    assert 180 <= int(seen.split(" MiB in one process, ")[1].split()[0]) <= 250


GROW = {
    "processes": "[os.fork() for _ in range(2)]; x = bytearray(b'x') * (100 << 20)",
    "shared": "x = mmap.mmap(-1, 400 << 20); [x.write(b'x' * (1 << 20)) for _ in range(400)]",
    "memfd": "fd = os.memfd_create('x'); [os.write(fd, b'x' * (1 << 20)) for _ in range(400)]",
    "shm": "[open('/dev/shm/%d' % n, 'wb').write(b'x' * (1 << 20)) for n in range(400)]",
    "nameless": "f = open('/dev/shm/f', 'wb', 0); os.unlink('/dev/shm/f'); [f.write(b'x' * (1 << 20)) for _ in range(400)]",
}


@pytest.mark.parametrize("how", GROW)
def test_more_memory_than_allowed(run_guest, how):
    script = f"import mmap, os, time\n{GROW[how]}\ntime.sleep(60)"
    ended(run_guest(*python(script), options=["--mem", "300M"], env=MEASURED), "more than --mem 300 MiB", "python3")


def test_a_process_may_call_itself_anything(run_guest):
    script = """
import ctypes, time
ctypes.CDLL(None).prctl(15, b"\\xff\\x1b[1m\\n\\xc3\\xa9", 0, 0, 0)
for _ in range(3):
    if not os.fork(): break
x = bytearray(b"x") * (150 << 20)
time.sleep(60)"""
    ended(run_guest(*python("import os" + script), options=["--mem", "300M"], env=MEASURED), "more than --mem 300 MiB", "\\xff?[1m?\u00e9, uses")


def test_a_memory_bomb(run_guest):
    """Many processes that want all there is; the line is said under --quiet too."""
    script = "import os\nfor _ in range(4): os.fork()\nx = []\nwhile True: x.append(bytearray(b'x') * (1 << 20))"
    done = run_guest(*python(script), options=["--mem", "200M", "--quiet"], env=MEASURED)
    if done.returncode == 137:
        ended(done, "more than --mem 200 MiB")
    else:
        assert done.returncode == 1 and "MemoryError" in done.stderr


# -- disk

def write(path, size, more=""):
    return f"import os, time\nf = open({path!r}, 'wb', 0)\n{more}\nfor _ in range({size}): f.write(b'x' * (1 << 20))\n"


def test_more_disk_than_allowed(run_guest):
    sleep = "time.sleep(60)"
    options = ["--disk", "40M"]
    ended(run_guest(*python(write("/tmp/f", 100) + sleep), options=options), "more than --disk 40 MiB")
    ended(run_guest(*python(write("/home/user/f", 100, "os.unlink('/home/user/f')") + sleep), options=options), "--disk")
    assert run_guest(*python(write("/tmp/f", 20) + write("f", 60) + "print('both')"), options=options).stdout == "both\n"


def test_an_inode_bomb(run_guest):
    script = "import os\nos.mkdir('/tmp/d')\nn = 0\nwhile True:\n    os.close(os.open(f'/tmp/d/{n}', os.O_CREAT)); n += 1"
    ended(run_guest(*python(script), options=["--disk", "8M"]), "more than --disk 8 MiB")


def test_a_cow_that_is_too_large_already(run_guest, tmp_path):
    cow = ["--cow", tmp_path / "cow"]
    run_guest(*python(write("/tmp/f", 20)), options=cow, check=True)
    done = run_guest("true", options=[*cow, "--disk", "10M"])
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "cow") in done.stderr and "--disk 10 MiB" in done.stderr


def test_a_file_size_bomb_meets_the_callers_own_limit(debian_tree, job):
    """ulimit -f bounds guests as it does everybody: the write fails, the machine goes on."""
    command = start_command("sh", "-c", "head -c 90M /dev/zero >/tmp/big; ls -s --block-size=1M /tmp/big; echo alive", image=debian_tree)
    def run(limit):
        return subprocess.run(["bash", "-c", 'ulimit -f $1; shift; exec "$@"', "bash", str(limit), *command], cwd=job,
                              env=environment(), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    done = run(40 * 1024)
    assert done.stdout.split() == ["40", "/tmp/big", "alive"], done
    done = run(1024)
    assert done.returncode == 125 and len(done.stderr.splitlines()) == 1 and "ulimit -f" in done.stderr


# -- processors, priority, time

def test_processors(run_guest):
    assert run_guest("nproc", options=["--cpus", "1"]).stdout == "1\n"
    script = ("import os\nown = os.sched_getaffinity(0)\nos.sched_setaffinity(0, range(1024))\nprint(os.sched_getaffinity(0) == own)\n"
              "try: os.sched_setaffinity(0, set(range(64)) - own)\nexcept OSError as error: print(error.strerror)")
    assert run_guest(*python(script), options=["--cpus", "1"]).stdout == "True\nInvalid argument\n"


def test_niceness(run_guest):
    assert run_guest("nice", options=["--nice", "7"]).stdout == f"{os.nice(0) + 7}\n"


def test_time(run_guest):
    done = run_guest("sh", "-c", "trap 'echo ending; exit 3' TERM; kill -STOP $$; while :; do sleep 0.1; done",
                     options=["--timeout", "1"])
    assert (done.returncode, done.stdout) == (124, "ending\n")
    assert len(done.stderr.splitlines()) == 1 and "1 seconds" in done.stderr
    start = time.monotonic()
    done = run_guest("sh", "-c", "trap '' TERM; sleep 100 & while :; do sleep 100; done", options=["--timeout", "1"])
    assert done.returncode == 124 and time.monotonic() - start >= 11


# -- the batch system's own

def test_a_limit_of_address_space(debian_tree, job):
    """ulimit -v counts what a guest maps, and little more."""
    def run(limit, *words):
        return subprocess.run(["sh", "-c", 'ulimit -v $1; shift; exec "$@"', "sh", str(limit * 1024),
                               *start_command(*words, image=debian_tree)], cwd=job, env=environment(), capture_output=True,
                              text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert run(64, "echo", "fine").stdout == "fine\n"
    done = run(300, *python("x = bytearray(200 << 20); print(len(x) >> 20)"))
    assert done.stdout == "200\n", done.stderr
    done = run(300, *python("x = bytearray(280 << 20)"))
    assert done.returncode == 1 and "MemoryError" in done.stderr
    done = run(20, "true")
    assert done.returncode != 0 and "Traceback" not in done.stderr


def tree_memory(pid):
    """Proportional memory (PSS) of a process and all of its descendants, as batch systems count it, in MiB."""
    total, waiting = 0, [pid]
    while waiting:
        process = waiting.pop()
        with open(f"/proc/{process}/smaps_rollup") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        for task in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{task}/children") as file:
                waiting += map(int, file.read().split())
    return total / 1024


def test_what_others_measure_is_what_the_guest_uses(debian_tree, job):
    """Ten processes of 30 MiB and 100 MiB that they share, seen from outside: that, and the supervisor."""
    script = """
import mmap, os, sys, time
shared = mmap.mmap(-1, 100 << 20)
shared.write(b"s" * (100 << 20))
for _ in range(9):
    if os.fork() == 0:
        break
own = bytearray(b"x") * (30 << 20)
sum(shared[::4096])
os.write(1, b".")
time.sleep(60)
"""
    process = subprocess.Popen(start_command(*python(script), image=debian_tree), cwd=job, env=environment(),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        for _ in range(10):
            assert process.stdout.read(1) == b"."
        measured = tree_memory(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert 400 <= measured <= 480


@pytest.mark.parametrize("option, value", [("--pids", "0"), ("--pids", "x"), ("--disk", "1K"), ("--disk", "-1"), ("--nice", "20"),
                                           ("--nice", "-1"), ("--cpus", "1.5"), ("--mem", "lots"), ("--timeout", "0")])
def test_wrong_values(job, option, value):
    done = subprocess.run([sys.executable, "-m", "apppot.cli.start", option, value, "true"], cwd=job, env=environment(),
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and option in done.stderr
