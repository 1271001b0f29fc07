"""Kills supervisors of busy guests at random moments, again and again: python -m tests.faults.killed --rounds 200

Of every round: no process of the guest is left; what is left of files the next start removes; the COW starts again and
holds each file that the guest had closed, whole.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import campaigns
from tests.faults.machines import Machine
from tests.guest import make_tree

# Several processes write files, copy lower ones up, rename, link and remove; what is done is told on standard output.
BUSY = r"""
work() {
    mkdir -p /home/user/w$1/d; cd /home/user/w$1; i=0
    while :; do
        i=$((i+1)); name=$2.$1.$i
        head -c $((i * 997 % 40000)) /dev/zero | tr '\0' x >new; echo end >>new
        mv new d/$name; echo "$1 $name $((i * 997 % 40000 + 4))"
        case $((i % 5)) in
        0) ln d/$name l$i; chmod 600 l$i;;
        1) echo "# $name" >>/etc/profile;;
        2) mkdir -p t/$i; cp /etc/passwd t/$i; rm -r t;;
        3) ln -sf d/$name link; cat link >/dev/null;;
        4) rm -f /usr/share/doc/*/copyright.$i l*;;
        esac
    done
}
for n in 1 2 3; do work $n $ROUND & done
wait
"""
CHECK = r"""
while read n name size; do
    f=/home/user/w$n/d/$name
    [ "$(stat -c %s $f 2>&1)" = $size ] && [ "$(tail -c 4 $f)" = end ] || echo "lost: $f"
done
tail -n 1 /etc/profile >/dev/null && ls -R /home/user >/dev/null && id -un
"""


def one_round(place, image, number, pause):
    """Problems, and how many files were closed before."""
    options = ["--cow", place / "cow", "--env", f"ROUND={number}"]
    machine = Machine(place, image, "bash", "-c", BUSY, options=options)
    time.sleep(pause)
    directory = machine.run_directory()
    problems = []
    try:
        machine.kill()
    except AssertionError:
        problems.append(f"processes are left: {machine.guests()}")
    closed = [line for line in machine.process.communicate()[0].decode().splitlines() if len(line.split()) == 3]
    check = Machine(place, image, "bash", "-c", CHECK, options=options[:2], stdin=subprocess.PIPE)
    output, _ = check.process.communicate("".join(line + "\n" for line in closed).encode(), timeout=120)
    if check.process.returncode or b"lost" in output:
        problems.append(f"status {check.process.returncode}: {output.decode()}{check.said()}")
    if check.left_over(directory):
        problems.append(f"left: {check.left_over(directory)}")
    if machine.said() and "Traceback" in machine.said():
        problems.append(machine.said())
    return problems, len(closed)


def campaign(place, image, rounds, longest=1.5, seed=None):
    """Problems of all rounds, on one COW; how many files they had closed."""
    chance = random.Random(seed)
    problems, files = [], 0
    for number in range(rounds):
        pause = chance.uniform(0, longest)
        found, closed = one_round(place, image, number, pause)
        problems += [f"round {number}, killed after {pause:.3f} s: {problem}" for problem in found]
        files += closed
    return problems, files


def main():
    chosen = campaigns.arguments("killed", __doc__.partition(":")[0] + ".", rounds=100, longest=1.5, until="kill")
    with tempfile.TemporaryDirectory() as place:
        problems, files = campaign(Path(place), make_tree.tree(), chosen.rounds, chosen.longest, chosen.seed)
    print(*problems, f"{chosen.rounds} supervisors killed, {files} closed files found again, {len(problems)} problems", sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
