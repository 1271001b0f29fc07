"""What a process remembers of directories that it opened, when its threads do so at once."""

import os
import subprocess

from apppot.stub import build

SOURCE = os.path.join(os.path.dirname(__file__), "programs", "seen.c")
PARTS = ("names.c", "below.c", "inodes.c")
COUNT = 1000                               # of 128 places


def test_threads_find_a_directory_as_it_was_remembered(tmp_path):
    made = tmp_path / "seen"
    subprocess.run([*build.compiler(), "-O2", "-pthread", "-I", build.SOURCE, "-o", made, SOURCE,
                    *(os.path.join(build.SOURCE, part) for part in PARTS)], check=True)
    directories = [tmp_path / str(number) for number in range(COUNT)]
    for directory in directories:
        directory.mkdir()
    assert subprocess.run([made, *directories], timeout=300).returncode == 0
