"""bash and dash: pipelines, statuses, signals, background jobs, standard streams."""

import os
import signal
import time

import pytest


def test_streams_and_arguments_are_the_callers(run_guest):
    done = run_guest("bash", "-c", 'read line; echo "<$line>"; echo err >&2; printf "%s|" "$@"', "bash", "a b", "", "*",
                     input="hello\n")
    assert done.stdout == "<hello>\na b||*|"
    assert done.stderr == "err\n"


@pytest.mark.parametrize("status", [0, 1, 42, 125, 255])
def test_the_status_is_the_guests(run_guest, status):
    assert run_guest("sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "ABRT", "INT", "HUP", "PIPE", "USR1"])
def test_death_by_a_signal(run_guest, name):
    """The main command killed by signal N gives 128+N, as in a shell."""
    done = run_guest("bash", "-c", f"ulimit -c 0; kill -{name} $$")
    assert done.returncode == 128 + getattr(signal, f"SIG{name}")


def test_status_of_a_child_killed_by_a_signal(shell):
    assert shell("sh -c 'kill -9 $$'; echo $?; sleep 0 & wait $!; echo $?; (exit 3) & wait $!; echo $?") == "137\n0\n3\n"


def test_pipelines(shell):
    assert shell("set -o pipefail; seq 1000000 | head -1; echo ${PIPESTATUS[*]}") in ("1\n141 0\n",)
    assert shell("yes | head -1000 | wc -l; cat <(echo one) <(echo two); echo x >&2 2>/dev/null; echo $(( $(nproc) > 0 ))"
                 ) == "1000\none\ntwo\n1\n"
    assert shell("mkfifo f; cat f & echo through >f; wait") == "through\n"
    assert shell("cat <<END\nhere $((6*7))\nEND") == "here 42\n"


def test_traps(shell):
    assert shell("trap 'echo got' USR1; kill -USR1 $$; trap 'echo bye' EXIT; (trap 'echo sub; exit 4' TERM; "
                 "kill -TERM $BASHPID; sleep 5); echo $?") == "got\nsub\n4\nbye\n"


def test_background_jobs(shell):
    assert shell("""
        sleep 100 & p=$!; kill -STOP $p; while ! grep -q '^State:.T' /proc/$p/status; do :; done
        kill -CONT $p; while grep -q '^State:.T' /proc/$p/status; do :; done
        kill $p; wait $p; echo $?; jobs | wc -l
        { for i in 1 2 3 4 5; do (sleep 0.0$i; echo $i) & done; wait; } | sort; echo done
    """).split() == ["143", "0", "1", "2", "3", "4", "5", "done"]


def test_many_processes(shell):
    assert shell("for i in $(seq 200); do /bin/true || echo bad; done; for i in $(seq 50); do /bin/true & done; wait;"
                 " echo ok") == "ok\n"


def test_what_is_left_running_is_ended_with_the_main_command(run_guest):
    start = time.monotonic()
    done = run_guest("bash", "-c", "sleep 1000 & setsid sleep 1001 & (trap '' TERM HUP; sleep 1002) & echo started",
                     timeout=30)
    assert (done.returncode, done.stdout) == (0, "started\n")
    assert time.monotonic() - start < 20
    assert not [line for line in running() if "sleep\0100" in line]


def running():
    """Command lines of this user's processes."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                yield file.read()
        except OSError:
            pass


def test_orphans_are_reparented_inside(shell):
    assert shell("sh -c '(sleep 0.2; echo orphan; ps -o ppid= -p $$ >/dev/null) & exit'; sleep 0.5; echo end"
                 ) == "orphan\nend\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_apppot_start_reaches_the_guest(start_guest, number):
    process = start_guest("bash", "-c", f"trap 'echo caught; exit 9' {number}; echo ready; while :; do sleep 0.1; done")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == ("caught\n", 9)


def test_descriptors_that_are_passed_on_stay_open(run_guest):
    read_end, write_end = os.pipe()
    try:
        done = run_guest("bash", "-c", f"echo through >&{write_end}; ls /proc/self/fd | grep -cx {write_end}",
                         pass_fds=[write_end], options=["--fd", write_end])
        assert (done.returncode, done.stdout) == (0, "1\n")
        assert os.read(read_end, 100) == b"through\n"
    finally:
        os.close(read_end)
        os.close(write_end)


def test_limits(shell):
    assert shell("ulimit -n 64; ulimit -n; ulimit -c 0; (ulimit -f 1; head -c 5000 /dev/zero >big) 2>/dev/null; echo $?;"
                 " (ulimit -v 100000; perl -e '$x = \"a\" x 300000000' 2>/dev/null || echo no memory)"
                 ).split("\n") == ["64", "153", "no memory", ""]


def test_timeout_and_nohup(shell):
    assert shell("timeout 0.3 sleep 10; echo $?; timeout -s KILL 0.3 sleep 10; echo $?; nohup echo x 2>/dev/null") == (
        "124\n137\nx\n")


def test_dash_and_read_only_variables(run_guest):
    assert run_guest("dash", "-c", "readonly a=1; echo $a; cd /nowhere 2>/dev/null || echo no").stdout == "1\nno\n"
