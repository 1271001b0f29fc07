"""Building: the base, then one step after the other, each a layer in the cache, then the image in its format."""

import hashlib
import json
import os
import re
import sys
from contextlib import ExitStack, closing, contextmanager

from apppot.errors import AppPotError
from apppot.image import archive
from apppot.image.cow import Cow, remove_tree
from apppot.image.image import Config
from apppot.image.opening import open_image
from apppot.image.progress import SILENT
from apppot.image.store import Store, file_key
from apppot.kernel.environment import PATH
from apppot.machine import Bind, Machine
from apppot.making import formats
from apppot.making.build import apt, bootstrap
from apppot.making.build.kept import StepLayer, Steps
from apppot.making.build.tree import changing
from apppot.making.inside import run_machine
from apppot.making.source import Source, epoch
from apppot.vfs.users import read_file
from apppot.vfs.caller import KERNEL
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay

VERSION = 1                     # raised when the same recipe makes something else
LAST_LINES = 12
_PROXIES = (b"http_proxy", b"https_proxy", b"ftp_proxy", b"no_proxy", b"HTTP_PROXY", b"HTTPS_PROXY", b"NO_PROXY")
_INSTALL = """\
apt-get -qq update
apt-get -y -qq --no-install-recommends install -- "$@"
"""
_CLEAN = """\
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
    /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old
"""
_NO_PACKAGE = re.compile(r"^E: (?:Unable to locate package (?P<a>\S+)|Package '(?P<b>[^']+)' has no installation candidate"
                         r"|Couldn't find any package by \w+ '(?P<c>[^']+)'|Version '(?P<version>[^']+)' for '(?P<d>[^']+)')", re.MULTILINE)


class Step:
    """key: names what it makes; label: for the user; act(layers, cow): makes it in a Cow; in_machine: by a machine, which
    brings the image's own layers."""

    def __init__(self, key, label, act, in_machine=True):
        self.key, self.label, self.act, self.in_machine = key, label, act, in_machine


