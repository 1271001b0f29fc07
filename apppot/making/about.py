"""What `apppot image inspect` tells."""

import os

from apppot.image.progress import SILENT
from apppot.image.store import disk_usage
from apppot.making.source import Source

_OS_RELEASE = (b"/etc/os-release", b"/usr/lib/os-release")
_BASE = b"/var/lib/apppot/base.json"


def describe(path, progress=SILENT):
    """A dict of facts about an image; what is unknown is None."""
    with Source.open(path, None, progress, newest=None) as source:
        image = source.image
        autorun = source.exists(b"/home/user/apppot-autorun")
        return {"image": os.fsdecode(path), "format": image.format, "digest": image.digest, "size": _size(image),
                "os": _os_name(source), "autorun": True if autorun else None, "base": _base(source),
                "layers": [_layer(layer) for layer in reversed(image.layers)], "config": _config(image.config)}


def _size(image):
    if os.path.isfile(image.path):
        return os.stat(image.path).st_size
    if os.path.isdir(image.path):
        return disk_usage(image.path)
    return sum(layer.about.get("size") or 0 for layer in image.layers)


def _layer(layer):
    about = getattr(layer, "about", None)
    if about is None:
        return {"digest": getattr(layer, "digest", None), "path": os.fsdecode(layer.host), "files": None, "size": None}
    return {"digest": about["digest"], "path": os.fsdecode(layer.host), "files": about.get("files"),
            "size": about.get("size")}


def _os_name(source):
    for path in _OS_RELEASE:
        for line in source.read(path).decode("utf-8", "replace").splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip("\"'")
    return None


def _base(source):
    import json
    try:
        return json.loads(source.read(_BASE))["name"]
    except (ValueError, KeyError, TypeError):
        return None


def _config(config):
    """The configuration in OCI's words, of what is set."""
    if config is None:
        return None
    found = {"Env": [f"{os.fsdecode(key)}={os.fsdecode(value)}" for key, value in config.env.items()],
             "WorkingDir": config.workdir and os.fsdecode(config.workdir), "User": config.user,
             "Entrypoint": [os.fsdecode(word) for word in config.entrypoint],
             "Cmd": [os.fsdecode(word) for word in config.command]}
    return {key: value for key, value in found.items() if value}
