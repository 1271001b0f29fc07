"""Where jobs may go: `arc`, `slurm`, and what the user's sites.yaml names."""

import os

from apppot import yamlfile
from apppot.errors import STATUS_USAGE, AppPotError

KINDS = ("arc", "slurm")
# How AppPot comes to the node, by kind of site; the first is the default.
ORIGINS = {"arc": ("bundle", "rte"), "slurm": ("auto", "bundle")}


class Place:
    """A site as the user describes it. All of it can be written as JSON."""

    __slots__ = (
        "name",         # what --to names
        "kind",         # one of KINDS
        "endpoint",     # ARC: URL of the computing element, or None: what the client's own configuration says
        "apppot",       # "bundle": each job brings AppPot; ARC: "rte": ENV/APPPOT-1.0; Slurm: "auto": as installed, else bundle
        "workspace",    # Slurm: directory, on the nodes too, where jobs have their directories; None: in the current one
        "images",       # {name at the site: SHA-256 in hexadecimal} of images that needn't be brought
        "options",      # more options of sbatch or arcsub
    )

    def __init__(self, **given):
        self.endpoint = self.workspace = None
        self.images, self.options = {}, []
        for name, value in given.items():
            setattr(self, name, value)
        if "apppot" not in given:
            self.apppot = ORIGINS[self.kind][0]

    def as_dict(self):
        return {name: getattr(self, name) for name in self.__slots__}


def config_file(environ=None):
    """Path of the user's sites.yaml; it need not exist."""
    environ = os.environ if environ is None else environ
    base = environ.get("XDG_CONFIG_HOME")
    if not base or not base.startswith("/"):
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(base, "apppot", "sites.yaml")


def place(name):
    """The Place of this name; None: the only one there is in sites.yaml."""
    file = config_file()
    known = _Reader(file).places(yamlfile.compose(file, "a list of sites")[1]) if os.path.exists(file) else {}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name is None:
        raise AppPotError(f"where to? Say --to {'|'.join([*KINDS, *known])}", STATUS_USAGE)
    if name in known:
        return known[name]
    if name in KINDS:
        return Place(name=name, kind=name)
    raise AppPotError(f"--to {name}: unknown; there are arc, slurm and what {file} names"
                      f"{': ' + ', '.join(known) if known else ''}", STATUS_USAGE)


class _Reader(yamlfile.Reader):
    KEYS = ("to", "endpoint", "apppot", "workspace", "images", "options")

    def places(self, node):
        return {name: self._place(name, value) for name, (_, value) in self.mapping(node, "").items()}

    def _place(self, name, node):
        found = self.mapping(node, name, self.KEYS)
        if "to" not in found:
            raise self.wrong(node, f"{name}.to", f"the key is missing; there are: {', '.join(KINDS)}")
        place = Place(name=name, kind=self.one_of(found["to"][1], f"{name}.to", KINDS))
        for key, kind in (("endpoint", "arc"), ("workspace", "slurm")):
            if key in found and place.kind != kind:
                raise self.wrong(found[key][0], f"{name}.{key}", f"it goes with {kind}, and this is {place.kind}")
        if "endpoint" in found:
            place.endpoint = self.text(found["endpoint"][1], f"{name}.endpoint")
        if "workspace" in found:
            place.workspace = os.fsdecode(self.path(found["workspace"][1], f"{name}.workspace"))
        if "apppot" in found:
            place.apppot = self.one_of(found["apppot"][1], f"{name}.apppot", ORIGINS[place.kind])
        if "images" in found:
            place.images = self._images(name, found["images"][1])
        if "options" in found:
            place.options = [self.text(item, f"{name}.options") for item in self.items(found["options"][1], f"{name}.options")]
        return place

    def _images(self, name, node):
        images = {}
        for image, (_, value) in self.mapping(node, f"{name}.images").items():
            digest = self.text(value, f"{name}.images.{image}").removeprefix("sha256:").lower()
            if len(digest) != 64 or digest.strip("0123456789abcdef"):
                raise self.wrong(value, f"{name}.images.{image}", "it is no SHA-256 digest, as sha256sum prints it")
            images[image] = digest
        return images
