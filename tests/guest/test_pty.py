"""A machine on a real terminal: job control keys, window size, tmux, script(1)."""

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from .conftest import CHECK_TESTS, environment, start_command


class Terminal:
    """A pseudo-terminal with a machine in it."""

    def __init__(self, command, cwd):
        self.master, slave = pty.openpty()
        self.resize(30, 100)
        self.process = subprocess.Popen(command, cwd=cwd, env=environment(TERM="dumb", PS1="$ "), stdin=slave,
                                        stdout=slave, stderr=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern, timeout=20):
        """Read until the pattern is there; what was before it is dropped."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.seen)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                pytest.fail(f"{pattern!r} did not come; on the terminal: {self.seen!r}")
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # the last one has closed it
                pytest.fail(f"{pattern!r} did not come before the end; on the terminal: {self.seen!r}")
        self.seen = self.seen[found.end():]
        return found

    def wait_for_readline(self, timeout=20):
        """Until the shell waits for a key. Between its prompt and that it keeps signals for itself until a key comes, and readline gives
        the terminal the size that it had before, natively too."""
        pselect6 = "270 "
        guest = next(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent(pid) == self.process.pid)
        deadline = time.monotonic() + timeout
        while not Path(f"/proc/{guest}/syscall").read_text().startswith(pselect6):
            assert time.monotonic() < deadline, "the shell does not wait for a key"
            time.sleep(0.01)

    def end(self, timeout=20):
        deadline = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError:     # the last one has closed it
                    break
        return self.process.wait(timeout=max(5, deadline - time.monotonic()))


def parent(pid):
    """Process number of its parent, or None. proc(5), /proc/PID/stat."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


@pytest.fixture
def terminal(debian_tree, job):
    if CHECK_TESTS:
        pytest.skip("this test is about AppPot's own behaviour")
    opened = []

    def open_(*command, options=(), host=None):
        opened.append(Terminal(host or start_command(*command, image=debian_tree, options=options), job))
        return opened[-1]

    yield open_
    for it in opened:
        if it.process.poll() is None:
            it.process.kill()
            it.process.wait()
        os.close(it.master)


@pytest.fixture
def outer(debian_tree, job, terminal):
    """A shell of the host on a terminal, with `machine` as command that starts one."""
    it = terminal(host=["bash", "--norc", "--noprofile", "-i"])
    it.expect(r"\$ ")
    it.type("machine() { " + shlex.join(start_command(image=debian_tree)) + ' "$@"; }; echo de""fined\n')
    it.expect("\ndefined")
    it.expect(r"\$ ")
    return it


@pytest.fixture
def bash(terminal):
    it = terminal("bash", "--norc", "--noprofile", "-i")
    it.expect(r"\$ ")
    return it


def test_a_shell_with_job_control(bash):
    bash.type("tty; [ -t 0 ] && echo is a terminal\n")
    bash.expect("\n/dev/(pts/[0-9]+)\r\nis a terminal")
    bash.expect(r"\$ ")
    bash.type("sleep 50\n")
    time.sleep(0.5)
    bash.type("\x1a")
    bash.expect(r"\[1\]\+  Stopped +sleep 50")
    bash.expect(r"\$ ")
    bash.type("bg\n")
    bash.expect(r"\[1\]\+ sleep 50 &")
    bash.type("jobs\n")
    bash.expect(r"Running +sleep 50")
    bash.type("fg\n")
    bash.expect("fg\r\nsleep 50")
    time.sleep(0.3)
    bash.type("\x03")
    bash.expect(r"\$ ")
    bash.type("echo status $?\n")
    bash.expect("\nstatus 130")
    bash.type("exit 5\n")
    assert bash.end() == 5


def test_ctrl_z_and_fg_of_a_pipeline(bash):
    bash.type("cat | cat\n")
    time.sleep(0.5)
    bash.type("one\n")
    bash.expect("one\r\none")
    bash.type("\x1a")
    bash.expect("Stopped")
    bash.type("fg\n")
    time.sleep(0.3)
    bash.type("two\n")
    bash.expect("two\r\ntwo")
    bash.type("\x04")
    bash.type("echo done $?\n")
    bash.expect("\ndone 0")


def test_window_size(bash):
    bash.type("stty size\n")
    bash.expect("\n30 100\r")
    bash.type("trap 'stty size' WINCH; echo set\n")
    bash.expect("\nset")
    bash.wait_for_readline()
    bash.resize(50, 132)
    bash.type("\n")
    bash.expect("50 132\r")


def test_ctrl_c_ends_a_program_without_a_shell(terminal):
    it = terminal("sh", "-c", "echo ready; exec sleep 100")
    it.expect("ready")
    time.sleep(0.2)
    it.type("\x03")
    assert it.end() == 128 + signal.SIGINT


def test_ctrl_backslash(terminal):
    it = terminal("sh", "-c", "ulimit -c 0; echo ready; exec sleep 100")
    it.expect("ready")
    time.sleep(0.2)
    it.type("\x1c")
    assert it.end() == 128 + signal.SIGQUIT


