"""Writing an ext4 image: mke2fs fills it, run in a machine of ours."""

import os
import uuid

from apppot.errors import AppPotError
from apppot.image.progress import SILENT
from apppot.making.inside import TREE, run_tool, seen, tool

BLOCK, INODE = 4096, 256             # what mke2fs.conf has, too
JOURNAL = 4 << 20
SPARE = 64 << 20


def write(source, path, progress=SILENT, size=None, boot=False):
    """Write a Source as an ext4 image to `path`; lines for the user."""
    program = tool("mke2fs", "e2fsprogs")
    if boot:
        from apppot.making import bootable
        with bootable.added(source):
            return _write(source, path, program, size, progress)
    return _write(source, path, program, size, progress)


def _write(source, path, program, size, progress):
    count, content = source.measure()
    inodes = count + max(1024, count // 4) + 16
    least = content + content // 16 + inodes * INODE + (16 << 20)
    if size is None:
        size = least + content // 10 + SPARE
    elif size < least:
        raise AppPotError(f"the tree needs an image of {least >> 20} MiB; say a larger --size, or none")
    blocks = size // BLOCK
    words = [program, b"-q", b"-F", b"-t", b"ext4", b"-b", b"%d" % BLOCK, b"-I", b"%d" % INODE, b"-N", b"%d" % inodes, b"-J", b"size=%d" % (JOURNAL >> 20),
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
    progress.expect(content)
    run_tool(source, path, words, variables, _Growth(path, inodes * INODE + JOURNAL, content, progress).look)
    return []


class _Growth:
    """Tells of a growing image how much of the tree is in it. mke2fs makes the tables and the journal first."""

    def __init__(self, path, first, most, progress):
        self.path, self.first, self.most, self.progress = path, first, most, progress
        self.told = 0

    def look(self, data):
        there = min(os.stat(self.path).st_blocks * 512 - self.first, self.most)
        if there > self.told:
            self.progress.advance(there - self.told)
            self.told = there
