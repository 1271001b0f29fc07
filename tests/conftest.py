"""What all tests share."""

import os
import signal
import subprocess
import sys

import pytest


def pytest_configure():
    # A shell starts its background commands with SIGINT ignored, and that is inherited by all that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header():
    if os.getuid() == 0:
        return "apppot: run as root, so guests run as root too; ./run-tests runs them as an ordinary user"
    return None


@pytest.fixture
def job(tmp_path):
    """An empty directory for a job: the current directory of who starts it, with its input files."""
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


@pytest.fixture
def command(tmp_path):
    """Runs a command of AppPot as its users do: command("start", "--mem", "x") → CompletedProcess with text."""
    def run(name, *arguments, cwd=tmp_path, timeout=60, **settings):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("APPPOT_")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
        environment.update(settings.pop("env", {}))
        return subprocess.run([sys.executable, "-m", f"apppot.cli.{name}", *map(os.fspath, arguments)], cwd=cwd,
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="surrogateescape", timeout=timeout, **settings)
    return run


@pytest.fixture
def extended_attributes(tmp_path):
    """For tests that need them where their files are."""
    try:
        os.setxattr(tmp_path, "user.apppot.test", b"")
    except OSError:
        pytest.skip("the file system of the tests has no extended attributes")


ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
