# Sourced by ./try-it and ./run-tests: packages, a private Python environment, AppPot in it.
# Sets: $base (where all of it lives), $source (what is installed), $python (of the environment); run_as (runs a
# command as an ordinary user: root's own rights are never used for guests).

umask 022
program=${0##*/}
account=apppot-tests                # the ordinary user that stands in for root

say() { echo "$program: $*" >&2; }
die() { say "$*"; exit 1; }
am_root() { [ "$(id -u)" -eq 0 ]; }

# Every package from outside Python's registry, and what it is for.
packages_to_run='
gcc                compiles the stub
libc6-dev          C headers, for the example that compiles a program
python3-venv       the private environment
'
packages_to_test='
acl                sets access control lists in guests
bubblewrap         a peer that the benchmarks compare with
busybox-static     a guest program without a C library to load
debian-archive-keyring  lets mmdebstrap and debootstrap check what they get
debootstrap        makes the system that an image begins with where mmdebstrap is missing
e2fsprogs          makes ext2/3/4 images, and reads them again with debugfs
fdisk              makes disk images with partitions
git                a real program that the tests run
liblzo2-dev        python-lzo is compiled with it, which reads squashfs images
libpython3-dev     and with this
make               builds a Debian package inside a guest
mmdebstrap         makes the Debian root tree that guests run in
musl-tools         guest programs with another C library
proot              a peer that the benchmarks compare with
skopeo             copies the OCI archives that AppPot writes
squashfs-tools     makes squashfs images
uidmap             lets an ordinary user make the tree of the guests in a user namespace
umoci              makes OCI images, and unpacks those that AppPot writes
user-mode-linux    boots an ext4 image that AppPot writes
zstd               compresses a tar archive
'
# For the tests on a real ARC site and a real Slurm cluster, which only root can start.
packages_for_site='
mpich              its mpirun starts a machine for each rank
munge              authenticates the daemons of Slurm
nordugrid-arc-arcctl            enables the runtime environment
nordugrid-arc-arex              the computing element
nordugrid-arc-client            arcsub, arcstat, arcget, arckill
nordugrid-arc-plugins-arcrest   the client speaks the REST interface
nordugrid-arc-plugins-needed    staging over HTTP
nordugrid-arc-test-utils        a certificate authority for tests
openssl            looks at certificates
procps             the scripts of A-REX use ps
slurm-client       sbatch, squeue, scancel
slurmctld          the controller of Slurm
slurmd             the node of Slurm
time               A-REX measures jobs with it
'

# A package isn't asked for where its work can be done without it.
have() {
    case $1 in
    gcc) command -v cc >/dev/null ;;
    libc6-dev) [ -e /usr/include/stdio.h ] ;;
    python3-venv) find_python ;;
    *) dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$' ;;
    esac
}

# First Python from 3.11 on that can make environments, → $system_python. The system's own comes first: others
# may lie in a home directory that the ordinary user can't read.
find_python() {
    for system_python in ${PYTHON:-} /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
        "$system_python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1 && return 0
    done
    return 1
}

# need LIST: install what is missing of it, or say what to install.
need() {
    missing=
    for package in $(echo "$1" | sed 's/ .*//'); do
        have "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    remedy="please run: apt-get update && apt-get install --no-install-recommends$missing"
    command -v apt-get >/dev/null || die "packages are missing, and this is no Debian:$missing"
    if am_root; then
        as_root=
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=sudo
    else
        die "packages are missing, and only root may install them; $remedy"
    fi
    say "installing$missing"
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 ${apt_options:-}"
    { $apt update && $apt install -y --no-install-recommends $missing; } >&2 </dev/null || die "that failed; $remedy"
    for package in $missing; do
        have "$package" || die "$package is installed and does not do its work; Python must be 3.11 or newer (Debian 12)"
    done
}

