"""The command: python -m tests.virtual."""

import argparse
import os
import signal
import sys

from tests.guest import make_tree
from tests.virtual import computer, disk

DESCRIPTION = """\
Runs tests in a virtual computer: Debian 12 on its own kernel (Linux 6.1) or another suite's, as an ordinary user in a session of
systemd, whose control groups are delegated to the user. There are file systems with quotas in /srv/ext4, /srv/xfs and /srv/btrfs,
and poor ones in /srv/vfat and /srv/exfat. The checkout goes in as it is now. Prints what pytest says, and ends with its status.
"""
EPILOG = """\
Without pytest's arguments the tests that need these things run: tests/virtual/*_inside.py. Others, for example:

    python -m tests.virtual --timeout 3000 -- tests/hostile tests/guest/test_limits.py -q

Needs qemu-system-x86 and mmdebstrap. The disk is made at the first run, in the tests' cache (about 2 GB; APPPOT_TEST_CACHE names another
place). Where /dev/kvm can't be used all is some ten times slower, and tests may meet their own limits of time. Variables of the
environment that begin with APPPOT_TEST_ are passed on.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.virtual", description=DESCRIPTION, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default=make_tree.SUITE, metavar="SUITE", help="suite of Debian that the kernel is of, as "
                        "bullseye or bookworm-backports (default %(default)s); each has a disk of its own")
    parser.add_argument("--timeout", type=int, default=3600, metavar="SECONDS", help="end the computer after so long (default 3600)")
    parser.add_argument("--memory", type=int, default=3072, metavar="MIB", help="of the computer (default 3072)")
    parser.add_argument("--cpus", type=int, default=2, metavar="NUMBER", help="processors of the computer (default 2)")
    parser.add_argument("--tcg", action="store_true", help="emulate the processor, though KVM works")
    parser.add_argument("--append", default="", metavar="WORDS", help="more words for the kernel's command line, as lsm=yama")
    parser.add_argument("--make-only", action="store_true", help="make the disk, and print where it is")
    parser.add_argument("arguments", nargs="*", metavar="-- pytest's arguments", help="as in the checkout's directory")
    given = parser.parse_args()
    for option in "timeout", "memory", "cpus":
        if getattr(given, option) < 1:
            parser.error(f"--{option}: at least 1")
    # SIGTERM must end what is running and remove its files, as SIGINT does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    disk.check_tools()
    if given.make_only:
        print(disk.directory(given.kernel))
        return 0
    passed = {name: value for name, value in os.environ.items()
              if name.startswith("APPPOT_TEST_") and name not in ("APPPOT_TEST_CACHE", "APPPOT_TEST_SITE")}
    own = sorted(str(path.relative_to(disk.SOURCE)) for path in disk.SOURCE.glob("tests/virtual/*_inside.py"))
    job = {"account": disk.ACCOUNT, "uid": disk.UID, "arguments": given.arguments or own,
           "environment": passed | {"APPPOT_TEST_CACHE": disk.TREES}}
    return computer.run(job, kernel=given.kernel, memory=given.memory, processors=given.cpus, seconds=given.timeout, append=given.append,
                        tcg=given.tcg)


if __name__ == "__main__":
    sys.exit(main())
