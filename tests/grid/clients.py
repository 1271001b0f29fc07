"""What users have: ARC's commands against one A-REX, and Slurm's commands."""

import json
import os
import re
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

ENDED = ("Finished", "Failed", "Killed")
# States of A-REX's REST interface before the batch system has the job, and after the job's end.
NOT_YET_HANDED_OVER = ("ACCEPTING", "ACCEPTED", "PREPARING", "PREPARED", "SUBMITTING")
OVER = ("FINISHED", "FAILED", "KILLED", "WIPED")


def wait_until(condition, timeout, tell, pause=0.2):
    """What condition() gives when that is true; AssertionError with tell() when it isn't after so many seconds."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {timeout} seconds\n{tell()}")
        time.sleep(pause)
    return found


class ArcClient:
    """arcsub, arcstat, arcget, arckill and arccat as the user of the tests, who is not root.

    `lrms`: "fork" or "slurm"; `url`: for `arcsub -C url -T arcrest -Q NONE`; `variables`: the environment of the commands
    (home, certificates, proxy); `sessions`: host directory where the jobs' session directories are, their owner is the
    user. `directory`: where this client's job lists and fetched jobs are. `parameters`: of ENV/APPPOT-1.0, which the site has.
    """

    def __init__(self, lrms, facts, directory, ask, parameters=()):
        self.lrms, self.url, self.variables = lrms, facts["urls"][lrms], facts["environment"]
        self.sessions = Path(facts["sessions"][lrms])
        self.directory = Path(directory)
        self.parameters = dict(parameters)
        self._ask = ask
        self._submitted = 0
        self._changed, self._is_default = set(), False

    def set(self, **parameters):
        """Set the site's parameters of ENV/APPPOT-1.0, as its administrator does, until take_back()."""
        for name, value in parameters.items():
            self._changed.add(name)
            self._ask("set", self.lrms, name, str(value))

    def use_for_all_jobs(self):
        """Make ENV/APPPOT-1.0 the default for jobs that name none, until take_back()."""
        self._ask("default", self.lrms, True)
        self._is_default = True

    def take_back(self):
        """The site as it was before."""
        if self._is_default:
            self._ask("default", self.lrms, False)
        while self._changed:
            name = self._changed.pop()
            self._ask("set", self.lrms, name, self.parameters.get(name))

    def command(self, *words, cwd=None, timeout=120):
        """CompletedProcess, text, of a command of ARC's client."""
        return subprocess.run([str(word) for word in words], cwd=cwd or self.directory, env=self.variables, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, errors="surrogateescape", timeout=timeout)

    def submit(self, xrsl, cwd):
        """ArcJob of the xRSL text, submitted from directory cwd, where its input files are."""
        self._submitted += 1
        base = self.directory / f"job{self._submitted}"
        base.mkdir()
        (base / "job.xrsl").write_text(xrsl, errors="surrogateescape")
        # One joblist a job: two commands must not use the same one at once.
        done = self.command("arcsub", "-C", self.url, "-T", "arcrest", "-Q", "NONE", "-j", base / "jobs.db",
                            "-o", base / "id", base / "job.xrsl", cwd=cwd)
        if done.returncode:
            raise AssertionError(f"arcsub: status {done.returncode}\n{done.stdout}{done.stderr}")
        return ArcJob(self, base, (base / "id").read_text().strip())

    def run(self, xrsl, cwd, timeout=180):
        """Submit and wait: the ArcJob that has ended."""
        job = self.submit(xrsl, cwd)
        job.wait(timeout=timeout)
        return job