def test_ctrl_z_in_the_callers_shell(outer, job):
    """Ctrl-Z to a command that is no shell stops apppot-start too, for the caller's shell to see; fg goes on."""
    (job / "ticks.py").write_text("""
import os, time
while not os.path.exists("go"):
    time.sleep(0.05)
    print("tick", flush=True)
print("got", input())
raise SystemExit(4)
""")
    outer.type("machine python3 ticks.py\n")
    for _ in range(2):
        outer.expect("\ntick")             # it has got the terminal
        outer.type("\x1a")
        outer.expect(r"\[1\]\+  Stopped ")
        outer.expect(r"\$ ")
        outer.type("jobs\n")
        outer.expect(r"\[1\]\+  Stopped ")
        outer.type("fg\n")
        outer.expect(r"fg\r\n.*apppot\.cli\.start.*\r\n")
    (job / "go").touch()
    outer.type("input\n")
    outer.expect("\ngot input")
    outer.expect(r"\$ ")
    outer.type("echo status $?\n")
    outer.expect("\nstatus 4")


def test_suspend_in_the_guests_shell(outer):
    """The guest's shell has a process group of its own; still the caller's shell gets the terminal, and gives it back."""
    outer.type("machine bash --norc --noprofile -i\n")
    outer.expect("\n(?:bash-[0-9.]+)?\\$ ")
    outer.type("suspend\n")
    outer.expect(r"\[1\]\+  Stopped ")
    outer.type("echo here $$\n")
    outer.expect(f"\nhere {outer.process.pid}\r")
    outer.type("fg\n")
    outer.expect(r"fg\r\n.*apppot\.cli\.start.*\r\n")
    outer.type("echo 1$((1))1; exit 6\n")
    outer.expect("\n111")
    outer.expect(r"\$ ")
    outer.type("echo status $?\n")
    outer.expect("\nstatus 6")


def test_a_background_job_that_reads_stops(outer):
    outer.type("machine sh -c 'read x; echo got $x' &\n")
    outer.expect(r"\[1\] \d+")
    outer.type("until jobs | grep Stopped; do sleep 0.1; done\n")
    outer.expect(r"\n\[1\]\+  Stopped ")
    outer.type("fg\n")
    outer.expect(r"fg\r\nmachine.*\r\n")
    outer.type("input\n")
    outer.expect("\ngot input")


def test_ctrl_c_in_the_callers_shell(outer):
    outer.type("machine sh -c 'trap \"echo in\"\"terrupted; exit 3\" INT; echo re\"\"ady; while :; do sleep 0.05; done'\n")
    outer.expect("\nready")
    outer.type("\x03")
    outer.expect(r"\^Cinterrupted")
    outer.expect(r"\$ ")
    outer.type("echo status $?\n")
    outer.expect("\nstatus 3")


def test_stopping_apppot_start_alone(terminal):
    it = terminal("sh", "-c", "echo ready; sleep 1; echo after")
    it.expect("ready")
    it.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    it.process.send_signal(signal.SIGCONT)
    it.expect("after")
    assert it.end() == 0


def test_hang_up(terminal):
    it = terminal("bash", "--norc", "--noprofile", "-i")
    it.expect(r"\$ ")
    it.wait_for_readline()
    os.kill(it.process.pid, signal.SIGHUP)
    assert it.end() != 0


def test_the_default_command_is_a_shell(terminal):
    it = terminal()
    time.sleep(1)
    it.type("echo $((6 * 7)); pwd; exit 3\n")
    it.expect("\n42\r\n/home/user/job")
    assert it.end() == 3


def test_script(terminal):
    it = terminal("script", "-qec", "tty; stty size; exit 6", "/dev/null")
    it.expect(r"/dev/pts/\d+\r\n30 100")
    assert it.end() == 6


def test_tmux(terminal):
    it = terminal("bash", "-c", """
        tmux -L t -f /dev/null new-session -d -x 80 -y 20 'bash --norc'; tmux -L t send-keys 'echo in $((1+1)) tmux' Enter
        for i in $(seq 50); do tmux -L t capture-pane -p | grep -q '^in 2 tmux' && echo seen && break; sleep 0.1; done
        tmux -L t kill-server; echo end
    """)
    it.expect("seen")
    it.expect("end")
    assert it.end() == 0


def test_script_without_a_terminal(run_guest):
    done = run_guest("script", "-qec", "tty; exit 4", "/dev/null")
    assert re.search(r"/dev/pts/\d+", done.stdout)
    assert done.returncode == 4


def test_python_pty(run_guest):
    done = run_guest("python3", "-c", """
import os, pty
pid, fd = pty.fork()
if pid == 0:
    os.execlp('sh', 'sh', '-c', 'tty; stat -c %F $(tty); ps -o tty= -p $$')
out = b''
try:
    while True: out += os.read(fd, 1000)
except OSError: pass
print(out.decode().replace('\\r', ''), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""", check=True)
    assert re.fullmatch(r"/dev/(pts/\d+)\ncharacter special file\n\1\n 0\n", done.stdout)
