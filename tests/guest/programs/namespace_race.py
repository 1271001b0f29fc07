"""Many processes change the same names at once, while signals come. Nothing may be done twice or be lost.

namespace_race.py TOP: below the new directory TOP; prints "right", or what went wrong.
"""

import ast
import errno
import os
import signal
import sys

PROCESSES, ROUNDS = 4, 400
PAUSE = 0.0007  # seconds from the handling of a signal to the next one, which makes about one in a millisecond


def alarm(*_):
    """Ask for the next signal. A timer with a period would leave no time to go on where a signal takes longer than that."""
    signal.setitimer(signal.ITIMER_REAL, PAUSE)


def attempt(call, *args, **more):
    """1 when the call did it, 0 when somebody else was first."""
    try:
        call(*args, **more)
        return 1
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOENT):
            raise
        return 0


def compete(number):
    """How often this process was the first to make, link, move and remove each name."""
    made = linked = moved = removed = 0
    for turn in range(ROUNDS):
        own = f"own{number}"
        os.close(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        made += attempt(os.mkdir, f"dir{turn}")
        linked += attempt(os.link, own, f"link{turn}")
        moved += attempt(os.rename, f"link{turn}", f"moved{number}")
        removed += attempt(os.unlink, f"moved{number}")
        os.rename(own, f"{own}.new")
        os.unlink(f"{own}.new")
    return made, linked, moved, removed


def count(number):
    """Add to numbers in files, again and again: to one under a lock that is a directory, to one under a second name."""
    own = f"owner{number}"
    os.close(os.open(own, os.O_WRONLY | os.O_CREAT))
    for turn in range(ROUNDS // 10):
        while not attempt(os.mkdir, "lock"):
            os.sched_yield()
        add("one")
        os.rmdir("lock")
        while not attempt(os.link, own, "lock.file"):
            os.sched_yield()
        add("two")
        os.unlink("lock.file")


def add(name):
    with open(name) as file:
        number = int(file.read())
    with open(name + ".new", "w") as file:
        file.write(str(number + 1))
    os.rename(name + ".new", name)


def flip(number):
    """A file that is a symlink now and then; whoever removes it, nothing is found through it afterwards."""
    if number:
        for _ in range(ROUNDS * 10):
            attempt(os.unlink, "flip")
        return
    for turn in range(ROUNDS):
        os.close(os.open("flip", os.O_WRONLY | os.O_CREAT))
        os.symlink("target", "flip.new")
        os.rename("flip.new", "flip")
        attempt(os.stat, "flip/inside")
        attempt(os.unlink, "flip")
        if attempt(os.stat, "flip/inside"):
            raise SystemExit("a removed symlink still leads somewhere")


def together(work):
    """What `work` returns in each of the processes."""
    pipes = []
    for number in range(PROCESSES):
        reader, writer = os.pipe()
        if os.fork() == 0:
            signal.signal(signal.SIGALRM, alarm)
            alarm()
            result = work(number)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            os.write(writer, repr(result).encode())
            os._exit(0)
        os.close(writer)
        pipes.append(reader)
    results = []
    for reader in pipes:
        with open(reader) as pipe:
            text = pipe.read()
        if not text or os.wait()[1]:
            raise SystemExit(f"{work.__name__}: a process failed")
        results.append(ast.literal_eval(text))
    return results


def main(top):
    os.mkdir(top)
    os.chdir(top)
    os.mkdir("target")
    for name in "target/inside", "one", "two":
        with open(name, "w") as file:
            file.write("0")
    totals = [sum(column) for column in zip(*together(compete))]
    if totals[0] != ROUNDS or not ROUNDS <= totals[1] == totals[2] == totals[3]:
        raise SystemExit(f"made, linked, moved, removed: {totals}")
    together(count)
    for name in "one", "two":
        with open(name) as file:
            number = int(file.read())
        if number != PROCESSES * (ROUNDS // 10):
            raise SystemExit(f"counted {number}")
    together(flip)
    print("right")


if __name__ == "__main__":
    main(sys.argv[1])
