"""The Debian system that `from: debian` begins with: made by mmdebstrap, or where that is missing by debootstrap, in a machine.

The machine's root is the host's, under a copy-on-write layer. It finds in its job directory `debian.sources`, what the
system is made from, and `apt`, the same for apt-get in a tree (`apt.write_for_guest`); it leaves `root.tar` there.
"""

import os
import shutil

from apppot.errors import AppPotError
from apppot.machine import JOB
from apppot.making.build import apt

_DEBOOTSTRAP_VARIANTS = {"minbase": ["--variant=minbase"], "apt": ["--variant=minbase"],
                         "required": ["--variant=minbase"], "important": []}
_AFTER_BOOTSTRAP = """\
rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$1/etc/resolv.conf" "$1/etc/hostname"
if [ -d "$1/etc" ]; then : >"$1/etc/resolv.conf"; echo apppot >"$1/etc/hostname"; fi
"""
# debootstrap knows one suite of one archive; what was updated since comes with apt-get. It warns that it can't mount /proc
# and /sys in its tree, and does without.
_DEBOOTSTRAP = """\
tree=/root/tree job=%(job)s
(umask 022; mkdir -p $tree/etc/dpkg/dpkg.cfg.d)
echo %(unsafe)s >$tree/etc/dpkg/dpkg.cfg.d/apppot
debootstrap "$@" || { tail -n 3 $tree/debootstrap/debootstrap.log; exit 1; }
rm -rf $tree/etc/apt/sources.list $tree/var/log/bootstrap.log
cp $job/debian.sources $tree/etc/apt/sources.list.d/
cp -r $job/apt $tree%(place)s
export APT_CONFIG=%(place)s/apt.conf DEBIAN_FRONTEND=noninteractive
chroot $tree apt-get -qq update
chroot $tree apt-get -y -qq dist-upgrade
chroot $tree /bin/sh -e -c '%(clean)s'
rm -rf $tree%(place)s $tree/dev/* $tree/etc/dpkg/dpkg.cfg.d/apppot
set -- $tree
%(after)s
tar -C $tree --sort=name --numeric-owner --xattrs --xattrs-include='*' -cf $job/root.tar .
"""


def program():
    """("mmdebstrap" or "debootstrap", its path)."""
    for name in ("mmdebstrap", "debootstrap"):
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path is not None:
            return name, os.fsencode(path)
    raise AppPotError("mmdebstrap is missing, and so is debootstrap; please run: apt-get install mmdebstrap")


def prepare(place, stanzas):
    """Fill the job directory of the machine."""
    os.makedirs(place + b"/apt")
    with open(place + b"/debian.sources", "w", encoding="utf-8") as file:
        file.write(listing(stanzas))
    apt.write_for_guest(os.fsdecode(place + b"/apt"), stanzas)


def listing(stanzas):
    return "\n".join(stanza.text() for stanza in stanzas)


def command(name, path, base, included, stanzas, clean):
    """(the command that makes root.tar, variables that it needs).

    base: of the recipe; included: names of packages, for the variant extract; clean: shell commands that remove what apt
    keeps.
    """
    if name == "debootstrap":
        return _by_debootstrap(base, stanzas, clean)
    words = [path, b"--mode=root", b"--skip=chroot/mount,check/empty,output/dev", b"--format=tar",
             b"--variant=" + base.variant.encode(), b"--customize-hook=" + _AFTER_BOOTSTRAP.encode(),
             b"--dpkgopt=" + apt.UNSAFE.encode(),
             *(b"--aptopt=" + line.encode() for line in [*apt.settings(), 'APT::Install-Recommends "false"']),
             *(b"--include=" + package.encode() for package in included),
             base.value.encode(), JOB + b"/root.tar", JOB + b"/debian.sources"]
    return words, {}


def _by_debootstrap(base, stanzas, clean):
    if base.variant not in _DEBOOTSTRAP_VARIANTS:
        raise AppPotError(f"from: debian: debootstrap can't make the variant {base.variant}; "
                          "please run: apt-get install mmdebstrap")
    stanza = next((stanza for stanza in stanzas if base.value in stanza["Suites"].split()), None)
    address = stanza["URIs"].split()[0] if stanza is not None else ""
    if not address.startswith(("http://", "https://", "file:", "copy:")):
        raise AppPotError(f"from: debian: {base.value}: debootstrap reaches http, https and file archives only; "
                          "name one in the recipe, mirror: ADDRESS")
    options = list(_DEBOOTSTRAP_VARIANTS[base.variant])
    components = stanza.get("Components", "").split()
    if components:
        options.append("--components=" + ",".join(components))
    keyring = stanza.get("Signed-By", apt.KEYRING).split()[:1]
    if stanza.get("Trusted", "no").lower() == "yes":
        options.append("--no-check-gpg")
    elif keyring and os.access(keyring[0], os.R_OK):
        options.append("--keyring=" + keyring[0])
    script = _DEBOOTSTRAP % {"job": os.fsdecode(JOB), "place": os.fsdecode(apt.PLACE), "clean": clean,
                             "after": _AFTER_BOOTSTRAP, "unsafe": apt.UNSAFE}
    words = ["/bin/sh", "-e", "-c", script, "debootstrap", *options, base.value, "/root/tree", address]
    return [word.encode() for word in words], _proxies()


def _proxies():
    """The proxies of the host's apt, as the variables that wget reads."""
    found = {}
    for line in apt.settings():
        key, _, value = line.partition(" ")
        if key in ("Acquire::http::Proxy", "Acquire::https::Proxy"):
            found[key.split("::")[1].encode() + b"_proxy"] = value.strip(' ";').encode()
    return found
