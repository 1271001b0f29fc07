"""The inode table: what Python writes, the stub's C reads as Ownership.attributes() would have it."""

import ctypes
import mmap
import os
import random
import struct
import subprocess
from types import SimpleNamespace

import pytest

from apppot.platform import inodes, tlb
from apppot.platform.layout import FAST_STATE, WINDOW_BASE
from apppot.platform.window import SIZE, Window
from apppot.stub import build
from apppot.vfs.caller import Caller
from apppot.vfs.ownership import KEEP, Ownership, Record, permitted

UID, GID = 1234, 4321
RECORD, MISS = 2, "miss"
STAT = struct.Struct("<QQQIIIxxxxQqqqqQqQqQ24x")        # struct stat of x86-64
MAP_FIXED_NOREPLACE = 0x100000
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_long
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
MODES = {tlb.PLAIN: Caller(uid=UID, gid=GID, virtual=False), tlb.ROOT: Caller(uid=0, gid=0, virtual=True)}


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """The stub's own code as a library."""
    made = tmp_path_factory.mktemp("code") / "inodes.so"
    subprocess.run([*build.compiler(), "-shared", "-fPIC", "-O2", "-o", made, f"{build.SOURCE}/inodes.c"], check=True)
    return ctypes.CDLL(str(made))


