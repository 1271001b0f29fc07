"""Writing a squashfs image: mksquashfs, run in a machine of ours."""

import re

from apppot.image.progress import SILENT
from apppot.making.inside import TREE, run_tool, seen, tool

_DONE = re.compile(rb"\] +(\d+)/(\d+) +\d+%")           # of files, and blocks of files; the tree was read before
_LEFT_OUT = b"Unrecognised xattr prefix system.posix_acl"


def write(source, path, progress=SILENT):
    """Write a Source as a squashfs image to `path`; lines for the user."""
    program = tool("mksquashfs", "squashfs-tools")
    words = [program, TREE, seen(path), b"-noappend", b"-progress", b"-quiet", b"-comp", b"gzip",
             b"-Xcompression-level", b"6"]
    variables = {} if source.newest is None else {b"SOURCE_DATE_EPOCH": b"%d" % source.newest}
    heard = _Heard(progress)
    run_tool(source, path, words, variables, heard.hear)
    if heard.lists:
        return [f"{heard.lists} access control lists were left out: squashfs has none"]
    return []


class _Heard:
    """What mksquashfs says, as it comes."""

    def __init__(self, progress):
        self.progress = progress
        self.rest = b""
        self.total = self.told = self.lists = 0

    def hear(self, data):
        *lines, self.rest = re.split(rb"[\r\n]", self.rest + data)
        for line in lines:
            self.lists += line.startswith(_LEFT_OUT)
            found = _DONE.search(line)
            if found is None:
                continue
            done, total = map(int, found.groups())
            if total != self.total:
                self.total = total
                self.progress.expect(total)
            if done > self.told:
                self.progress.advance(done - self.told)
                self.told = done