# need_without_starting LIST: as need, but no daemon of the packages is started, and no manual pages are indexed, which takes
# minutes.
need_without_starting() {
    policy=/usr/sbin/policy-rc.d
    if [ -e $policy ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; fi
    status=0
    (apt_options='-o DPkg::Options::=--path-exclude=/usr/share/man/*'; need "$1") || status=$?
    [ -z "$policy" ] || rm -f "$policy"
    return $status
}

make_account() {
    id "$account" >/dev/null 2>&1 && return 0
    say "making the system user $account, so that nothing runs as root (remove it with: userdel $account)"
    useradd --system --user-group --no-create-home --home-dir "$base/home" --shell /bin/sh "$account" ||
        die "can't make the user $account; run this script as an ordinary user"
}

copy_checkout() {
    rm -rf "$base/src.new"
    mkdir -p "$base/src.new"
    (cd "$checkout" && tar -cf - --exclude=./.git --exclude=./.work --exclude=./build --exclude=__pycache__ \
        --exclude='*.egg-info' .) | (cd "$base/src.new" && tar -xf - --no-same-owner)
    rm -rf "$base/src"
    mv "$base/src.new" "$base/src"
    chmod -R u+rwX,go+rX "$base/src"
    if am_root; then chown -R "$account:" "$base/src"; fi
}

choose_places() {
    checkout=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
    if am_root; then
        base=/var/lib/apppot-tests
        mkdir -p "$base/home"
        make_account
        chown "$account:" "$base/home"
        copy_checkout
        source=$base/src
    elif [ -w "$checkout" ]; then
        base=$checkout/.work
        mkdir -p "$base" || die "can't write $base"
        source=$checkout
    else
        base=${XDG_CACHE_HOME:-$HOME/.cache}/apppot-tests
        mkdir -p "$base" || die "can't write $base"
        copy_checkout
        source=$base/src
    fi
}

install_apppot() {
    find_python || die "no Python 3.11 with venv; please run: apt-get install python3-venv"
    pip="$base/venv/bin/pip --disable-pip-version-check install --no-input --quiet"
    python=$base/venv/bin/python
    wanted=$({ cat "$source/pyproject.toml" "$source/setup.py"; "$system_python" -VV; } | cksum)
    code=$(cd "$source" && find apppot pyproject.toml setup.py README.md -type f ! -name '*.pyc' ! -name apppot-stub \
        -exec cksum {} + | LC_ALL=C sort | cksum)
    if ! "$python" -c '' 2>/dev/null || [ "$(cat "$base/wanted" 2>/dev/null)" != "$wanted" ]; then
        say "making a Python environment in $base/venv"
        rm -rf "$base/venv" "$base/wanted" "$base/code"
        "$system_python" -m venv "$base/venv" || die "that failed; please run: apt-get install python3-venv"
        $pip 'setuptools>=70.1' || die "pip can't reach its registry; see the lines above"
        rm -rf "$source/build"
        $pip --no-build-isolation "${source}[test]" || die "AppPot was not installed; see the lines above"
        echo "$wanted" >"$base/wanted"
        echo "$code" >"$base/code"
    elif [ "$(cat "$base/code" 2>/dev/null)" != "$code" ]; then
        rm -rf "$source/build" "$base/code"
        $pip --no-build-isolation --no-deps --force-reinstall "$source" ||
            die "AppPot was not installed; see the lines above"
        echo "$code" >"$base/code"
    fi
    (cd "$source" && PYTHONDONTWRITEBYTECODE=1 "$python" -m apppot.stub.build >/dev/null)
}

# What squashfs images compressed with lzo need; it comes as source only.
install_lzo() {
    "$python" -c 'import lzo' 2>/dev/null && return 0
    rm -rf "$source/build"
    $pip --no-build-isolation "$source[lzo]" || die "python-lzo was not installed; see the lines above"
}

# Run a command as an ordinary user with the environment first on its PATH.
run_as() {
    if am_root; then
        command -v setpriv >/dev/null || die "please run: apt-get install util-linux"
        setpriv --reuid="$account" --regid="$account" --init-groups \
            env -u XDG_RUNTIME_DIR -u XDG_CACHE_HOME -u TMPDIR -u MAIL -u SUDO_USER -u SUDO_UID -u SUDO_GID \
            HOME="$base/home" USER="$account" LOGNAME="$account" SHELL=/bin/sh \
            PATH="$base/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin" "$@"
    else
        env PATH="$base/venv/bin:$PATH" "$@"
    fi
}

set_up() {
    need "$1"
    choose_places
    install_apppot
}
