"""Small images of every format, made by the tools that are meant for them."""

import os
import shutil
import struct
import subprocess
import uuid

import pytest

PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"
SECTOR = 512
OWNERS = {b"etc/shadow": (0, 42, 0o640), b"usr/bin/su": (0, 0, 0o4755), b"srv": (33, 34, 0o2775),
          b"srv/page": (100033, 65534, 0o604)}
NOT_UTF8 = b"caf\xe9 \x01\n"


def tool(name):
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def call(*words, **settings):
    done = subprocess.run([os.fspath(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, **settings)
    assert done.returncode == 0, done.stdout.decode(errors="replace")
    return done.stdout


def plant(top):
    """A tree with a bit of everything."""
    top = os.fsencode(top)
    for name in (b"bin", b"etc", b"usr/bin", b"srv", b"empty", b"many", b"deep/er/still"):
        os.makedirs(top + b"/" + name)
    contents = {b"etc/shadow": b"secret\n", b"usr/bin/su": b"\x7fELF no\n", b"srv/page": b"<p>\n", b"nothing": b"",
                b"etc/" + NOT_UTF8: b"odd name\n", b"block": bytes(range(256)) * 512,
                b"random": os.urandom(300_001), b"deep/er/still/file": b"x" * 70}
    contents.update({b"many/%03d" % number: b"%d\n" % number * number for number in range(300)})
    for name, data in contents.items():
        with open(top + b"/" + name, "wb") as file:
            file.write(data)
    with open(top + b"/sparse", "wb") as file:
        file.truncate(3_000_000)
        file.seek(1_000_000)
        file.write(b"in the middle")
        file.seek(2_999_999)
        file.write(b"!")
    os.link(top + b"/random", top + b"/deep/er/again")
    os.symlink(b"../etc/shadow", top + b"/srv/link")
    os.symlink(b"/" + b"long/" * 30 + b"end", top + b"/srv/long")
    os.mkfifo(top + b"/srv/pipe")
    try:
        os.setxattr(top + b"/srv/page", "user.mime", b"text/html")
        os.setxattr(top + b"/etc", "user.empty", b"")
    except OSError:
        pass
    for number, (directory, names, files) in enumerate(os.walk(top, topdown=False)):
        for name in files + [b"."]:
            os.utime(directory + b"/" + name, ns=(10 ** 18, (1_500_000_000 + number) * 10 ** 9), follow_symlinks=False)
    return top


def squashfs(source, image, *options):
    pseudo = ["dev d 755 0 0", "dev/null c 666 0 0 1 3", "dev/sda b 660 0 6 8 1025"]
    for name, (uid, gid, mode) in OWNERS.items():
        pseudo.append(f"{os.fsdecode(name)} m {mode:o} {uid} {gid}")
    words = [word for line in pseudo for word in ("-p", line)]
    call(tool("mksquashfs"), source, image, "-noappend", "-no-progress", "-b", "16384", *words, *options)
    return image


def ext(source, image, *options, size="24M"):
    image = os.fsdecode(image)
    if os.path.exists(image):
        os.unlink(image)
    call(tool("mke2fs"), "-q", "-F", "-N", "1000", "-d", source, *options, image, size)
    lines = ["mkdir dev", "cd dev", "mknod null c 1 3", "mknod sda b 8 1025", "cd /"]
    for name, (uid, gid, mode) in OWNERS.items():
        name = os.fsdecode(name)
        kind = 0o040000 if name == "srv" else 0o100000
        lines += [f"sif {name} uid {uid}", f"sif {name} gid {gid}", f"sif {name} mode 0{kind | mode:o}"]
    lines += ["ea_set usr/bin/su security.capability capable", "ea_set usr/bin/su user.small 1"]
    debugfs(image, *lines)
    return image


def debugfs(image, *lines):
    done = subprocess.run([tool("debugfs"), "-w", "-f", "-", os.fspath(image)], input="\n".join(lines).encode() + b"\n",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    return done.stdout


def partitioned(parts, image, label="dos", active=None):
    """A disk image with (sfdisk type, file or None) as partitions of the right size."""
    start, lines, places = 2048, [], []
    for number, (kind, file) in enumerate(parts, 1):
        size = (os.stat(file).st_size if file else 1 << 20) // SECTOR
        lines.append(f"start={start}, size={size}, type={kind}" + (", bootable" if number == active else ""))
        places.append((start, file))
        start += -(-size // 2048) * 2048
    with open(image, "wb") as out:
        out.truncate((start + 2048) * SECTOR)
    subprocess.run([tool("sfdisk"), "-q", os.fspath(image)], input=f"label: {label}\n" + "\n".join(lines) + "\n", text=True,
                   check=True, capture_output=True)
    with open(image, "r+b") as out:
        for start, file in places:
            if file:
                out.seek(start * SECTOR)
                with open(file, "rb") as data:
                    shutil.copyfileobj(data, out)
    return image


def sif(squash, image, *, kind=1, part=2, magic=b"SIF_MAGIC\0"):
    """A SIF image with a definition file and one partition."""
    data = open(squash, "rb").read()
    descriptor, size = 4096, 585
    offset = 8192

    def describe(datatype, number, at, length, extra=b""):
        return struct.pack("<i?III7q128s384s", datatype, True, number, 1 << 28, 0, at, length, length, 0, 0, 0, 0, b"",
                           extra)
    header = struct.pack("<32s10s3s3s16s8q", b"#!/usr/bin/env run-singularity\n", magic, b"01", b"02",
                         uuid.uuid4().bytes, 0, 0, 46, 48, descriptor, 48 * size, offset, len(data) + 10)
    table = describe(0x4001, 1, offset, 10) + describe(0x4004, 2, offset + 10, len(data),
                                                       struct.pack("<ii3s", kind, part, b"02"))
    with open(image, "wb") as file:
        file.write(header)
        file.seek(descriptor)
        file.write(table)
        file.seek(offset)
        file.write(b"bootstrap:" + data)
    return image


def uml_cow(backing, image, changed, *, named=None, mtime=None, version=3, sector=512, align=4096):
    """A COW file over `backing` in which the {sector number: 512 bytes} differ."""
    st = os.stat(backing)
    header = struct.pack(">4sIIQIII4096s", b"OOOM", version, int(st.st_mtime) if mtime is None else mtime, st.st_size,
                         sector, align, 0, os.fsencode(named or os.path.abspath(backing)))
    start = -(-len(header) // align) * align
    bitmap = bytearray(-(-(-(-st.st_size // sector)) // 8))
    data = -(-(start + len(bitmap)) // align) * align
    with open(image, "wb") as file:
        file.write(header)
        for number, contents in changed.items():
            bitmap[number >> 3] |= 1 << (number & 7)
            file.seek(data + number * sector)
            file.write(contents)
        file.seek(start)
        file.write(bitmap)
        file.truncate(max(os.fstat(file.fileno()).st_size, data + st.st_size))
    return image
