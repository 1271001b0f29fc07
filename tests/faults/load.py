"""Machines under load: python -m tests.faults.load processes 1000 | threads 2000 | turnover 200000 | machines 500

Each prints the time it took and what memory the supervisor, or all of it, had. `turnover`: a machine that runs so many
processes one after the other; what the supervisor grows by is what it leaks.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.machines import Machine
from tests.guest import make_tree
from tests.guest.conftest import environment, start_command

PROCESSES = """
import os, sys
ready, go = os.pipe(), os.pipe()
count = int(sys.argv[1])
for number in range(count):
    if os.fork() == 0:
        os.close(go[1])
        with open(f"/tmp/{number % 100}", "w") as file:
            file.write("x")
        os.stat("/etc/passwd")
        os.write(ready[1], b".")
        os.read(go[0], 1)
        os._exit(0)
left = count
while left:
    left -= len(os.read(ready[0], left))
print("all are there", flush=True)
sys.stdin.readline()
os.close(go[1])
print(all(os.wait()[1] == 0 for _ in range(count)))
"""
THREADS = """
import os, sys, threading
threading.stack_size(65536)
count = int(sys.argv[1])
event, ready = threading.Event(), threading.Semaphore(0)
failed = []
def work(number):
    try:
        with open(f"/tmp/{number % 100}", "w") as file:
            file.write("x")
        os.stat("/etc/passwd")
    except OSError as error:
        failed.append(error)
    ready.release()
    event.wait()
threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
for thread in threads: thread.start()
for thread in threads: ready.acquire()
print("all are there", flush=True)
sys.stdin.readline()
event.set()
for thread in threads: thread.join()
print(not failed)
"""
TURNOVER = """
import os, sys
for number in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        os.stat("/etc/passwd")
        name = f"/tmp/{number % 100}"
        os.close(os.open(name, os.O_CREAT))
        os.unlink(name)
        if number % 50 == 0:
            os.execv("/bin/true", ["true"])
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        sys.exit(1)
    if number in (int(sys.argv[2]), int(sys.argv[1]) - 1):
        print(number + 1, flush=True)
        sys.stdin.readline()
"""


def resident(pid):
    """MiB of memory of a process that no file holds."""
    with open(f"/proc/{pid}/status") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(("RssAnon", "RssShmem"))) / 1024


def processor_time(pid):
    """Seconds that a process has used (/proc/PID/stat)."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def many(place, image, script, count):
    """Whether a machine with so many processes or threads did its work; the supervisor's processor time and MiB meanwhile."""
    machine = Machine(place, image, "python3", "-S", "-c", script, str(count), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    there = machine.process.stdout.readline() == b"all are there\n"
    used = (processor_time(machine.process.pid), resident(machine.process.pid)) if there else (0, 0)
    output, _ = machine.process.communicate(b"\n", timeout=300)
    return there and output == b"True\n", *used, machine.said()


EARLY = 500         # processes after which the supervisor's memory is compared with that at the end


def turnover(place, image, count, early=EARLY):
    """The supervisor's MiB after `early` processes and after all `count`, and the seconds in between."""
    machine = Machine(place, image, "python3", "-S", "-c", TURNOVER, str(count), str(early - 1), stdin=subprocess.PIPE)
    memory, times = [], []
    for _ in range(2):
        if not machine.process.stdout.readline():
            raise AssertionError(machine.said())
        memory.append(resident(machine.process.pid))
        times.append(time.monotonic())
        machine.process.stdin.write(b"\n")
        machine.process.stdin.flush()
    status, _ = machine.end()
    assert status == 0, machine.said()
    return *memory, times[1] - times[0]


def at_once(place, image, count):
    """(How many machines of `count` that wait for one another did their work, what the others said, seconds, most MiB of the host in use)."""
    (place / "job").mkdir(exist_ok=True)
    command = start_command("sh", "-c", "cat /etc/hostname >/tmp/x; cat /tmp/x", image=image)
    errors = [open(place / f"errors{number}", "w+b") for number in range(count)]
    outputs = [open(place / f"output{number}", "w+b") for number in range(count)]
    gate, opened = os.pipe()
    processes = [subprocess.Popen(["sh", "-c", 'read x; exec "$@"', "sh", *command], cwd=place / "job", env=environment(), stdin=gate,
                                  stdout=output, stderr=error) for output, error in zip(outputs, errors)]
    os.close(gate)
    before, start = available(), time.monotonic()
    os.close(opened)
    least = before
    while any(process.poll() is None for process in processes):
        least = min(least, available())
        time.sleep(0.2)
    good, complaints = 0, []
    for process, output, error in zip(processes, outputs, errors):
        output.seek(0), error.seek(0)
        if process.returncode == 0 and output.read() == b"image\n":
            good += 1
        else:
            complaints.append(f"status {process.returncode}: {error.read().decode()}")
        output.close(), error.close()
    return good, complaints, time.monotonic() - start, before - least


def available():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) >> 10


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.faults.load", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("processes", "threads", "turnover", "machines"))
    parser.add_argument("count", type=int)
    chosen = parser.parse_args()
    least = EARLY + 1 if chosen.what == "turnover" else 1
    if chosen.count < least:
        parser.error(f"{chosen.what}: {chosen.count} is too few; say {least} or more")
    with tempfile.TemporaryDirectory() as name:
        place, image = Path(name), make_tree.tree()
        if chosen.what == "machines":
            good, complaints, seconds, memory = at_once(place, image, chosen.count)
            print(*sorted(set(complaints)), f"{good} of {chosen.count} machines in {seconds:.1f} s, at most {memory} MiB of memory", sep="\n")
            return good != chosen.count
        if chosen.what == "turnover":
            early, late, seconds = turnover(place, image, chosen.count)
            print(f"{chosen.count} processes, {chosen.count / seconds:.0f} a second; supervisor {early:.1f} MiB after 500, "
                  f"{late:.1f} MiB after all")
            return 0
        script = PROCESSES if chosen.what == "processes" else THREADS
        good, seconds, memory, said = many(place, image, script, chosen.count)
        print(said, f"{chosen.count} {chosen.what}: {'all worked' if good else 'failed'}, supervisor {seconds:.1f} s of processor and {memory:.1f} MiB",
              sep="")
        return not good


if __name__ == "__main__":
    sys.exit(main())
