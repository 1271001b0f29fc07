"""Writes a bundle: AppPot in one file, for hosts where it is not installed.

The file is a shell script that looks for Python, followed by a zip archive, which Python runs. It holds AppPot with its
compiled stub and those of its dependencies that are pure Python, with their licences. `loader` says what happens at a start.
Left out are zstandard, which is compiled for one version of Python, and rich: tables are plain then.
"""

import hashlib
import os
import zipfile
from importlib import metadata, util

from apppot.errors import AppPotError
from apppot.making import output

DEFAULT = "apppot.pyz"
DEPENDENCIES = (("ptrace", "python-ptrace"), ("PySquashfsImage", "PySquashfsImage"), ("yaml", "PyYAML"))   # module, name
DATA = (".py", "/apppot-stub", "/rc/boot")
SHELL = """\
#!/bin/sh
# AppPot in one file: ./apppot.pyz start --image IMAGE PROG ARGS. It needs Python 3.11 or newer.
for python in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$python" >/dev/null 2>&1; then exec "$python" -I "$0" "$@"; fi
done
echo "apppot: no python3 on PATH; put Python 3.11 or newer there" >&2
exit 125
"""
_DATE = (1980, 1, 1, 0, 0, 0)       # the same files give the same bundle


def write(path):
    """Make the bundle at `path`, executable, replacing what is there; OSError, AppPotError."""
    files = _files()
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(data), data))
    manifest = "".join(f"{line}\n" for line in (digest.hexdigest()[:32],
                                                *(f"{len(data)} {name}" for name, data in sorted(files.items()))))
    files |= {"manifest": manifest.encode(), "__main__.py": _read(os.path.join(os.path.dirname(__file__), "loader.py"))}
    with output.whole(path) as scratch:
        with open(scratch, "xb") as file:
            file.write(SHELL.encode())
            with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
                for name, data in sorted(files.items()):
                    archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED, 9)
        os.chmod(scratch, 0o777 & ~_umask())


def _files():
    """{name in the bundle: content}"""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not os.path.exists(os.path.join(package, "stub", "apppot-stub")):
        raise AppPotError(f"{package}/stub/apppot-stub: the stub is not compiled; install AppPot with pip, or run "
                          "python3 -m apppot.stub.build in the checkout")
    found = dict(_package("apppot", package))
    for module, distribution in DEPENDENCIES:
        spec = util.find_spec(module)
        if spec is None:
            raise AppPotError(f"the Python package {distribution} is missing: pip install {distribution}")
        found |= _package(module, os.path.dirname(spec.origin))
        found |= _licences(distribution)
    above = os.path.dirname(package)
    found |= _licences("apppot") or {f"licences/apppot/{name}": _read(os.path.join(above, name))
                                     for name in ("LICENSE",) if os.path.exists(os.path.join(above, name))}
    if os.path.isdir(os.path.join(above, "licences")):      # we are a bundle ourselves
        found |= _package("licences", os.path.join(above, "licences"), "")
    return found


def _package(name, directory, *endings):
    """(name in the bundle, content) of a package's files."""
    for top, directories, names in os.walk(directory):
        directories[:] = [entry for entry in directories if entry != "__pycache__"]
        for entry in names:
            path = os.path.join(top, entry)
            if path.endswith(endings or DATA):
                yield name + path[len(directory):], _read(path)


def _licences(distribution):
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        return {}
    return {f"licences/{distribution}/{file.name}": _read(file.locate()) for file in files
            if file.name.upper().startswith(("LICEN", "COPYING")) and os.path.exists(file.locate())}


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _umask():
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