class ArcJob:
    """A job at the site. `id`: its URL; `session`: its session directory while it is at the site."""

    def __init__(self, client, base, url):
        self.client, self.base, self.id = client, base, url
        self.session = client.sessions / url.rsplit("/", 1)[1]

    def status(self):
        """(state, exit status or None, ARC's own word about an error) as arcstat tells."""
        text = self._command("arcstat", "-l").stdout
        found = {name: match[1] if (match := re.search(rf"^\s*{name}: (.*)$", text, re.MULTILINE)) else None
                 for name in ("State", "Exit Code", "Job Error")}
        code = found["Exit Code"]
        return found["State"], int(code) if code is not None else None, found["Job Error"] or ""

    @property
    def state(self):
        return self.status()[0]

    @property
    def exit_status(self):
        return self.status()[1]

    def state_now(self):
        """The state as A-REX's REST interface tells; arcstat tells what A-REX wrote down some seconds ago, and takes longer."""
        asked = json.dumps({"job": [{"id": self.session.name}]})
        told = json.loads(self._rest("jobs?action=status", asked.encode()))["job"]
        return (told[0] if isinstance(told, list) else told)["state"]

    def measured(self):
        """What A-REX's script measured of the executable, among others with time(1): the text of the job's `diag`."""
        return self._rest(f"jobs/{self.session.name}/diagnose/diag").decode()

    def _rest(self, what, content=None):
        """The bytes that A-REX's REST interface answers; with content they are posted, as JSON."""
        context = ssl.create_default_context(capath=self.client.variables["X509_CERT_DIR"])
        context.load_cert_chain(self.client.variables["X509_USER_PROXY"])
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if content else {})
        request = urllib.request.Request(f"{self.client.url}/rest/1.0/{what}", content, headers)
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return answer.read()

    def wait_until_handed_over(self):
        """Wait until what the site's parameters were counts no more: the batch system has the job's script, or will not get it."""
        self.wait_until(lambda: self.state_now() not in NOT_YET_HANDED_OVER)

    def wait(self, *states, timeout=180):
        """Wait for one of the states (default: it has ended); the state."""
        if not states:
            self.wait_until(lambda: self.state_now() in OVER, timeout)

        def arrived():
            state = self.state
            return state if state in (states or ENDED) else None
        return self.wait_until(arrived, timeout, pause=0.5)         # arcstat is a process each time

    def wait_until(self, condition, timeout=180, pause=0.2):
        """Wait until condition() is true; what it gave."""
        return wait_until(condition, timeout, lambda: f"{self.id}: {self.state}\n{self.log()}", pause)

    def fetch(self):
        """arcget: the directory with the job's outputs, which are at the site no more."""
        done = self._command("arcget", "-D", self.base)
        directory = self.base / self.session.name
        if not directory.is_dir():
            raise AssertionError(f"arcget: {done.stdout}{done.stderr}")
        return directory

    def kill(self):
        return self._command("arckill", "--keep")

    def log(self):
        """What the site wrote down about the job (gmlog/errors), less the job's script, which ARC puts in whole."""
        return re.sub(r"(?ms)^-{67}\n.*?^-{67}\n", "", self._command("arccat", "-l").stdout)

    def _command(self, name, *options):
        return self.client.command(name, "-j", self.base / "jobs.db", *options, self.id)


class Cluster:
    """Slurm's commands as the user of the tests: cluster("squeue", "-h") → CompletedProcess with text.

    `bin`: directory of the commands; `variables`: their environment, with `bin` on PATH.
    """

    def __init__(self, facts, directory):
        self.directory = Path(directory)
        self.bin = Path(facts["slurm_bin"])
        self.variables = facts["environment"] | {"PATH": f"{self.bin}:{facts['environment']['PATH']}"}

    def __call__(self, name, *words, cwd=None, environment=(), timeout=60):
        return subprocess.run([self.bin / name, *map(os.fspath, words)], cwd=cwd or self.directory,
                              env=self.variables | dict(environment), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout)

    def submit(self, script, *options, cwd, environment=()):
        """sbatch: the job's number. Its output, and that of all tasks of an array, goes to `out` in cwd."""
        done = self("sbatch", "--parsable", "--output", "out", "--open-mode=append", *options, script, cwd=cwd,
                    environment=environment)
        if done.returncode:
            raise AssertionError(f"sbatch: status {done.returncode}\n{done.stderr}")
        return done.stdout.strip()

    def run(self, script, *options, cwd, environment=(), timeout=300):
        """Submit and wait: the job's exit status, of an array the largest one of its tasks."""
        number = self.submit(script, *options, cwd=cwd, environment=environment)
        self.wait_until(lambda: not self("squeue", "-h", "-j", number).stdout, timeout)
        told = self("scontrol", "show", "job", number).stdout
        return max(int(status) for status in re.findall(r"ExitCode=(\d+):", told))

    def wait_until(self, condition, timeout=60):
        """Wait until condition() is true; what it gave."""
        return wait_until(condition, timeout, lambda: self("squeue").stdout)
