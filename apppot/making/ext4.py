"""Writing an ext4 image: mke2fs fills it, run in a machine of ours."""

import uuid

from apppot.errors import AppPotError
from apppot.image.progress import SILENT
from apppot.making.inside import TREE, run_tool, seen, tool

BLOCK = 4096
SPARE = 64 << 20


def write(source, path, progress=SILENT, size=None, boot=False):
    """Write a Source as an ext4 image to `path`; lines for the user."""
    program = tool("mke2fs", "e2fsprogs")
    if boot:
        from apppot.making import bootable
        with bootable.added(source):
            return _write(source, path, program, size)
    return _write(source, path, program, size)


def _write(source, path, program, size):
    count, content = source.measure()
    inodes = count + max(1024, count // 4) + 16
    least = content + content // 16 + inodes * 256 + (16 << 20)
    if size is None:
        size = least + content // 10 + SPARE
    elif size < least:
        raise AppPotError(f"the tree needs an image of {least >> 20} MiB; say a larger --size, or none")
    blocks = size // BLOCK
    words = [program, b"-q", b"-F", b"-t", b"ext4", b"-b", b"%d" % BLOCK, b"-N", b"%d" % inodes, b"-J", b"size=4",
             b"-m", b"0", b"-E", b"lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0", b"-d", TREE]
    variables = {b"MKE2FS_SYNC": b"0"}
    if source.newest is not None:
        name = uuid.uuid5(uuid.NAMESPACE_URL, "apppot:%d:%d:%d" % (source.newest, blocks, count))
        words[-2:-2] = [b"-U", str(name).encode()]
        words[words.index(b"-E") + 1] += b",hash_seed=" + str(name).encode()
        variables[b"E2FSPROGS_FAKE_TIME"] = variables[b"SOURCE_DATE_EPOCH"] = b"%d" % max(source.newest, 1)
    words += [seen(path), b"%d" % blocks]
    with open(path, "wb") as file:
        file.truncate(blocks * BLOCK)
    run_tool(source, path, words, variables)
    return []