class Builder:
    """say: gets a line for the user; tell: gets what steps say (bytes), or None; fresh: use nothing that was kept."""

    def __init__(self, recipe, say=lambda line: None, tell=None, progress=SILENT, fresh=False, store=None):
        self.recipe, self.say, self.tell, self.progress, self.fresh = recipe, say, tell, progress, fresh
        self.store = store or Store()
        self.steps = Steps(self.store)
        self.epoch = epoch()

    def build(self, path, format, size=None, boot=False):
        """Write the image to `path`; lines for the user."""
        with ExitStack() as stack:
            place, base_key = self._base(stack)
            image = stack.enter_context(open_image(place, self.progress))
            layers = []
            steps = self._plan(place, base_key)
            if any(step.in_machine for step in steps):
                layers.append(self._with_user(stack, image))
            for number, step in enumerate(steps, 1):
                layers.insert(0, stack.enter_context(closing(self._made(step, number, len(steps), image, layers))))
            return self._write(stack, image, layers, path, format, size, boot)

    def _write(self, stack, image, layers, path, format, size, boot):
        recipe = self.recipe
        staged = stack.enter_context(self._staged())
        base = Namespace(Overlay(image.layers))
        stack.callback(base.close)
        with Cow.open(staged) as cow, changing(cow, layers + image.layers) as tree:
            user = tree.finish(recipe, lambda name: read_file(base, KERNEL, name))
        image.config = self._config(image.config)
        last = [StepLayer(staged, user=user), *(StepLayer(os.path.dirname(layer.host), user=user) for layer in layers)]
        source = Source(image, extra=last, newest=self.epoch)
        stack.callback(source.ns.close)
        return formats.write(source, path, format, self.progress, size, boot)

    def _with_user(self, stack, image):
        """A layer in which the image has `user`, so that steps find one whoever builds."""
        staged = stack.enter_context(self._staged())
        with Cow.open(staged) as cow, changing(cow, image.layers) as tree:
            tree.add_user()
        return StepLayer(staged)

    def _config(self, config):
        """The OCI configuration of what is built, or None for formats' own."""
        recipe = self.recipe
        if config is None and not recipe.env:
            return None
        raw = dict(config.raw) if config is not None and config.raw else {}
        inner = dict(raw.get("config") or {})
        env = dict(config.env) if config is not None else {b"PATH": PATH}
        env.update(recipe.env)
        inner["Env"] = [f"{os.fsdecode(key)}={os.fsdecode(value)}" for key, value in env.items()]
        if recipe.autorun is not None or config is None:
            inner["Cmd"] = ["/home/user/apppot-autorun" if recipe.autorun is not None else "/bin/sh"]
        raw["config"] = inner
        return Config(env, raw=raw)

    # Where it starts: (path or name for open_image, key)

    def _base(self, stack):
        base = self.recipe.base
        if base.kind == "empty":
            place = stack.enter_context(self._staged())
            os.makedirs(place, 0o755)
            return place, "empty"
        if base.kind == "debian":
            return self._debian()
        if base.kind == "directory" or os.path.isdir(base.value):
            with self._said("from"):
                return base.value, _of_tree(base.value)
        with self._said("from"), open_image(base.value, self.progress) as image:
            if base.kind in ("tar", "oci") and image.format not in {"tar": ("tar",), "oci": ("oci", "docker")}[base.kind]:
                raise self.recipe.failed(base.line, "from." + base.kind,
                                        f"{os.fsdecode(base.value)} is of the format {image.format}; say image instead")
            return base.value, image.digest or file_key(base.value)[0]

    @contextmanager
    def _said(self, key):
        """What AppPot says about the recipe's base gets the recipe's name."""
        try:
            yield
        except AppPotError as error:
            if error.message.startswith(f"{self.recipe.file}:"):
                raise
            raise self.recipe.failed(self.recipe.base.line, key, error.message, error.lines) from error

    def _debian(self):
        base, recipe = self.recipe.base, self.recipe
        included = recipe.packages if base.variant == "extract" else []
        stanzas = apt.sources(base.value, base.mirror, base.components)
        tool, path = bootstrap.program()
        key = _digest(VERSION, "debian", base.value, base.variant, included, bootstrap.listing(stanzas), self.epoch,
                      *([] if tool == "mmdebstrap" else [tool]))
        name = f"debian-{base.value}-{key[:12]}"
        label = f"from: debian {base.value} ({base.variant})"
        if not self.fresh:
            image = archive.open_name(name, self.store)
            if image is not None:
                image.close()
                self.say(f"{label}: kept from before")
                return name.encode(), image.digest
        with self._said("from.debian"):
            words, variables = bootstrap.command(tool, path, base, included, stanzas, _CLEAN)
        self.say(label)
        with self._staged() as place:
            bootstrap.prepare(place, stanzas)
            status, said = run_machine(Machine(root=True, job_dir=place, command=words, env=variables | self._variables(),
                                               clean_env=True, quiet=True, discard=True), self._tell)
            if status != 0:
                self._no_package(said)
                why, last = self._reason(said)
                raise recipe.failed(base.line, "from.debian", f"{tool} {_ended(status)}{why}", last)
            with archive.open_image(place + b"/root.tar", self.progress, self.store) as image:
                about = {"format": "tar", "digest": image.digest, "config": None, "named": True,
                         "layers": [layer.about["digest"] for layer in image.layers],
                         "source": f"debian {base.value}"}
                self.store.remember(name, about)
            self.store.forget(file_key(place + b"/root.tar")[0])
        return name.encode(), image.digest

    # Steps

    def _plan(self, place, key):
        recipe, base = self.recipe, self.recipe.base
        env = sorted((os.fsdecode(name), os.fsdecode(value)) for name, value in recipe.env.items())
        steps = []
        if recipe.packages and not (base.kind == "debian" and base.variant == "extract"):
            key = _digest(VERSION, key, "packages", recipe.packages, base.mirror, self.epoch)
            steps.append(Step(key, f"packages: {' '.join(recipe.packages)}",
                              lambda layers, cow: self._install(place, layers, cow)))
        for copy in recipe.copies:
            key = _digest(VERSION, key, "copy", os.fsdecode(copy.target), copy.owner, copy.mode, _of_contents(copy.source))
            steps.append(Step(key, f"copy: {os.fsdecode(os.path.basename(copy.source))} to {os.fsdecode(copy.target)}",
                              lambda layers, cow, copy=copy: self._copy(copy, layers, cow), False))
        for run in recipe.runs:
            key = _digest(VERSION, key, "run", [os.fsdecode(word) for word in run.words], env, self.epoch)
            steps.append(Step(key, f"run: {_short(run.text)}",
                              lambda layers, cow, run=run: self._run(run, place, layers, cow)))
        return steps

    def _made(self, step, number, count, image, layers):
        """The layer of a step, made if it isn't kept."""
        label = f"step {number} of {count}: {step.label}"
        if not self.fresh:
            layer = self.steps.layer(step.key)
            if layer is not None:
                self.say(f"{label}: kept from before")
                return layer
        self.say(label)
        self.current = f"step {number} of {count}"
        with self._staged() as place:
            with Cow.open(place) as cow:
                step.act(layers + ([] if step.in_machine else image.layers), cow)
            if self.fresh and self.steps.has(step.key):
                try:
                    self.steps.drop(step.key)
                except BlockingIOError:
                    raise AppPotError("another build is using what this one is to make again; wait for its end") from None
            for leftover in (b"cow.json", b"lock", b"work"):
                remove_tree(place + b"/" + leftover)
            self.steps.put(place, step.key, {"step": step.label})
        layer = self.steps.layer(step.key)
        if layer is None:
            raise AppPotError(f"{label}: it was removed from the cache meanwhile; build again")
        return layer

    @contextmanager
    def _staged(self):
        """A path in the cache for something new; what is there at the end is removed."""
        with self.store.new(self.recipe.file) as staged:
            yield os.path.dirname(staged.path) + b"/step"

    def _copy(self, copy, layers, cow):
        try:
            with changing(cow, layers) as tree:
                tree.copy(copy.source, copy.target, copy.owner, copy.mode)
        except OSError as error:
            name = os.fsdecode(error.filename) if error.filename else os.fsdecode(copy.target)
            raise self.recipe.failed(copy.line, "copy", f"{name}: {error.strerror}") from error

    def _run(self, run, place, layers, cow):
        status, said = self._in_machine(place, layers, cow, run.words, self.recipe.env)
        if status != 0:
            why, last = self._last(said)
            raise self.recipe.failed(run.line, "run", f"{self.current}, {_short(run.text)}, {_ended(status)}{why}", last)

    def _install(self, place, layers, cow):
        recipe = self.recipe
        with self._staged() as directory, open_image(place) as image:
            directory = os.fsdecode(directory)
            os.makedirs(directory)
            with closing(Namespace(Overlay(layers + image.layers))) as ns:
                release = apt.os_release(read_file(ns, KERNEL, b"/etc/os-release").decode("utf-8", "replace"))
                has_apt = any(_exists(ns, path) for path in (b"/usr/bin/apt-get", b"/bin/apt-get"))
            if not has_apt:
                raise recipe.failed(recipe.packages_line, "packages", "the base has no apt-get to install them with")
            apt.write_for_guest(directory, self._sources(release))
            env = {b"DEBIAN_FRONTEND": b"noninteractive", b"APT_CONFIG": apt.PLACE + b"/apt.conf"}
            words = [b"/bin/sh", b"-e", b"-c", (_INSTALL + _CLEAN).encode(), b"sh", *map(str.encode, recipe.packages)]
            status, said = self._in_machine(place, layers, cow, words, env,
                                            [Bind(os.fsencode(directory), apt.PLACE, True)])
        if status != 0:
            self._no_package(said)
            why, last = self._reason(said)
            raise recipe.failed(recipe.packages_line, "packages", f"{self.current} {_ended(status)}{why}", last)

    def _sources(self, release):
        """What packages are installed from: None for the sources that the image has."""
        base = self.recipe.base
        if base.kind == "debian":
            return apt.sources(base.value, base.mirror, base.components)
        if release.get("ID") == "debian" and release.get("VERSION_CODENAME"):
            return apt.sources(release["VERSION_CODENAME"])
        return None

    def _in_machine(self, place, layers, cow, words, env, binds=()):
        path = cow.path
        cow.close()                         # the machine opens it
        machine = Machine(image=place, lowers=[*layers, place], cow=path, root=True, clean_env=True, entrypoint=[],
                          env=self._variables() | dict(env), job_dir=b"/", workdir=b"/", binds=list(binds),
                          command=list(words), quiet=True, discard=True)
        return run_machine(machine, self._tell)

    def _variables(self):
        found = {b"PATH": PATH, b"LANG": b"C.UTF-8", b"TERM": b"dumb"}
        found.update({name: os.environb[name] for name in _PROXIES if name in os.environb})
        if self.epoch is not None:
            found[b"SOURCE_DATE_EPOCH"] = b"%d" % self.epoch
        return found

    # Messages

    def _tell(self, data):
        if self.tell is not None:
            self.tell(data)

    def _last(self, said):
        """(end of the message, lines below it): the last ones of what a step said, unless they were shown."""
        lines = [line.rstrip() for line in said.splitlines() if line.strip()][-LAST_LINES:]
        if self.tell is not None or not lines:
            return "", ()
        return "; its last lines:", lines

    def _reason(self, said):
        """As _last, or what apt complains of first."""
        complaint = next((line[3:] for line in said.splitlines() if line.startswith("E: ")), None)
        return (f": {complaint}", ()) if complaint else self._last(said)

    def _no_package(self, said):
        names = {}
        for match in _NO_PACKAGE.finditer(said):
            name = match["a"] or match["b"] or match["c"] or match["d"]
            names[name if match["version"] is None else f"{name}={match['version']}"] = True
        if names:
            line = self.recipe.package_lines.get(next(iter(names)), self.recipe.packages_line)
            raise self.recipe.failed(line, "packages", f"there is no package {', '.join(names)}")


