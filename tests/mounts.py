"""File systems of a test's own: in a mount namespace, where ordinary users may mount as well."""

import os
import subprocess

import pytest

NAMESPACE = ["unshare", "--mount"] + ([] if os.getuid() == 0 else ["--user", "--map-current-user", "--keep-caps"])

# For scripts: `file_system TYPE OPTIONS DIRECTORY`, and `$drop COMMAND`, which takes the rights to mount away.
_WORDS = r"""
file_system() { mount -t "$1" -o "$2" none "$3" || exit 99; }
drop=
[ "$(id -u)" = 0 ] || drop="setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all --"
"""


def run(script, *words, **settings):
    """The CompletedProcess, with text, of a shell script that mounts. Skips where this user may not."""
    done = subprocess.run([*NAMESPACE, "sh", "-c", _WORDS + script, "sh", *map(str, words)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, **settings)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"no mounts for this user: {done.stderr}")
    return done
