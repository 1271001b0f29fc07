"""Signals, waiting, job control, threads: programs/signals.c prints the same natively and in a machine."""

import subprocess

import pytest


@pytest.fixture
def natively(program, tmp_path):
    return subprocess.run([program("signals")], cwd=tmp_path, capture_output=True, text=True, check=True,
                          timeout=120).stdout.splitlines()


def test_signals_and_processes(run_guest, program, natively, job):
    (job / "signals").write_bytes(program("signals").read_bytes())
    (job / "signals").chmod(0o755)
    done = run_guest("./signals")
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    assert done.stdout.splitlines() == natively


def test_kill_9_of_anything_inside(shell):
    assert shell("""
        sleep 100 & kill -9 $!; wait $!; echo $?
        sh -c 'sleep 100 & sleep 100 & kill -9 $$'; echo $?
        pkill -9 sleep; sleep 0.2; pgrep -c sleep
        (while :; do /bin/true; done) & sleep 0.5; kill -9 $!; wait $!; echo $?
    """) == "137\n137\n0\n137\n"


def test_a_process_cannot_signal_outside(run_guest):
    """Another process of the same user, which natively could be signalled."""
    outside = subprocess.Popen(["sleep", "100"])
    try:
        done = run_guest("bash", "-c", f"kill -TERM {outside.pid} 2>&1 || echo refused; kill -0 {outside.pid} 2>/dev/null"
                         " || echo unseen")
        assert outside.poll() is None
        assert "refused" in done.stdout and "unseen" in done.stdout
    finally:
        outside.kill()
        outside.wait()
