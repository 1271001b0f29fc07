"""Listings of directories with cookies that stay the same for the whole run."""

from bisect import bisect_right
import os
from stat import S_IFDIR, S_IFLNK, S_IFREG

DT_DIR, DT_LNK, DT_REG = S_IFDIR >> 12, S_IFLNK >> 12, S_IFREG >> 12


def scan(host):
    """The entries of a host directory: list of (name, ino, d_type), without "." and ".."."""
    found = []
    with os.scandir(host) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                kind = DT_REG
            elif entry.is_dir(follow_symlinks=False):
                kind = DT_DIR
            elif entry.is_symlink():
                kind = DT_LNK
            else:
                try:
                    kind = entry.stat(follow_symlinks=False).st_mode >> 12
                except FileNotFoundError:
                    continue
            found.append((entry.name, entry.inode(), kind))
    return found


class Listing:
    """The cookies of one directory: each name gets one, ever larger, when it is first seen, and keeps it.

    So an entry is never shown twice or left out while others come and go. `snapshot` is what exists, by cookie, or
    None when that must be asked anew.
    """

    FIRST = 3  # 1 and 2 are "." and ".."

    __slots__ = ("cookies", "next", "snapshot")

    def __init__(self):
        self.cookies = {}
        self.next = self.FIRST
        self.snapshot = None

    def refresh(self, entries):
        cookies = self.cookies
        snapshot = []
        for name, ino, kind in entries:
            cookie = cookies.get(name)
            if cookie is None:
                cookie = cookies[name] = self.next
                self.next += 1
            snapshot.append((cookie, name, ino, kind))
        snapshot.sort()
        self.snapshot = snapshot
        if len(cookies) > 2 * len(snapshot) + 1000:
            self.cookies = {name: cookie for cookie, name, ino, kind in snapshot}

    def after(self, cookie):
        """Entries (name, ino, d_type, cookie) behind `cookie`."""
        snapshot = self.snapshot
        for index in range(bisect_right(snapshot, (cookie, b"\xff" * 256)), len(snapshot)):
            mine, name, ino, kind = snapshot[index]
            yield name, ino, kind, mine
