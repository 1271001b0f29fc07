"""Sends signals to apppot-start at random moments, from its start to its end: python -m tests.faults.signalled --rounds 500

Whatever comes when: it ends as the guest does, or by the signal; nothing that is not one line is said; no process and no
file is left.
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import campaigns
from tests.faults.machines import Machine
from tests.guest import make_tree

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCONT, signal.SIGPIPE,
           signal.SIGALRM, signal.SIGWINCH, signal.SIGCHLD)
WORK = "for i in 1 2 3 4 5 6; do cat /etc/passwd >f$i; ls / >/dev/null; done; echo done"


def one_round(place, image, signum, pause):
    machine = Machine(place, image, "sh", "-c", WORK, options=["--cow", place / "cow"])
    time.sleep(pause)
    directory = machine.run_directory()
    machine.send(signum)
    if signum in (signal.SIGTSTP, signal.SIGTTIN):
        time.sleep(0.05)
        machine.send(signal.SIGCONT)
        for guest in machine.guests():
            try:
                os.kill(guest, signal.SIGCONT)
            except ProcessLookupError:
                continue
    status, output = machine.end()
    if signum == signal.SIGINT and directory is None and "KeyboardInterrupt" in machine.said():
        return [], None                    # the interpreter itself was starting
    problems = []
    if status not in (0, 128 + signum, -signum):
        problems.append(f"status {status}")
    if status == 0 and output != b"done\n":
        problems.append(f"output {output}")
    if len(machine.said().splitlines()) > 1 or "Traceback" in machine.said() or "internal" in machine.said():
        problems.append(machine.said())
    if machine.guests():
        problems.append(f"processes are left: {machine.guests()}")
    return problems, directory


def campaign(place, image, rounds, longest, seed=None):
    chance = random.Random(seed)
    problems, directories = [], []
    for number in range(rounds):
        signum, pause = SIGNALS[number % len(SIGNALS)], chance.uniform(0, longest)
        found, directory = one_round(place, image, signum, pause)
        problems += [f"{signum.name} after {pause:.3f} s: {problem}" for problem in found]
        directories.append(directory)
    last = Machine(place, image, "true", options=["--cow", place / "cow"])
    if last.end()[0] or last.said():
        problems.append(f"afterwards: {last.said()}")
    problems += [f"left: {left}" for directory in directories for left in last.left_over(directory)]
    return problems


def main():
    chosen = campaigns.arguments("signalled", __doc__.partition(":")[0] + ".", rounds=200, longest=0.6, until="signal")
    with tempfile.TemporaryDirectory() as place:
        problems = campaign(Path(place), make_tree.tree(), chosen.rounds, chosen.longest, chosen.seed)
    print(*problems, f"{chosen.rounds} signals, {len(problems)} problems", sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