class Table:
    """A window with a table in it, mapped where guests have it, and the stub's view of it."""

    def __init__(self, path, code):
        self.code = code
        self.window = Window(os.fsencode(path))
        self.tlb = tlb.Tlb(self.window.memory, UID, GID)
        self.inodes = inodes.Inodes(self.window, self.tlb.now_recorded, self.tlb.switch_off)
        fd = os.open(path, os.O_RDONLY)
        self.maps = [self._map(WINDOW_BASE, SIZE, mmap.PROT_READ, mmap.MAP_SHARED, fd),
                     self._map(FAST_STATE, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)]
        os.close(fd)

    @staticmethod
    def _map(address, size, protection, flags, fd):
        made = LIBC.mmap(address, size, protection, flags | MAP_FIXED_NOREPLACE, fd, 0)
        assert made == address
        return address, size

    def close(self):
        for address, size in self.maps:
            LIBC.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
        self.window.close()

    def ask(self, st, mode=tlb.PLAIN, flags=0):
        """(what is shown, set of permitted masks, whether it may be opened), or MISS."""
        ctypes.c_uint32.from_address(FAST_STATE).value = mode
        raw = STAT.pack(st.st_dev, st.st_ino, st.st_nlink, st.st_mode, st.st_uid, st.st_gid, st.st_rdev, st.st_size, st.st_blksize,
                        st.st_blocks, 0, 1, st.st_mtime_ns // 10**9, st.st_mtime_ns % 10**9, 0, 2)
        buffer, found = ctypes.create_string_buffer(raw, 144), ctypes.create_string_buffer(64)
        has = self.code.recorded(ctypes.c_uint64(st.st_dev), ctypes.c_uint64(st.st_ino), flags, found)
        masks = {mask for mask in range(1, 6) if has == RECORD and self.code.permitted(found, buffer, mask)}
        can_open = has == RECORD and bool(self.code.openable(found, buffer))
        if not self.code.show_stat(buffer, flags):
            return MISS
        _, _, nlink, mode, uid, gid, rdev, _, _, blocks, _, _, seconds, nanoseconds, *_ = STAT.unpack_from(buffer.raw)
        return (uid, gid, mode, nlink, rdev, blocks, seconds * 10**9 + nanoseconds), masks, can_open

    def put(self, st, record):
        self.inodes.mark((st.st_dev, st.st_ino))
        self.inodes.put((st.st_dev, st.st_ino), record)


@pytest.fixture
def table(tmp_path, code):
    made = Table(tmp_path / "window", code)
    yield made
    made.close()


def status(ino, dev=65024, mode=0o100644, uid=UID, gid=GID):
    return SimpleNamespace(st_dev=dev, st_ino=ino, st_mode=mode, st_uid=uid, st_gid=gid, st_nlink=1, st_size=5, st_blksize=4096,
                           st_blocks=8, st_rdev=0, st_atime_ns=1, st_mtime_ns=1_700_000_000_123_456_789, st_ctime_ns=2)


def shown(st):
    return st.st_uid, st.st_gid, st.st_mode, st.st_nlink, st.st_rdev, st.st_blocks, st.st_mtime_ns


def record(rng, mode):
    """A record as layers and virtual root make them."""
    def or_keep(*numbers):
        return rng.choice([KEEP, *numbers])
    device = mode >> 12 == 8 and rng.random() < 0.2          # a regular file stands for it
    told = rng.choice([None, (rng.randrange(1, 5), rng.randrange(1 << 32), rng.choice([-1, 0, 999_999_999, -1_000_000_001,
                                                                                       rng.randrange(1 << 62)]))])
    made = Record(or_keep(0, UID, 65534), or_keep(0, GID, 5), or_keep(*[rng.randrange(0o10000) for _ in range(3)]), KEEP, told)
    if device:
        made.mode, made.rdev = 0o020000 | rng.randrange(0o1000), os.makedev(rng.randrange(4000), rng.randrange(1 << 20))
    made.whole, made.listed = rng.random() < 0.5, rng.random() < 0.3
    return made


@pytest.mark.parametrize("mode", [tlb.PLAIN, tlb.ROOT])
def test_what_is_shown_is_what_the_slow_path_shows(table, mode):
    rng = random.Random(mode)
    caller, ownership = MODES[mode], Ownership(uid=UID, gid=GID)
    for _ in range(2000):
        st = status(rng.randrange(1 << 48), mode=rng.choice([0o100644, 0o100600, 0o040755, 0o120777, 0o100755]),
                    uid=rng.choice([UID, 0]), gid=rng.choice([GID, 0]))
        told = None
        if rng.random() < 0.9:
            told = ownership.records[st.st_dev, st.st_ino] = record(rng, st.st_mode)
            table.put(st, told)
        seen = ownership.attributes(caller, st)
        answer, masks, can_open = table.ask(st, mode)
        assert answer == shown(seen)
        right = {mask for mask in range(1, 6) if told is not None and permitted(caller, seen, mask)}
        assert masks <= right and (mode == tlb.PLAIN or masks == right)
        assert not masks or mode == tlb.ROOT or not told.listed
        if can_open:
            assert os.R_OK in right and told.rdev == KEEP and (told.whole or st.st_mode >> 12 == 4)


def test_without_a_record(table):
    st = status(7)
    assert table.ask(st, flags=tlb.RECORDED)[0] == shown(st), "nothing has a record"
    table.put(status(8), Record(0, 0))
    assert table.ask(st)[0] == shown(st), "no record can be there"
    assert table.ask(st, flags=tlb.RECORDED) == MISS, "in a layer with records one may be"
    table.inodes.put_nothing((st.st_dev, st.st_ino))
    assert table.ask(st, flags=tlb.RECORDED)[0] == shown(st), "it is known that none is"


def test_changed_and_removed(table):
    st = status(7)
    table.put(st, Record(0, 0, 0o600))
    assert table.ask(st)[0][:3] == (0, 0, 0o100600)
    table.put(st, Record(5, 6, 0o711))
    assert table.ask(st)[0][:3] == (5, 6, 0o100711)
    assert (st.st_dev, st.st_ino) in table.inodes
    table.inodes.remove((st.st_dev, st.st_ino))
    assert table.ask(st) == MISS, "it is marked: only the supervisor knows"
    assert (st.st_dev, st.st_ino) not in table.inodes
    table.inodes.put_nothing((st.st_dev, st.st_ino))
    assert table.ask(st)[0] == shown(st)


def test_numbers_that_have_no_place_are_misses(table):
    for number, told in enumerate([(1 << 32, 0, 0), (1, 1 << 32, 0), (1, 0, 1 << 63)], 1):
        table.put(status(number), Record(0, 0))
        table.put(status(number), Record(0, 0, told=told))
        assert table.ask(status(number)) == MISS


def test_a_full_table_forgets_but_never_mixes_up(table):
    many = [status(number * 4096, dev=number % 3) for number in range(1, 1 << 17)]
    for st in many:
        table.put(st, Record(st.st_ino & 0xFFFF, st.st_dev))
    answers = [(st, table.ask(st)) for st in many]
    known = [(st, answer[0]) for st, answer in answers if answer is not MISS]
    assert len(known) > len(many) // 2
    assert all(answer[:2] == (st.st_ino & 0xFFFF, st.st_dev) for st, answer in known)


def test_a_directory_holds_for_one_generation(table):
    key = 1, 2
    assert not table.inodes.put_directory(key, table.tlb.generation, tlb.LISTABLE)
    table.inodes.put_nothing(key)
    assert not table.inodes.put_directory(key, table.tlb.generation, tlb.LISTABLE)
    table.put(status(2, dev=1, mode=0o040755), Record(0, 0))
    assert table.inodes.put_directory(key, table.tlb.generation, tlb.LISTABLE)
    assert table.ask(status(2, dev=1, mode=0o040755))[0][:3] == (0, 0, 0o040755)
