"""Compiles the stub: the one place that knows the compiler's command line.

`pip install` calls build() from setup.py; in a checkout, `python3 -m apppot.stub.build` does the same.
"""

import os
import shlex
import shutil
import subprocess
import sys

SOURCE = os.path.dirname(os.path.abspath(__file__))
NAME = "apppot-stub"

# No libc, no SSE (vector registers hold the guest's values); position-independent code, linked at a fixed high address.
FLAGS = """
    -nostdlib -static -ffreestanding -fno-stack-protector -fpie -no-pie -mno-sse -mno-red-zone -ffixed-r15 -O2 -Wall
    -fno-asynchronous-unwind-tables -fcf-protection=none
    -Wl,-T,stub.ld -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments
""".split()


class BuildError(SystemExit):
    """Ends the build with one line that names the remedy."""


def sources():
    return sorted(name for name in os.listdir(SOURCE) if name.endswith((".S", ".c")))


def compiler():
    """The command of the C compiler as a list."""
    named = os.environ.get("CC")
    if named:
        return shlex.split(named)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise BuildError("apppot: no C compiler found to build the stub; install the package gcc (apt-get install gcc)")


def command(output):
    return [*compiler(), *FLAGS, "-o", os.fspath(output), *sources()]


def build(target_dir=SOURCE):
    """Compile the stub into target_dir and return its path. A running stub is replaced, not overwritten."""
    os.makedirs(target_dir, exist_ok=True)
    target = os.path.join(os.path.abspath(target_dir), NAME)
    if not sources():
        raise BuildError(f"apppot: {SOURCE} holds no sources of the stub; is the checkout complete?")
    scratch = f"{target}.{os.getpid()}"
    try:
        made = subprocess.run(command(scratch), cwd=SOURCE, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise BuildError(f"apppot: {error.filename}: {error.strerror}; install the package gcc or set CC") from None
    if made.returncode:
        if os.path.exists(scratch):
            os.unlink(scratch)
        raise BuildError(f"apppot: the stub was not built: {shlex.join(command(NAME))} (in {SOURCE}) failed")
    os.replace(scratch, target)
    return target


if __name__ == "__main__":
    print(build(*sys.argv[1:2]))
