"""Run a command in Sandlock and say how long it took, without this program's own start.

    python -m benchmarks.sandlocked TREE JOB SCRATCH AS_ROOT WORDS...

Its package has no command of its own. All files may be read and written, as in the other ways.
"""

import os
import sys
import time
import warnings

from .ways import JOB

KEPT = ("PATH", "LANG", "HOME")


def main():
    from sandlock import Sandbox
    warnings.simplefilter("ignore")     # 0.9 says that gid has no effect, and refuses uid without it
    tree, job, scratch, as_root, *words = sys.argv[1:]
    identity = {"uid": 0, "gid": 0} if as_root == "1" else {}
    sandbox = Sandbox(chroot=tree, fs_readable=["/"], fs_writable=["/"], cwd=JOB, clean_env=True,
                      fs_mount={JOB: job, "/tmp": scratch, "/proc": "/proc", "/dev": "/dev"},
                      env={name: os.environ[name] for name in KEPT if name in os.environ}, **identity)
    start = time.perf_counter()
    status = sandbox.run_interactive(words)
    took = time.perf_counter() - start
    print(f"elapsed {round(took * 1e6)}", file=sys.stderr)
    return status if status >= 0 else 125


if __name__ == "__main__":
    sys.exit(main())
