"""Boot the virtual computer with a checkout, and pass on what its tests say."""

import json
import os
import select
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.virtual import disk

LEFT_OUT = {".git", ".work", ".ci-work", "build", "__pycache__", ".pytest_cache", ".hypothesis"}
COMMAND_LINE = "root=/dev/vda rw console=ttyS0 quiet panic=-1 systemd.show_status=no"
QEMU = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-display", "none", "-monitor", "none",
        "-nic", "none", "-no-reboot"]
FIRMWARE = 5  # seconds that it may take to begin
LAST_LINES = 30  # of the kernel's console, when the computer ended by itself


def run(job: dict, *, kernel: str, memory: int, processors: int, seconds: int, append: str, tcg: bool) -> int:
    """The exit status of the job; 124: it took longer than `seconds`. job: what inside.py reads. memory: MiB."""
    place = disk.directory(kernel)
    with tempfile.TemporaryDirectory(prefix="apppot-virtual-") as directory:
        scratch = Path(directory)
        pack(scratch / "job.tar", job)
        command = [*QEMU, "-accel", "tcg,thread=multi" if tcg or not kvm_works() else "kvm", "-smp", str(processors), "-m", str(memory),
                   "-kernel", place / "vmlinuz", "-initrd", place / "initrd", "-append", f"{COMMAND_LINE} {append}".strip(),
                   "-drive", f"file={place}/disk.img,if=virtio,format=raw,snapshot=on",
                   "-drive", f"file={scratch}/job.tar,if=virtio,format=raw,read-only=on",
                   "-serial", f"file:{scratch}/console", "-serial", "stdio", "-serial", f"file:{scratch}/status"]
        with subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                print(f"tests.virtual: not done after {seconds} seconds (--timeout)", file=sys.stderr)
                return 124
            finally:
                process.kill()
        return status(scratch, process.returncode)


def kvm_works() -> bool:
    """Whether the firmware says its first word there: a /dev/kvm may lack what a computer needs, inside of another one above all."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    command = [*QEMU, "-accel", "kvm", "-m", "128", "-global", "isa-debugcon.iobase=0x402", "-debugcon", "stdio"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            said, _, _ = select.select([process.stdout], [], [], FIRMWARE)
            return bool(said and process.stdout.read(1))
        finally:
            process.kill()


def status(scratch: Path, ended: int) -> int:
    said = (scratch / "status").read_text(errors="replace") if (scratch / "status").exists() else ""
    if said.strip().isdigit():
        return int(said)
    console = (scratch / "console").read_text(errors="replace").splitlines() if (scratch / "console").exists() else []
    print(f"tests.virtual: the computer ended (qemu's status {ended}) before the tests did; its console's last lines:", file=sys.stderr)
    print("\n".join(console[-LAST_LINES:]), file=sys.stderr)
    return 125


def pack(target: Path, job: dict) -> None:
    """The second disk, a tar: job.json, and the checkout as it is now."""
    def ours(member):
        if LEFT_OUT & set(member.name.split("/")) or member.name.endswith(".egg-info"):
            return None
        member.uid = member.gid = disk.UID
        member.uname = member.gname = disk.ACCOUNT
        return member

    with tarfile.open(target, "w") as archive:
        listing = target.with_name("job.json")
        listing.write_text(json.dumps(job))
        archive.add(listing, "job.json")
        archive.add(disk.SOURCE, "checkout", filter=ours)
