"""A user of `apppot submit` and its kin."""

import json
import os
import subprocess


class User:
    """apppot's commands in a directory, with records of their own. `variables`: environment of the site's clients."""

    def __init__(self, program, variables, directory):
        self.program, self.directory = program, directory
        home = directory / "home"
        home.mkdir()
        self.variables = dict(variables) | {"XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home),
                                            "APPPOT_CACHE": str(home / "cache"), "TMPDIR": str(home)}

    def __call__(self, *words, status=0, cwd=None, timeout=300):
        """CompletedProcess of an apppot command that ends with this status."""
        done = subprocess.run([self.program, *map(os.fspath, words)], cwd=cwd or self.directory, env=self.variables,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="surrogateescape", timeout=timeout)
        assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def submit(self, *words, cwd=None):
        return self("submit", "-q", *words, cwd=cwd).stdout.strip()

    def tasks(self, id):
        return json.loads(self("status", "--json", id).stdout)[0]["tasks"]

    def wait(self, id):
        """Wait until the job has ended: the states of its tasks."""
        self("status", "--watch=1", id)
        return [task["state"] for task in self.tasks(id)]

    def forget_submission(self, id):
        """What a crash leaves between a client's success and writing it down."""
        path = self.directory / "home" / "apppot" / "jobs" / id / "record.json"
        data = json.loads(path.read_text())
        for task in data["tasks"].values():
            task |= {"state": "submitting", "remote": None}
        path.write_text(json.dumps(data))
