"""A recipe: the YAML file that says what an image is made of. What is wrong in it is said with file, line and key."""

import os

from apppot import yamlfile
from apppot.making import formats

SOURCES = ("debian", "directory", "tar", "oci", "image", "empty")
VARIANTS = ("minbase", "apt", "essential", "extract", "required", "important", "standard")
HOME = b"/home/user"


class Base:
    """What `from:` says. kind: one of SOURCES; value: suite (str), path (bytes), or None."""

    __slots__ = ("kind", "value", "variant", "components", "mirror", "line")

    def __init__(self, kind, value, variant, components, mirror, line):
        self.kind, self.value, self.variant, self.components, self.mirror = kind, value, variant, components, mirror
        self.line = line


class Copy:
    """One of `copy:`. source: host path; target: guest path, both absolute bytes; owner: (uid, gid); mode: int or None."""

    __slots__ = ("source", "target", "owner", "mode", "line")

    def __init__(self, source, target, owner, mode, line):
        self.source, self.target, self.owner, self.mode, self.line = source, target, owner, mode, line


class Run:
    """One of `run:`. words: what is executed (bytes); text: what the recipe says."""

    __slots__ = ("words", "text", "line")

    def __init__(self, words, text, line):
        self.words, self.text, self.line = words, text, line


class Recipe:
    """file: its name as given. base, packages ([str]), package_lines ({str: line}), copies, runs, env ({bytes: bytes}), autorun (text as
    bytes, or None), exclude ([bytes] patterns of guest paths), format and size (or None)."""

    def __init__(self, file):
        self.file = file
        self.base = None
        self.packages, self.packages_line, self.package_lines = [], 0, {}
        self.copies, self.runs, self.exclude = [], [], []
        self.env = {}
        self.autorun = self.format = self.size = None

    def failed(self, line, key, message, lines=()):
        """The AppPotError of what the recipe says rightly, and what could not be done."""
        return yamlfile.failed(self.file, line, key, message, lines)


def read(path):
    """The Recipe in a file."""
    name, node = yamlfile.compose(path, "a recipe")
    return _Reader(name).recipe(node)


