"""Processes of the site: a clean environment for daemons, ends by process id, waiting."""

import os
import pwd
import random
import signal
import socket
import subprocess
import time
from pathlib import Path


class SiteError(Exception):
    """The site can't be started; the message is one line. `lacking`: this computer does not offer what it takes."""

    def __init__(self, message, lacking=False):
        super().__init__(message)
        self.lacking = lacking


class Place:
    """Where the site is and for whom. `directory`: all of its files; `account`: pwd entry of the user of the jobs."""

    def __init__(self, directory, account):
        self.directory = Path(directory)
        self.account = pwd.getpwnam(account)

    def sub(self, *names):
        """A directory below, made if it isn't there."""
        path = self.directory.joinpath(*names)
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return path

    def port(self, name):
        """A port for this daemon of the site's, free on the loopback interface when it is first asked for.

        Two sites on one computer have different ones. They are below those that the kernel gives to clients.
        """
        file = self.sub("ports") / name
        if not file.exists():
            while not _is_free(number := random.randrange(20000, 32000)):
                pass
            file.write_text(str(number))
        return int(file.read_text())

    def give(self, path, mode):
        """Make the file or directory the account's own."""
        os.chown(path, self.account.pw_uid, self.account.pw_gid)
        os.chmod(path, mode)
        return path


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def write(path, text, mode=0o644):
    """Write a file, unless it has this content already; whether it was written."""
    path = Path(path)
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return True


def require_uts_namespace():
    """Slurm binds to the address of the computer's name, which need not resolve: daemons get the name localhost."""
    if os.getuid() != 0:
        raise SiteError("only root can start the site", lacking=True)
    done = subprocess.run(["unshare", "--uts", "hostname", "localhost"], capture_output=True, text=True)
    if done.returncode:
        raise SiteError(f"no namespace for host names here: {done.stderr.strip()}", lacking=True)


def clean(*command, **variables):
    """The command line that runs a daemon's command with nothing of our environment: jobs inherit what daemons have."""
    given = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
             "LANG": "C.UTF-8"} | variables
    return ["unshare", "--uts", "sh", "-c", 'hostname localhost && exec "$@"', "sh", "env", "-i",
            *(f"{name}={value}" for name, value in given.items()), *map(str, command)]


def run(*command, log, cwd=None):
    """Run a command of the set-up or a daemon that puts itself into the background; SiteError if it fails."""
    with open(log, "ab") as output:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                              cwd=cwd)
    if done.returncode:
        raise SiteError(f"{' '.join(map(str, command))}: status {done.returncode}; {log} tells more")


def running(pid_file, name):
    """Process id in the file if it is that of a live process of this name, else None."""
    try:
        pid = int(Path(pid_file).read_text())
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                      if ":\t" in line)
    except (OSError, ValueError):
        return None
    return pid if fields["Name"] == name and not fields["State"].startswith("Z") else None


def halt(pid_file, name, seconds):
    """End the daemon: SIGTERM, and SIGKILL when it is still there after so many seconds."""
    pid = running(pid_file, name)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        try:
            wait_for(lambda: running(pid_file, name) is None, seconds, name)
        except SiteError:
            os.kill(pid, signal.SIGKILL)
    Path(pid_file).unlink(missing_ok=True)


def wait_for(condition, seconds, what):
    """Poll until condition() is true; SiteError after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SiteError(f"{what}: not done after {seconds} seconds")
        time.sleep(0.1)
