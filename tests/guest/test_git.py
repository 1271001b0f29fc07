"""git in the job directory and in the overlay."""

import pytest

SCRIPT = r"""
set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
cd "$1"
git init -q -b main repo && cd repo
for i in $(seq 60); do mkdir -p d$((i % 7)); echo $i >d$((i % 7))/f$i; done
git add . && git commit -qm first && git log --oneline | wc -l
git mv d1 moved && git rm -q d2/f2 && echo changed >>d0/f7 && git commit -qam second && git status --porcelain | wc -l
git checkout -qb side HEAD~1 && echo side >d3/new && git add . && git commit -qm side && git checkout -q main
git merge -q side -m merge && git log --oneline | wc -l
git gc -q && git fsck --full 2>&1 | grep -v '^Checking' | wc -l
cd .. && git clone -q repo copy && cd copy && git ls-files | wc -l && git rev-parse HEAD && git -C ../repo rev-parse HEAD
git clone -q --no-local ../repo ../copy2 && git -C ../copy2 fsck 2>&1 | wc -l
git stash list | wc -l; git archive HEAD | tar -t | grep -c 'f[0-9]'; git grep -c changed HEAD | cat
"""


@pytest.mark.parametrize("place", ["/home/user/job", "/home/user", "/tmp"])
def test_a_life_of_a_repository(run_guest, place):
    done = run_guest("bash", "-c", SCRIPT, "bash", place, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert lines[:4] == ["1", "0", "4", "0"]
    assert lines[4] == "60"
    assert lines[5] == lines[6]
    assert lines[7:] == ["0", "0", "59", "HEAD:d0/f7:1", ""]
