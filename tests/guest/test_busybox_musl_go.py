"""Static programs, another C library, and Go's own run time."""

import re

import pytest

GO = "/opt/programs/hello-go"


def test_busybox(run_guest):
    done = run_guest("busybox", "sh", "-c", """
        cd /tmp; busybox mkdir -p a/b; busybox touch a/b/c; busybox find a; busybox tar cf - a | busybox tar tf - |
        busybox wc -l; busybox ls -la a/b | busybox wc -l; busybox stat -c %F a; busybox readlink /bin; busybox rm -r a
        busybox sha256sum /etc/hostname | busybox cut -c1-4 >/dev/null; busybox realpath ../tmp/.
    """, check=True)
    assert done.stdout == "a\na/b\na/b/c\n3\n4\ndirectory\nusr/bin\n/tmp\n"


def test_musl(run_guest, job):
    (job / "m.c").write_text("""
#include <stdio.h>
#include <stdlib.h>
#include <dirent.h>
#include <pthread.h>
#include <spawn.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>
extern char **environ;
static void *work(void *name) { struct stat st; for (int i = 0; i < 100; i++) if (stat(name, &st)) abort(); return 0; }
int main(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, work, "/etc/passwd");
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    int n = 0; DIR *dir = opendir("/"); while (readdir(dir)) n++; closedir(dir);
    pid_t pid; int status; char *argv[] = {"echo", "spawned", 0};
    if (posix_spawnp(&pid, "echo", 0, 0, argv, environ)) return 1;
    waitpid(pid, &status, 0);
    if (chdir("/usr/share") || !getcwd(argv[0] = malloc(100), 100)) return 2;
    printf("%s %s\\n", argv[0], n > 10 ? "listed" : "empty");
    return status;
}
""")
    for flags in ([], ["-static"], ["-static-pie"]):
        run_guest("musl-gcc", *flags, "-o", "m", "m.c", check=True)
        assert run_guest("./m", check=True).stdout == "spawned\n/usr/share listed\n", flags


def test_go(run_guest):
    done = run_guest(GO, timeout=60)
    assert done.stdout == "sum 5999910\nchild of go\nexe /opt/programs/hello-go\n"
    assert done.returncode == 7


@pytest.mark.parametrize("isolation", ["standard", "strict"])
@pytest.mark.parametrize("mode", ["walk", "threads", "signals", "children"])
def test_go_as_natively(run_guest, native, mode, isolation):
    """With the fast path and without it."""
    expected = native(GO, mode)
    done = run_guest(GO, mode, options=["--isolation", isolation], timeout=200)
    assert (done.stdout.splitlines()[-1], done.stderr, done.returncode) == ("bad 0", "", 0)
    assert (done.stdout, done.returncode) == (expected.stdout, expected.returncode), expected.stderr


@pytest.mark.parametrize("program", [GO, f"{GO}-pie"])
def test_calls_of_go_make_no_stops(run_guest, program):
    done, off = [run_guest(program, "loop", options=["--stats", "--isolation", isolation], timeout=200)
                 for isolation in ("standard", "strict")]
    assert done.stdout == off.stdout == "bad 0\n"
    answered = int(re.search(r"(\d+) calls answered without a stop", done.stderr)[1])
    assert answered > 8900 and stops(done) < 200 and stops(off) > 8900


def test_a_walk_of_go_does_not_stop_in_each_directory(run_guest):
    """/usr/share of the tree has some 800."""
    done = run_guest(GO, "walk", options=["--stats"])
    assert done.stdout.endswith("bad 0\n") and stops(done) < 200


def stops(done):
    return int(re.search(r"(\d+) calls intercepted", done.stderr)[1])
