"""Start hooks: /etc/apppot/rc.d of an image."""

import shutil

import pytest

from .conftest import CHECK_TESTS

pytestmark = pytest.mark.skipif(CHECK_TESTS, reason="these are about AppPot's own start")


@pytest.fixture
def hooked(run_guest, tmp_path):
    """hooked({name: text}) → options of a machine whose /etc/apppot/rc.d has these executable files."""
    cow = tmp_path / "hooked"

    def make(files):
        if not cow.exists():
            run_guest("mkdir", "-p", "/etc/apppot/rc.d", options=["--cow", cow, "--root"], check=True)
        for name, text in files.items():
            path = cow / "upper/etc/apppot/rc.d" / name
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            path.chmod(0o755)
        return ["--cow", cow]
    return make


def test_hooks_run_in_order_as_root_before_the_command(hooked, run_guest):
    options = hooked({"10-b": "#!/bin/sh\necho b $(id -u) $(pwd) $HOME >>/etc/log\ncat\n", "9-c": "echo c >>/etc/log\n",
                      "20-a": "#!/usr/bin/python3\nopen('/etc/log', 'a').write('a\\n')\nprint('said')\n",
                      ".hidden": "#!/bin/sh\nexit 1\n", "editor~": "#!/bin/sh\nexit 1\n", "B": "echo B >>/etc/log"})
    done = run_guest("sh", "-c", "cat; cat /etc/log; id -un", options=options, input="mine\n", check=True)
    assert done.stdout.splitlines()[:-1] == ["mine", "b 0 / /root", "a", "c", "B"] and done.stderr == ""
    done = run_guest("true", options=[*options, "-v"], check=True)
    assert "said\n" in done.stderr and done.stdout == ""


def test_a_hook_that_fails_stops_the_start(hooked, run_guest):
    done = run_guest("echo", "started", options=hooked({"1": "#!/bin/sh\necho reason\nexit 3\n", "2": "touch /etc/two"}))
    assert done.returncode == 125 and done.stdout == ""
    assert done.stderr == ("reason\napppot-start: the start hook /etc/apppot/rc.d/1 ended with status 3; the command is "
                           "not started\n")
    assert run_guest("sh", "-c", "ls /etc/two", options=hooked({"1": "true"})).returncode == 0


@pytest.mark.parametrize("text, reason", [("#!/nowhere\n", "interpreter"), (b"\x7fELF\0junk", "Exec format error"),
                                          ("#!/bin/sh\nkill -9 $$\n", "by signal 9")])
def test_a_hook_that_can_not_run(hooked, run_guest, text, reason):
    done = run_guest("echo", "started", options=hooked({"one": text}))
    assert done.returncode == 125 and done.stdout == ""
    assert "/etc/apppot/rc.d/one" in done.stderr and reason in done.stderr and len(done.stderr.splitlines()) == 1


def test_what_a_hook_makes_and_leaves_running(hooked, run_guest):
    options = hooked({"1": "#!/bin/sh\nsleep 1000 &\nprintf '#!/bin/sh\\nps -eo user=,comm= | grep sleep; exit 5\\n' "
                           ">/home/user/apppot-autorun; chmod +x /home/user/apppot-autorun\n"})
    done = run_guest(options=options)
    assert (done.stdout.split(), done.returncode) == (["root", "sleep"], 5)


TERMINAL = """#!/usr/bin/python3
import ctypes, os, time
if os.fork(): os._exit(0)
while not os.path.exists("/home/user/job/go"): time.sleep(0.05)
master, libc = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY), ctypes.CDLL(None)
libc.ptsname.restype = ctypes.c_char_p
libc.grantpt(master), libc.unlockpt(master)
try:
    told = os.write(os.open(libc.ptsname(master), os.O_RDWR | os.O_NOCTTY), b"x")
except OSError as error:
    told = error
with open("/home/user/job/new", "w") as file: file.write(str(told))
os.rename("/home/user/job/new", "/home/user/job/told")
"""


def test_a_daemon_that_a_hook_leaves_opens_terminals(hooked, run_guest):
    options = hooked({"1": TERMINAL, "2": "#!/bin/sh\ntrue\n"})
    done = run_guest("sh", "-c", "touch go; until [ -e told ]; do sleep 0.05; done; cat told", options=options, check=True)
    assert done.stdout == "1"


def test_a_static_program_as_hook_in_an_empty_root(program, run_guest, tmp_path):
    image = tmp_path / "empty"
    rc = image / "etc/apppot/rc.d"
    rc.mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), image / "busybox")
    (rc / "sh").symlink_to("/busybox")
    done = run_guest("/busybox", "echo", "started", image=image, check=True)
    assert done.stdout == "started\n"


def test_the_time_limit_counts_for_hooks(hooked, run_guest):
    done = run_guest("echo", "started", options=[*hooked({"1": "#!/bin/sh\nsleep 1000\n"}), "--timeout", "1"])
    assert done.returncode == 125 and done.stdout == "" and "time limit" in done.stderr
