"""What options and commands of other container tools are called here, for the lines that refuse them.

The names are those of docker-run(1), podman-run(1), udocker, proot(1), apptainer and their kin. Imported only when something
is refused.
"""

_BIND = "say --bind HOST[:GUEST[:ro]]"
_WORKDIR = "say --workdir DIR"
_ROOT = "say --root"
_IMAGE = "say --image PATH"
_TERMINAL = "leave it out: a machine has its caller's terminal"
_COW = "say --cow DIR to keep what the run changes"
_BACKGROUND = "leave it out, and let the shell run it in the background: apppot-start ... &"
_HOST_NETWORK = "leave it out: the network is the host's"

#: Options of apppot-start. Those of one letter count with what is joined to them, too.
OPTIONS = {
    "-v": f"-v is --verbose; {_BIND}", "-/": f"-v is --verbose; {_BIND}",
    "-b": _BIND, "-B": _BIND, "--volume": _BIND, "--mount": _BIND,
    "-w": _WORKDIR, "--cwd": _WORKDIR, "--pwd": _WORKDIR, "--wd": _WORKDIR,
    "-e": "say --env K=V", "-u": "say --user NAME, or --root",
    "-0": _ROOT, "-S": _ROOT, "--fakeroot": _ROOT, "--privileged": _ROOT, "--cap-add": _ROOT,
    "-r": _IMAGE, "-R": _IMAGE, "--rootfs": _IMAGE,
    "-i": _TERMINAL, "-t": _TERMINAL, "--interactive": _TERMINAL, "--tty": _TERMINAL,
    "--rm": "leave it out: without --cow nothing is kept",
    "--writable": _COW, "--overlay": _COW, "--writable-tmpfs": "leave it out: all is writable, and thrown away at the end",
    "-m": "say --mem NUM[M|G]", "--memory": "say --mem NUM[M|G]",
    "--net": "say --network host|none", "--name": "say --id NAME",
    "-d": _BACKGROUND, "--detach": _BACKGROUND, "-p": _HOST_NETWORK, "--publish": _HOST_NETWORK,
}

_START = "say apppot start"
_BRING = "images are brought by other tools, like skopeo copy docker://debian:12 docker-archive:debian.tar"
_IN_IMAGE = "say apppot image {}"
_PROCESSES = "machines are processes of yours: say ps, or kill"

#: Commands of apppot.
COMMANDS = {
    "run": _START, "exec": _START, "shell": _START, "help": "say apppot --help",
    "pull": _BRING, "ps": _PROCESSES, "kill": _PROCESSES, "stop": _PROCESSES,
    "images": _IN_IMAGE.format("list"), "rmi": _IN_IMAGE.format("remove"), "load": _IN_IMAGE.format("import"),
} | {name: _IN_IMAGE.format(name) for name in ("build", "import", "export", "convert", "unpack", "commit", "inspect", "verify",
                                                "list", "remove")}

#: Commands of apppot image.
IMAGE_COMMANDS = {"pull": _BRING, "ls": "say apppot image list", "rm": "say apppot image remove"}
