"""Job files: YAML that says what a Job is. What is wrong in one is said with file, line and key."""

import glob
import os

from apppot import quantities, yamlfile
from apppot.batch import job as jobs
from apppot.errors import AppPotError


def read(path):
    """(Job, name of the site or None) of a job file."""
    name, node = yamlfile.compose(path, "a job file")
    return _Reader(name).job(node)


class _Reader(yamlfile.Reader):
    KEYS = ("name", "to", "image", "changes", "command", "inputs", "each", "outputs", "env", "memory", "time", "processes",
            "mpi", "options")

    def job(self, node):
        found = self.mapping(node, "", self.KEYS)
        job = jobs.Job(name=os.path.splitext(os.path.basename(self.file))[0])
        for key, (_, value) in found.items():
            if key != "to":
                setattr(job, key, getattr(self, "_" + key)(value))
        try:
            job.name = job_name(job.name)
        except ValueError as error:
            raise self.wrong(found["name"][1] if "name" in found else None, "name", str(error)) from None
        return job, self.text(found["to"][1], "to") if "to" in found else None

    def _name(self, node):
        return self.text(node, "name")

    def _image(self, node):
        text = self.text(node, "image")
        if jobs.is_url(text) or text.startswith(jobs.SITE_IMAGE):
            return text
        return os.fsdecode(self.existing(node, "image"))

    def _changes(self, node):
        return [os.fsdecode(self.existing(item, "changes")) for item in self.items(node, "changes")]

    def _command(self, node):
        if node.id == "scalar":
            return ["/bin/sh", "-c", self.text(node, "command")]
        words = [self.text(word, "command", empty=True) for word in self.items(node, "command")]
        if not words or not words[0]:
            raise self.wrong(node, "command", "the list of words is empty")
        return words

    def _inputs(self, node):
        return [pair for item in self.items(node, "inputs") for pair in self._input(item, "inputs")]

    def _each(self, node):
        pairs = [pair for item in self.items(node, "each") for pair in self._input(item, "each")]
        if not pairs:
            raise self.wrong(node, "each", "the list is empty")
        return pairs

    def _input(self, node, key):
        """[[source, name]]: text, also a pattern for files, or {from:, to:}."""
        name = None
        if node.id == "mapping":
            found = self.mapping(node, key, ("from", "to"))
            if "from" not in found:
                raise self.wrong(node, f"{key}.from", "the key is missing")
            node = found["from"][1]
            name = self.text(found["to"][1], f"{key}.to") if "to" in found else None
        text = self.text(node, key)
        sources = [text]
        if not jobs.is_url(text):
            path = os.fsdecode(self.path(node, key))
            sources = [path] if os.path.lexists(path) or name is not None else sorted(glob.glob(path))
            if not sources:
                raise self.wrong(node, key, f"{text}: no such file or directory, and as a pattern it matches none")
        try:
            return [jobs.input_pair(source, name) for source in sources]
        except (ValueError, AppPotError) as error:
            raise self.wrong(node, key, str(error)) from None

    def _outputs(self, node):
        return [self._converted(item, "outputs", jobs.check_name) for item in self.items(node, "outputs")]

    def _env(self, node):
        return self.variables(node, "env")

    def _memory(self, node):
        return self._converted(node, "memory", quantities.size)

    def _time(self, node):
        return self._converted(node, "time", quantities.duration)

    def _processes(self, node):
        return self._converted(node, "processes", quantities.count)

    def _mpi(self, node):
        return self.one_of(node, "mpi", jobs.LAUNCHERS)

    def _options(self, node):
        return [self.text(item, "options", empty=True) for item in self.items(node, "options")]

    def _converted(self, node, key, convert):
        try:
            return convert(self.text(node, key))
        except ValueError as error:
            raise self.wrong(node, key, str(error)) from None


def job_name(text):
    """A name that every batch system takes; ValueError."""
    if not (text.isascii() and text.replace("-", "").replace("_", "").isalnum() and text[0].isalnum() and len(text) <= 40):
        raise ValueError(f"{text!r} is not a job's name; use up to 40 letters, digits, '-' and '_'")
    return text
