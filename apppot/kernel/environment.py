"""The first process's environment: the caller's, less what names things of the host and what may be a secret.

The rule is documented in apppot-start(1).
"""

import os

from apppot.image.image import Config
from apppot.vfs import users
from apppot.vfs.caller import KERNEL

FILE = b"/etc/apppot/environment"       # what a built image says; NAME=VALUE lines
PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Variables whose values are host paths, sockets of the host, or settings of the host's own programs.
_LEFT_OUT = {b"HOME", b"USER", b"LOGNAME", b"USERNAME", b"MAIL", b"SHELL", b"PWD", b"OLDPWD", b"PATH", b"TMPDIR", b"TMP", b"TEMP",
             b"LD_LIBRARY_PATH", b"LD_PRELOAD", b"LD_AUDIT", b"PYTHONHOME", b"PYTHONPATH",
             b"PYTHONPYCACHEPREFIX", b"PYTHONSTARTUP", b"PYTHONUSERBASE", b"PERL5LIB", b"VIRTUAL_ENV",
             b"XDG_RUNTIME_DIR", b"XDG_CONFIG_HOME", b"XDG_CACHE_HOME", b"XDG_DATA_HOME", b"XDG_DATA_DIRS",
             b"XDG_CONFIG_DIRS", b"XDG_STATE_HOME", b"XAUTHORITY", b"KRB5CCNAME", b"NETRC",
             b"GIT_DIR", b"GIT_WORK_TREE", b"GIT_INDEX_FILE", b"PYENV_ROOT", b"PIP_CERT", b"PIP_FIND_LINKS",
             b"SSL_CERT_FILE", b"SSL_CERT_DIR", b"_"}
_LEFT_OUT_STARTS = (b"APPPOT_", b"BASH_FUNC_", b"SUDO_", b"SSH_", b"GPG_", b"DBUS_", b"AWS_", b"AZURE_", b"GOOGLE_",
                    b"VAULT_")

# A variable that has one of these words in its name, or one that ends so, may be a secret, and is passed on only by --env.
_SECRET_WORDS = {b"PASS", b"CREDS", b"JWT", b"COOKIE", b"COOKIES", b"AUTH", b"SOCK", b"SOCKET"}
_SECRET_ENDS = (b"TOKEN", b"TOKENS", b"SECRET", b"SECRETS", b"PASSWORD", b"PASSWD", b"PASSPHRASE", b"CREDENTIAL", b"CREDENTIALS",
                b"KEY", b"KEYS")
# What starts the processes of an MPI job tells them where they meet; mpirun, hydra and srun do so by these.
_OF_LAUNCHERS = (b"PMI_", b"PMIX_", b"OMPI_", b"PRTE_", b"HYDRA_", b"HYDI_", b"I_MPI_", b"MPI_")


# What an image may not say about a user that is not its own.
_OF_USERS = (b"HOME", b"USER", b"LOGNAME")


def path(machine, config):
    """Where the first program is looked for: the PATH of --env, else the image's, else the usual one."""
    return machine.env.get(b"PATH") or (config.env.get(b"PATH") if config is not None else None) or PATH


def recorded(ns):
    """The Config of an image that has no other: its variables are in a file of its own. None where there is none."""
    lines = [line.partition(b"=") for line in users.read_file(ns, KERNEL, FILE).splitlines()]
    variables = {name: value for name, equals, value in lines if name and equals and b"\0" not in name + value}
    return Config(variables) if variables else None


def is_passed_on(name):
    """Whether the caller's variable `name` goes to the guest by itself."""
    if name in _LEFT_OUT or name.startswith(_LEFT_OUT_STARTS):
        return False
    words = name.upper().split(b"_")
    return name.startswith(_OF_LAUNCHERS) or not any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDS) for word in words)


def make(machine, user, config=None, host_environment=None):
    """{name: value} for the guest user `user` (a vfs.users.User) of `machine`. config: the image's, or None."""
    environment = {}
    if not machine.clean_env:
        source = os.environb if host_environment is None else host_environment
        environment = {name: value for name, value in source.items()
                       if is_passed_on(name)}
    environment.update({b"PATH": PATH, b"HOME": user.home, b"USER": user.name, b"LOGNAME": user.name,
                        b"SHELL": user.shell})
    environment.setdefault(b"TERM", b"dumb")
    if config is not None:
        own = config.user is not None and machine.user is None and not machine.root
        environment.update({name: value for name, value in config.env.items() if own or name not in _OF_USERS})
    if machine.name is not None:
        environment[b"APPPOT_ID"] = os.fsencode(machine.name)
    environment.update(machine.env)
    return environment
