"""YAML files that people write: what is wrong in one is said with file, line and key."""

import os

from apppot import suggestions
from apppot.errors import STATUS_FAILED, STATUS_USAGE, AppPotError


class FileError(AppPotError):
    """One line: FILE:LINE: KEY: what is wrong."""

    def __init__(self, file, line, key, message, status=STATUS_USAGE, lines=()):
        where = f"{file}:{line}" if line else file
        super().__init__(f"{where}: {key + ': ' if key else ''}{message}", status, lines)


def failed(file, line, key, message, lines=()):
    """The FileError of what the file says rightly, and what could not be done."""
    return FileError(file, line, key, message, STATUS_FAILED, lines)


def compose(path, what):
    """(name of the file, its top node). what: the kind of file to name, as in "a recipe"."""
    import yaml
    name = os.fsdecode(path)
    try:
        with open(path, encoding="utf-8") as file:
            return name, yaml.compose(file, Loader=yaml.SafeLoader)
    except OSError as error:
        raise AppPotError(f"{name}: {error.strerror}; name {what}") from None
    except UnicodeDecodeError:
        raise FileError(name, 0, "", "it is not UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or "it is not YAML"
        raise FileError(name, mark.line + 1 if mark else 0, "", f"no YAML: {said}") from None
    except RecursionError:
        raise FileError(name, 0, "", "it is nested too deeply") from None


class Reader:
    """Turns YAML nodes, which know their lines, into values."""

    def __init__(self, file):
        self.file = file
        self.directory = os.path.dirname(os.path.abspath(os.fsencode(file)))

    def wrong(self, node, key, message):
        return FileError(self.file, node.start_mark.line + 1 if node is not None else 0, key, message)

    def mapping(self, node, key, known=None):
        """{name: (node of the name, node of the value)}; known: the names there may be."""
        if node is None or node.id != "mapping":
            raise self.wrong(node, key, "keys with values are expected")
        found = {}
        for name, value in node.value:
            if name.id != "scalar":
                raise self.wrong(name, key, "a key must be text")
            if name.value in found:
                raise self.wrong(name, self._inside(key, name.value), "the key is there twice")
            if known is not None and name.value not in known:
                raise self.wrong(name, self._inside(key, name.value), f"unknown key; {suggestions.among(name.value, known)}")
            found[name.value] = name, value
        return found

    @staticmethod
    def _inside(key, name):
        return f"{key}.{name}" if key else name

    def text(self, node, key, empty=False):
        if node.id != "scalar" or node.tag.endswith(":null"):
            raise self.wrong(node, key, "text is expected")
        if "\0" in node.value or not node.value and not empty:
            raise self.wrong(node, key, "the text is empty" if not node.value else "the text has a NUL")
        return node.value

    def items(self, node, key):
        """The nodes of a list; of something else a list of it."""
        if node.id == "sequence":
            return node.value
        return [] if node.id == "scalar" and node.tag.endswith(":null") else [node]

    def path(self, node, key):
        """An absolute host path; relative ones start at the file."""
        path = os.fsencode(self.text(node, key))
        if path.startswith(b"~/"):
            path = os.path.expanduser(path)
        return os.path.normpath(os.path.join(self.directory, path))

    def existing(self, node, key):
        path = self.path(node, key)
        if not os.path.lexists(path):
            raise self.wrong(node, key, f"{os.fsdecode(path)}: no such file or directory")
        return path

    def one_of(self, node, key, words):
        text = self.text(node, key)
        if text not in words:
            raise self.wrong(node, key, f"{text!r} is none; {suggestions.among(text, words)}")
        return text

    def variables(self, node, key, one_line=False):
        """{name: value} of environment variables, text. one_line: no value may have a newline."""
        found = {}
        for name, (name_node, value) in self.mapping(node, key).items():
            if not name or "=" in name or "\0" in name or "\n" in name:
                raise self.wrong(name_node, f"{key}.{name}", "that is no name of a variable")
            found[name] = self.text(value, f"{key}.{name}", empty=True)
            if one_line and "\n" in found[name]:
                raise self.wrong(value, f"{key}.{name}", "the value has more than one line")
        return found