def _exists(ns, path):
    try:
        return bool(ns.resolve(KERNEL, path).kind)
    except OSError:
        return False


def _ended(status):
    if status > 128:
        import signal
        try:
            return f"was ended by {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"ended with status {status}"


def _short(text):
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= 60 and line == text.strip() else line[:60] + "..."


# Keys

def _digest(*facts):
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def _walk(top):
    """(name, host path, lstat) of a file, or of everything in a directory, in order."""
    todo = [(b"", top)]
    while todo:
        name, path = todo.pop()
        st = os.lstat(path)
        yield name, path, st
        if st.st_mode & 0o170000 == 0o040000:
            todo += [(name + b"/" + below, path + b"/" + below) for below in sorted(os.listdir(path), reverse=True)]


def _of_contents(top):
    """A digest of names, modes and contents."""
    whole = hashlib.sha256()
    for name, path, st in _walk(top):
        whole.update(b"%d:%s %o\n" % (len(name), name, st.st_mode))
        kind = st.st_mode & 0o170000
        if kind == 0o120000:
            whole.update(os.readlink(path))
        elif kind == 0o100000:
            with open(path, "rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _of_tree(top):
    """A digest that changes with anything in a tree: what the kernel says of its files, not their contents."""
    whole = hashlib.sha256()
    try:
        for name, path, st in _walk(top):
            whole.update(b"%d:%s %o %d %d %d %d %d\n" % (len(name), name, st.st_mode, st.st_ino, st.st_uid, st.st_gid,
                                                         st.st_size, st.st_ctime_ns))
    except OSError as error:
        raise AppPotError(f"{os.fsdecode(error.filename)}: {error.strerror}; an image must be readable by you") from None
    return whole.hexdigest()