class _Reader(yamlfile.Reader):
    """Turns YAML nodes into a Recipe."""

    def guest_path(self, node, key):
        text = self.text(node, key)
        if not text.startswith("/"):
            raise self.wrong(node, key, f"{text!r} must be an absolute path of the image, like /opt/data")
        return b"/" + os.path.normpath(os.fsencode(text)).lstrip(b"/")

    # The keys

    KEYS = ("from", "packages", "copy", "run", "env", "autorun", "exclude", "format", "size")

    def recipe(self, node):
        recipe = Recipe(self.file)
        found = self.mapping(node, "", self.KEYS)
        if "from" not in found:
            raise self.wrong(node, "from", f"the key is missing; say what to start from: {', '.join(SOURCES)}")
        for name in self.KEYS:
            if name in found:
                getattr(self, "_" + name)(recipe, found[name][1])
        if recipe.size is not None and recipe.format not in (None, "ext4"):
            raise self.wrong(found["size"][0], "size", f"it is for ext4 images, and this one is {recipe.format}")
        return recipe

    def _from(self, recipe, node):
        if node.id == "scalar" and node.value == "empty":
            recipe.base = Base("empty", None, None, (), (), node.start_mark.line + 1)
            return
        found = self.mapping(node, "from", (*SOURCES, "variant", "components", "mirror"))
        kinds = [name for name in SOURCES if name in found]
        if len(kinds) != 1:
            raise self.wrong(node, "from", f"one of {', '.join(SOURCES)} is expected")
        kind, key = kinds[0], "from." + kinds[0]
        name, value = found[kind]
        for other in ("variant", "components", "mirror"):
            if other in found and kind != "debian":
                raise self.wrong(found[other][0], "from." + other, f"it goes with debian, and this is {kind}")
        if kind == "debian":
            what = self.text(value, key)
            if not what.replace("-", "").replace(".", "").isalnum() or not what.isascii() or what.startswith("-"):
                raise self.wrong(value, key, f"{what!r} is no name of a suite, like bookworm")
        elif kind == "empty":
            what = None
        elif kind == "image":
            from apppot.image.store import Store
            text = os.fsencode(self.text(value, key))
            what = self.path(value, key)
            if not os.path.lexists(what):
                what = text if b"/" not in text and Store().image(value.value) else self.existing(value, key)
        else:
            what = self.existing(value, key)
            if kind == "directory" and not os.path.isdir(what):
                raise self.wrong(value, key, f"{os.fsdecode(what)} is not a directory")
            if kind == "tar" and not os.path.isfile(what):
                raise self.wrong(value, key, f"{os.fsdecode(what)} is not a file")
        variant = self.one_of(found["variant"][1], "from.variant", VARIANTS) if "variant" in found else "minbase"
        components = [self.text(item, "from.components") for item in self.items(found["components"][1], "from.components")] \
            if "components" in found else []
        mirror = [self._mirror(item) for item in self.items(found["mirror"][1], "from.mirror")] if "mirror" in found else []
        recipe.base = Base(kind, what, variant, components, mirror, name.start_mark.line + 1)

    def _mirror(self, node):
        text = self.text(node, "from.mirror")
        if "://" not in text and not text.startswith("file:") or "\n" in text or '"' in text:
            raise self.wrong(node, "from.mirror", f"{text!r} is no address, with ://, and no line of a sources.list")
        return text

    def _packages(self, recipe, node):
        recipe.packages_line = node.start_mark.line + 1
        for item in self.items(node, "packages"):
            for text in self.text(item, "packages").split():
                plain = text.translate({ord(letter): None for letter in "+-.:=~_/"})
                if not plain.isalnum() or not plain.isascii() or not text[0].isalnum():
                    raise self.wrong(item, "packages", f"{text!r} is no name of a package")
                recipe.packages.append(text)
                recipe.package_lines[text] = item.start_mark.line + 1

    def _copy(self, recipe, node):
        for item in self.items(node, "copy"):
            found = self.mapping(item, "copy", ("from", "to", "owner", "mode"))
            for name in ("from", "to"):
                if name not in found:
                    raise self.wrong(item, f"copy.{name}", "the key is missing")
            owner, mode = (0, 0), None
            if "owner" in found:
                text = self.text(found["owner"][1], "copy.owner")
                numbers = text.split(":")
                if len(numbers) > 2 or not all(number.isdecimal() and number.isascii() and len(number) < 10
                                               for number in numbers):
                    raise self.wrong(found["owner"][1], "copy.owner", f"{text!r} is not UID or UID:GID, in numbers")
                owner = int(numbers[0]), int(numbers[-1])
            if "mode" in found:
                text = self.text(found["mode"][1], "copy.mode")
                digits = text.removeprefix("0o")
                if not 1 <= len(digits) <= 5 or digits.strip("01234567") or int(digits, 8) > 0o7777:
                    raise self.wrong(found["mode"][1], "copy.mode", f"{text!r} is no octal mode, like 0755")
                mode = int(digits, 8)
            source = self.existing(found["from"][1], "copy.from")
            to = found["to"][1]
            target = self.guest_path(to, "copy.to")
            if to.value.endswith("/") and not os.path.isdir(source):
                target = target.rstrip(b"/") + b"/" + os.path.basename(source)
            recipe.copies.append(Copy(source, target, owner, mode, item.start_mark.line + 1))

    def _run(self, recipe, node):
        for item in self.items(node, "run"):
            if item.id == "sequence":
                words = [self.text(word, "run", empty=True) for word in item.value]
                if not words or not words[0]:
                    raise self.wrong(item, "run", "the list of words is empty")
                text = " ".join(words)
            else:
                text = self.text(item, "run")
                words = ["/bin/sh", "-e", "-c", text]
            recipe.runs.append(Run([word.encode() for word in words], text, item.start_mark.line + 1))

    def _env(self, recipe, node):
        for name, text in self.variables(node, "env", one_line=True).items():
            recipe.env[name.encode()] = text.encode()

    def _autorun(self, recipe, node):
        if node.id == "mapping":
            found = self.mapping(node, "autorun", ("file",))
            if "file" not in found:
                raise self.wrong(node, "autorun.file", "the key is missing")
            path = self.existing(found["file"][1], "autorun.file")
            try:
                with open(path, "rb") as file:
                    recipe.autorun = file.read()
            except OSError as error:
                raise self.wrong(node, "autorun.file", f"{os.fsdecode(path)}: {error.strerror}") from None
            return
        text = self.text(node, "autorun").encode()
        if not text.startswith(b"#!"):
            text = b"#!/bin/sh\n" + text
        recipe.autorun = text if text.endswith(b"\n") else text + b"\n"

    def _exclude(self, recipe, node):
        recipe.exclude += [self.guest_path(item, "exclude") for item in self.items(node, "exclude")]

    def _format(self, recipe, node):
        recipe.format = self.one_of(node, "format", formats.FORMATS)

    def _size(self, recipe, node):
        units = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
        text = self.text(node, "size").upper().removesuffix("IB").removesuffix("B")
        number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "M")
        if not number.isdecimal() or not number.isascii() or not 0 < int(number[:12]) * units[unit] < 1 << 46:
            raise self.wrong(node, "size", f"{node.value!r} is not a size; write it like 512M or 2G")
        recipe.size = int(number) * units[unit]
