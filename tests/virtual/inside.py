"""What the virtual computer does, as root, when it is up: prepare file systems and a session, run pytest in it, switch off.

Started by the service of disk.py, with the checkout and job.json from the second disk. Needs the standard library only.
"""

import json
import os
import subprocess
import sys
import termios
import time
import traceback
from pathlib import Path

HERE = Path("/srv/apppot")
CHECKOUT = HERE / "checkout"
OUTPUT, STATUS = "/dev/ttyS1", "/dev/ttyS2"
PATIENCE = 300

# File systems of 1 GiB for the user, below /srv, each: type, how it is made, options of mount, and what gives the user a quota there.
LIMIT = "setquota -u {account} 0 65536 0 2000 {point}"
FILE_SYSTEMS = {
    "ext4": ("ext4", "mkfs.ext4 -q -O quota -E quotatype=usrquota", "usrquota", LIMIT),
    "xfs": ("xfs", "mkfs.xfs -q", "uquota", LIMIT),
    "btrfs": ("btrfs", "mkfs.btrfs -q", "", "btrfs quota enable {point} && btrfs qgroup limit 64M {point}"),
    "vfat": ("vfat", "mkfs.vfat -F 32", "uid={uid},gid={uid},umask=022,utf8", ""),
    "exfat": ("exfat", "mkfs.exfat", "uid={uid},gid={uid},umask=022", ""),
}


def call(command: str) -> None:
    done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{command}: status {done.returncode}: {done.stdout}")


def make_file_systems(account: str, uid: int) -> None:
    for name, (kind, make, options, quota) in FILE_SYSTEMS.items():
        image, point = f"/srv/{name}.img", f"/srv/{name}"
        names = {"account": account, "uid": uid, "point": point}
        call(f"truncate -s 1G {image} && {make} {image} && mkdir -p {point}")
        call(f"mount -t {kind} -o loop,nosuid,nodev{',' * bool(options)}{options.format(**names)} {image} {point}")
        if kind not in ("vfat", "exfat"):
            call(f"chown {uid}:{uid} {point}")
        if quota:
            call(quota.format(**names))


def open_session(account: str, uid: int) -> dict[str, str]:
    """Starts the user's systemd; the variables that lead to it."""
    call(f"loginctl enable-linger {account}")
    bus = f"/run/user/{uid}/bus"
    end = time.monotonic() + PATIENCE
    while not os.path.exists(bus):
        if time.monotonic() > end:
            raise SystemExit(f"systemd has not started a session for {account}: no {bus}")
        time.sleep(0.2)
    return {"XDG_RUNTIME_DIR": f"/run/user/{uid}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}"}


def run_tests(job: dict, output) -> int:
    account, uid = job["account"], job["uid"]
    make_file_systems(account, uid)
    environment = {"HOME": f"/home/{account}", "USER": account, "LOGNAME": account, "SHELL": "/bin/bash", "LANG": "C.UTF-8",
                   "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
                   **open_session(account, uid), **job["environment"]}
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups"]
    subprocess.run([*user, sys.executable, "-m", "apppot.stub.build"], cwd=CHECKOUT, env=environment, check=True, stdout=subprocess.DEVNULL)
    uptime = Path("/proc/uptime").read_text().split(".")[0]
    output.write(f"Linux {os.uname().release}, {os.cpu_count()} processors, ready after {uptime} s\n".encode())
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *job["arguments"]]
    with subprocess.Popen([*user, "systemd-run", "--user", "--scope", "--quiet", *pytest], cwd=CHECKOUT, env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while said := process.stdout.read1():          # a pipe, since on a terminal pytest writes its lines over and over
            output.write(said)
    return process.returncode


def main() -> None:
    status = 125
    with open(OUTPUT, "wb", 0) as output:
        settings = termios.tcgetattr(output)
        settings[1] &= ~termios.OPOST
        termios.tcsetattr(output, termios.TCSANOW, settings)
        try:
            status = run_tests(json.loads((HERE / "job.json").read_text()), output)
        except SystemExit as error:
            output.write(f"tests.virtual: {error}\n".encode())
        except Exception:
            output.write(traceback.format_exc().encode())
        finally:
            termios.tcdrain(output)
            with open(STATUS, "w") as file:
                file.write(f"{status}\n")
                file.flush()
                termios.tcdrain(file)
            os.sync()
            subprocess.run(["systemctl", "poweroff", "--force", "--force"], check=False)


if __name__ == "__main__":
    main()
