"""The command line of a campaign: so many rounds, each with a fault at a random moment."""

import argparse

LONGEST = 3600  # seconds


def arguments(name, about, *, rounds, longest, until):
    """`rounds`, `longest` (seconds) and `seed` as the user gives them; status 2 and what is wrong where nothing would be tried.

    name: the module's, below tests.faults. about: what --help begins with. rounds, longest: their defaults. until: the fault.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tests.faults.{name}", description=about)
    parser.add_argument("--rounds", type=int, default=rounds, help="default %(default)s")
    parser.add_argument("--longest", type=float, default=longest, metavar="SECONDS",
                        help=f"from start to {until}, at most; default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments; default %(default)s")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds: at least 1")
    if not 0 <= given.longest <= LONGEST:
        parser.error(f"--longest: from 0 to {LONGEST} seconds")
    return given
