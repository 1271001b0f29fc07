"""What takes long, and is done beside the supervisor: here a connect(2) to a server that takes no more for now.

The guest may write where the upper layer is, so the supervisor connects for it (RunningMachine.name_of_socket).
"""

import os
import resource
import time

import pytest

FULL = """
import os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind("server"); server.listen(0)
waiting = []
try:
    while True:
        waiting.append(socket.socket(socket.AF_UNIX)); waiting[-1].setblocking(False); waiting[-1].connect("server")
except BlockingIOError:
    pass
"""
INTERRUPTED = FULL + """
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    socket.socket(socket.AF_UNIX).connect("server")
except Alarm:
    print("interrupted", os.stat("server").st_nlink)
"""
BLOCKED = FULL + """
print("full", flush=True)
def blocked():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        client = socket.socket(socket.AF_UNIX); os.write(write, b"x")
        try:
            client.connect("server")
        except OSError as error:
            print(error.errno, flush=True)
        os._exit(0)
    os.read(read, 1); os.close(read); os.close(write)
    return pid
for line in sys.stdin:
    pids = [blocked() for _ in range(int(line))]
    if line.endswith(" \\n"):                         # they shall be ended while they wait
        import time; time.sleep(0.3)
        [os.kill(pid, signal.SIGKILL) for pid in pids]
    [os.waitpid(pid, 0) for pid in pids]
    print("done", flush=True)
"""


def test_a_signal_interrupts_who_waits_to_connect(run_guest):
    assert run_guest("python3", "-c", INTERRUPTED, check=True).stdout == "interrupted 1\n"


def ask(machine, line):
    machine.stdin.write(line)
    machine.stdin.flush()
    told = []
    while not told or told[-1] not in ("done", ""):
        told.append(machine.stdout.readline().rstrip("\n"))
    return told


@pytest.fixture
def machine(start_guest, job):
    machine = start_guest("python3", "-c", BLOCKED, env={"TMPDIR": str(job)})
    assert machine.stdout.readline() == "full\n", machine.communicate()
    return machine


def descriptors(machine):
    return len(os.listdir(f"/proc/{machine.pid}/fd"))


def test_who_is_killed_while_it_connects_leaves_no_descriptor(machine):
    ask(machine, "2 \n")
    before = descriptors(machine)
    assert ask(machine, "12 \n") == ["done"]
    deadline = time.monotonic() + 60
    while descriptors(machine) > before and time.monotonic() < deadline:
        time.sleep(0.05)                   # the last workers end after their tasks
    assert descriptors(machine) <= before


@pytest.mark.skipif(os.getuid() == 0, reason="the host's root has no limit of processes")
def test_a_host_without_processes_to_spare(machine):
    resource.prlimit(machine.pid, resource.RLIMIT_NPROC, (1, 1))
    assert ask(machine, "1\n") == ["12", "done"]          # ENOMEM
