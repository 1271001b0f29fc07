"""What the processes of a machine use of the host: memory, and space on disk. From proc(5), no root needed."""

import os
import stat

_BLOCK = 512                               # of st_blocks, stat(2)
_OWN = (b"RssAnon:", b"RssShmem:", b"VmSwap:")


def name(tgid):
    """What a process calls itself, fit to be shown on a terminal: it may call itself anything."""
    try:
        with open(f"/proc/{tgid}/comm", errors="backslashreplace", newline="") as file:
            text = file.read().removesuffix("\n")
    except OSError:
        return "ended"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


# -- memory

def most_memory(tgid):
    """Bytes of memory that process `tgid` uses and that no file on disk holds; what several share counts in each."""
    total = 0
    try:
        with open(f"/proc/{tgid}/status", "rb", buffering=0) as file:
            for line in file.read().splitlines():
                if line.startswith(_OWN):
                    total += int(line.split()[1])
    except OSError:
        return 0
    return total << 10


def share_of_memory(tgid, devices, known):
    """The same, but of what several processes have in common only this one's share (smaps of proc(5)).

    Files that are held by memory alone have one of `devices`; those in `known` count elsewhere. Both as smaps_key() gives them.
    """
    found = {}
    try:
        with open(f"/proc/{tgid}/smaps_rollup", "rb", buffering=0) as file:
            for line in file.read().splitlines()[1:]:
                key, value = line.split()[:2]
                found[key] = int(value) << 10
    except (OSError, ValueError):
        return 0
    private = found.get(b"Pss_Anon:", found.get(b"Pss:", 0)) + found.get(b"SwapPss:", 0)   # Pss_Anon: from Linux 5.4 on
    return private + _shared_memory(tgid, devices, known)


def _shared_memory(tgid, devices, known):
    total, counts = 0, False
    try:
        with open(f"/proc/{tgid}/smaps", "rb") as file:
            for line in file:
                fields = line.split(None, 5)
                if not fields[0].endswith(b":"):            # start-end perms offset dev inode
                    key = fields[3], int(fields[4])
                    counts = key[0] in devices and key not in known
                elif counts and fields[0] == b"Pss:":
                    total += int(fields[1])
    except (OSError, ValueError, IndexError):
        pass
    return total << 10


def smaps_key(status):
    """(device, inode) of an os.stat_result, as smaps writes them."""
    return b"%02x:%02x" % (os.major(status.st_dev), os.minor(status.st_dev)), status.st_ino


# -- files

def tree(path):
    """{(st_dev, st_ino): os.stat_result} of all that is in a host directory."""
    found = {}
    waiting = [path]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue                            # removed since
                    found[status.st_dev, status.st_ino] = status
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
        except OSError:
            continue
    return found


def size(status):
    """Bytes of disk or memory that a file takes."""
    return status.st_blocks * _BLOCK


def nameless_files(tgids):
    """{(st_dev, st_ino): os.stat_result} of the regular files without a name that the processes have open."""
    found = {}
    for tgid in tgids:
        directory = f"/proc/{tgid}/fd"
        try:
            numbers = os.listdir(directory)
        except OSError:
            continue
        for number in numbers:
            try:
                status = os.stat(f"{directory}/{number}")
            except OSError:
                continue
            if not status.st_nlink and stat.S_ISREG(status.st_mode):
                found[status.st_dev, status.st_ino] = status
    return found
