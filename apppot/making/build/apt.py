"""The host's own apt configuration, for bootstrapping a Debian tree and for apt-get in a machine: sources, keyrings, how
the archive is reached, CA certificates."""

import glob
import os
import shutil
import subprocess

from apppot.errors import AppPotError

SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::ftp", "Acquire::Check", "Acquire::Retries", "Acquire::ForceIPv",
            "Acquire::Languages", "Acquire::GzipIndexes", "Acquire::Queue-Mode", "Acquire::Max-FutureTime")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PLACE = b"/run/apppot-apt"                      # where a machine sees what `write_for_guest` wrote
UNSAFE = "force-unsafe-io"       # dpkg(1): syncs no file; a system that is not whole is thrown away anyway
_ROLLING = ("sid", "unstable", "experimental")
_POCKETS = ("", "-updates", "-security", "-backports", "-proposed-updates")


class Stanza(dict):
    """One source, its fields as in sources.list(5), the deb822 form: {"Types": "deb", "URIs": ...}."""

    def text(self):
        return "".join(f"{key}: {value}\n" for key, value in self.items())


def os_release(text):
    """{key: value} of an os-release file."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key.strip()] = value.strip().strip("\"'")
    return found


def sources(suite, mirrors=(), components=(), own=None):
    """The Stanzas for a suite: of `mirrors` (addresses, or lines as in sources.list), else the host's.

    own: [Stanza] of the host; default: as its files say.
    """
    if mirrors:
        found = []
        for mirror in mirrors:
            line = mirror.startswith("deb")
            found += _of_list(mirror) if line else [_stanza(mirror, [suite], components or ["main"])]
        return found
    own = host_sources() if own is None else own
    found = [stanza for stanza in (_only(stanza, suite, suite) for stanza in own) if stanza]
    if not found:
        here = os_release(_read("/etc/os-release"))
        if here.get("ID") == "debian" and here.get("VERSION_CODENAME"):
            found = [stanza for stanza in (_only(stanza, here["VERSION_CODENAME"], suite) for stanza in own) if stanza]
    if not found:
        raise AppPotError(f"from: debian: {suite}: apt on this host knows no archive of Debian; name one in the recipe, "
                          "mirror: ADDRESS")
    if components:
        for stanza in found:
            stanza["Components"] = " ".join(components)
    return found


def _stanza(address, suites, components):
    stanza = Stanza(Types="deb", URIs=address, Suites=" ".join(suites), Components=" ".join(components))
    if os.path.exists(KEYRING):
        stanza["Signed-By"] = KEYRING
    return stanza


def _only(stanza, suite, wanted):
    """What a Stanza has of a suite, for the suite `wanted`, or None."""
    pockets = [name[len(suite):] for name in stanza.get("Suites", "").split()
               if name.startswith(suite) and name[len(suite):] in _POCKETS]
    if wanted in _ROLLING:
        pockets = [pocket for pocket in pockets if not pocket]
    if not pockets or "deb" not in stanza.get("Types", "").split() or stanza.get("Enabled", "yes").lower() == "no":
        return None
    return Stanza(stanza, Types="deb", Suites=" ".join(wanted + pocket for pocket in pockets))


def host_sources():
    """[Stanza] of all of the host's sources."""
    found = []
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        found += _of_sources(_read(path))
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        found += _of_list(_read(path))
    return found


def _of_sources(text):
    found, stanza, last = [], Stanza(), None
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                found.append(stanza)
            stanza, last = Stanza(), None
        elif line[0] in " \t":
            if last:
                stanza[last] += "\n" + line
        else:
            last, _, value = line.partition(":")
            stanza[last] = value.strip()
    return found


_OPTIONS = {"signed-by": "Signed-By", "arch": "Architectures", "trusted": "Trusted",
            "check-valid-until": "Check-Valid-Until"}


def _of_list(text):
    found = []
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        kind, _, rest = line.partition(" ")
        options, rest = {}, rest.strip()
        if rest.startswith("["):
            inner, _, rest = rest[1:].partition("]")
            for word in inner.split():
                key, _, value = word.partition("=")
                if key.lower() in _OPTIONS:
                    options[_OPTIONS[key.lower()]] = value.replace(",", " ")
        words = rest.split()
        if kind == "deb" and len(words) >= 2:
            found.append(Stanza(Types="deb", URIs=words[0], Suites=words[1], **({"Components": " ".join(words[2:])}
                                                                               if words[2:] else {}), **options))
    return found


def settings():
    """Lines of apt.conf(5): how the host reaches its archive."""
    try:
        dump = subprocess.run(["apt-config", "dump"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace").stdout
    except OSError:                     # no Debian
        return []
    return [line for line in dump.splitlines() if line.startswith(SETTINGS) and not line.endswith('"";')]


def write_for_guest(directory, stanzas):
    """Fill a host directory that a machine sees at PLACE; APT_CONFIG is its apt.conf. stanzas: None: the image's own."""
    place = os.fsdecode(PLACE)
    lines = settings()
    if stanzas is not None:
        os.makedirs(directory + "/sources.list.d")
        os.makedirs(directory + "/keyrings")
        text = []
        for number, stanza in enumerate(stanzas):
            stanza = Stanza(stanza)
            signed = stanza.get("Signed-By", "").split()
            if signed and all(path.startswith("/") and os.access(path, os.R_OK) for path in signed):
                names = [f"{number}-{os.path.basename(path)}" for path in signed]
                for path, name in zip(signed, names):
                    shutil.copyfile(path, f"{directory}/keyrings/{name}")
                stanza["Signed-By"] = " ".join(f"{place}/keyrings/{name}" for name in names)
            text.append(stanza.text())
        with open(directory + "/sources.list.d/host.sources", "w", encoding="utf-8") as file:
            file.write("\n".join(text))
        trusted = [path for path in glob.glob("/etc/apt/trusted.gpg.d/*") if os.access(path, os.R_OK)]
        if trusted:
            os.makedirs(directory + "/trusted.gpg.d")
            for path in trusted:
                shutil.copyfile(path, f"{directory}/trusted.gpg.d/{os.path.basename(path)}")
            lines.append(f'Dir::Etc::TrustedParts "{place}/trusted.gpg.d";')
        lines += [f'Dir::Etc::SourceList "{place}/none";', f'Dir::Etc::SourceParts "{place}/sources.list.d";']
    if os.access(CERTIFICATES, os.R_OK):
        shutil.copyfile(CERTIFICATES, directory + "/ca-certificates.crt")
        lines.append(f'Acquire::https::CaInfo "{place}/ca-certificates.crt";')
    lines += [f'Dpkg::Options:: "--{UNSAFE}";', 'APT::Sandbox::User "root";', 'APT::Install-Recommends "false";',
              'Dpkg::Use-Pty "0";']
    with open(directory + "/apt.conf", "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
