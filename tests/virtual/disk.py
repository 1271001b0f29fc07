"""Make the disk of the virtual computer: Debian with its own kernel, what the tests need, and the guests' Debian tree.

It is kept in the tests' cache (tests/guest/make_tree.py) and never written to afterwards. AppPot itself is not on it.
"""

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.guest import make_tree

SOURCE = Path(__file__).parents[2]
RECIPE = 1  # to be raised when this file makes something else from the same packages
PACKAGES = """
    acl btrfs-progs bubblewrap busybox-static dbus dbus-user-session dosfstools e2fsprogs exfatprogs fdisk gcc git kmod libc6-dev
    libpam-systemd make musl-tools procps python3 quota squashfs-tools strace sudo systemd-sysv uidmap xfsprogs zstd
""".split()
KERNEL = "linux-image-cloud-amd64"
INITRAMFS = "initramfs-tools"  # what this suite's kernel depends on
PYTHON = "3.11"  # of the suite
ACCOUNT, UID = "tester", 1000
TREES = "/opt/apppot-tests"  # APPPOT_TEST_CACHE in the computer
CHECKOUT = "/srv/apppot/checkout"
SIZE = "8G"  # a hole for the most part
NEEDED = {"qemu-system-x86_64": "qemu-system-x86", "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "setpriv": "util-linux"}

SERVICE = f"""\
[Unit]
Description=Tests of AppPot
After=dbus.service systemd-logind.service systemd-user-sessions.service
[Service]
ExecStart=/bin/sh -c 'mkdir -p /srv/apppot && tar -x -f /dev/vdb -C /srv/apppot && exec python3 -B {CHECKOUT}/tests/virtual/inside.py'
[Install]
WantedBy=multi-user.target
"""

# Run with the tree of the packages as $1: the kernel of suite $KERNEL_SUITE. It is unpacked only, since the scripts that configure a
# newer one need newer programs.
OTHER_KERNEL = rf"""
set -eu
chroot "$1" apt-get -qq --no-install-recommends --download-only install "{KERNEL}/$KERNEL_SUITE"
chroot "$1" sh -c 'dpkg --unpack --force-depends /var/cache/apt/archives/linux-*.deb'
version=$(ls "$1/lib/modules")
for file in config vmlinuz; do          # newer ones have them there, and copy them when they are configured
    [ ! -e "$1/lib/modules/$version/$file" ] || cp "$1/lib/modules/$version/$file" "$1/boot/$file-$version"
done
chroot "$1" depmod "$version"
chroot "$1" update-initramfs -c -k "$version"
"""

# Run by root, or in a user namespace of one's own: $1 tar of the packages, $2 tar of the guests' tree, $3 its name,
# $4 Python packages, $5 the service, $6 where the disk goes, with a directory "root" to work in.
FURNISH = r"""
set -eu
root=$6/root
mkdir "$root"
tar -x -p --numeric-owner --xattrs --xattrs-include='*' -f "$1" -C "$root" --exclude='./dev/*'
cp -r "$4/." "$root/usr/local/lib/python$PYTHON/dist-packages"
cp "$5" "$root/etc/systemd/system/apppot-tests.service"
chroot "$root" useradd --uid "$UID_INSIDE" --create-home --shell /bin/bash "$ACCOUNT"
chroot "$root" systemctl --quiet enable apppot-tests.service
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer man-db.timer networking.service systemd-timesyncd.service
echo virtual >"$root/etc/hostname"
echo 127.0.0.1 localhost virtual >"$root/etc/hosts"
echo "$ACCOUNT ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$ACCOUNT"
mkdir -p "$root$TREES"
install -d -o "$UID_INSIDE" -g "$UID_INSIDE" "$root$TREES/$3"
chown "$UID_INSIDE:$UID_INSIDE" "$root$TREES"
setpriv --reuid="$UID_INSIDE" --regid="$UID_INSIDE" --clear-groups tar -x -p --no-same-owner -f - -C "$root$TREES/$3" \
    --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' <"$2"
cp "$root"/boot/vmlinuz-* "$6/vmlinuz"
cp "$root"/boot/initrd.img-* "$6/initrd"
mke2fs -q -t ext4 -m 0 -d "$root" "$6/disk.img" "$SIZE"
rm -rf "$root"
"""


def requirements() -> list[str]:
    """What AppPot and its tests need of Python's registry."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["test"]]


def key(kernel: str) -> str:
    """Name of the disk in the cache: changes with everything that goes onto it. kernel: the suite that it is of."""
    recipe = [make_tree.SUITE, kernel, str(RECIPE), make_tree.key(), SERVICE, FURNISH, *sorted(PACKAGES), *sorted(requirements())]
    return "virtual-" + hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]


def check_tools() -> None:
    missing = sorted({package for tool, package in NEEDED.items() if not shutil.which(tool)})
    if missing:
        raise SystemExit(f"tests.virtual: please run: apt-get install --no-install-recommends {' '.join(missing)}")


def directory(kernel: str) -> Path:
    """Where disk.img, vmlinuz and initrd are, made if need be. SystemExit with a line that says what went wrong."""
    name = key(kernel)
    shared = make_tree.SHARED_BY_ROOT / name
    if not os.environ.get("APPPOT_TEST_CACHE") and shared.exists() and shared.stat().st_uid == 0:
        return shared
    cache = make_tree.private(make_tree.cache_dir())
    target = cache / name
    if not target.exists():
        with open(cache / "lock-virtual", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                make(target, kernel)
    return target


def make(target: Path, kernel: str) -> None:
    tree = make_tree.tar(target.parent)
    print("tests.virtual: making the disk, once; this takes some minutes", file=sys.stderr)
    with scratch_directory(target.parent) as scratch:
        scratch.chmod(0o755)
        install_python_packages(scratch / "python")
        packages = install_packages(scratch, kernel)
        (scratch / "service").write_text(SERVICE)
        made = scratch / "made"
        made.mkdir(mode=0o755)
        step("the disk", [*namespace(), "sh", "-c", FURNISH, "sh", packages, tree, f"{make_tree.key()}-{UID}", scratch / "python",
                          scratch / "service", made],
             env=os.environ | {"PYTHON": PYTHON, "UID_INSIDE": str(UID), "ACCOUNT": ACCOUNT, "TREES": TREES, "SIZE": SIZE,
                               "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        for file in made.iterdir():
            file.chmod(0o644)
        made.rename(target)


def namespace() -> list[str]:
    """Before commands that work as root: nothing for root, else what gives one's own user that right over the new files."""
    return [] if os.getuid() == 0 else ["unshare", "--map-root-user", "--map-auto"]


@contextlib.contextmanager
def scratch_directory(parent: Path):
    """As TemporaryDirectory; what belongs to other users of the namespace is removed there."""
    path = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield path
    finally:
        subprocess.run([*namespace(), "rm", "-rf", path], check=False)


def install_python_packages(target: Path) -> None:
    """With the pip of this Python, for the Python of the suite."""
    platforms = [f"--platform=manylinux{version}_x86_64" for version in ("2014", "_2_17", "_2_28")]
    step("the Python packages", [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input", "--target",
                                 target, "--python-version", PYTHON, "--implementation", "cp", "--only-binary", ":all:", *platforms,
                                 *requirements()])


def sources(kernel: str) -> str:
    """As make_tree's, and the kernel's suite from the same archive."""
    found = make_tree.sources()
    first = found.split("\n\n")[0].splitlines()
    more = "" if kernel == make_tree.SUITE else "\n".join(f"Suites: {kernel}" if line.startswith("Suites:") else line for line in first) + "\n"
    return f"{found}\n{more}"


def install_packages(scratch: Path, kernel: str) -> Path:
    """The tar of the suite with PACKAGES, and a kernel of that suite or another one."""
    made, listing, hook = scratch / "packages.tar", scratch / "debian.sources", scratch / "hook"
    listing.write_text(sources(kernel))
    chosen, more = KERNEL, []
    if kernel != make_tree.SUITE:
        hook.write_text(f"#!/bin/sh\nKERNEL_SUITE={shlex.quote(kernel)}\n{OTHER_KERNEL}")
        hook.chmod(0o755)
        chosen, more = INITRAMFS, [f'--customize-hook={shlex.quote(str(hook))} "$1"']
    step("the packages", ["mmdebstrap", f"--mode={'root' if os.getuid() == 0 else 'unshare'}", "--variant=important",
                          f"--include={','.join([*PACKAGES, chosen])}", *more, *(f"--aptopt={line}" for line in make_tree.apt_settings()),
                          *(f"--dpkgopt=path-exclude={pattern}" for pattern in make_tree.LEFT_OUT),
                          "--aptopt=APT::Install-Recommends false", make_tree.SUITE, made, listing])
    return made


def step(what: str, command: list, **more) -> None:
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True, **more) as process:
        try:
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)         # apt as well; and wait: mmdebstrap removes what it has begun
            raise
    if process.returncode:
        raise SystemExit(f"tests.virtual: {what} could not be made: {shlex.join(map(str, command[:4]))} … ended with status "
                         f"{process.returncode}; see the lines above")
