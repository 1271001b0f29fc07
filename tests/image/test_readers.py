"""What the readers say of images, compared with the tree that the images were made of."""

import os
import struct
from stat import S_IFMT, S_ISBLK, S_ISCHR, S_ISDIR, S_ISLNK, S_ISREG

import pytest

from apppot.errors import AppPotError
from apppot.image import detect
from tests.image import images

EXT = [("-t", "ext2"), ("-t", "ext3"), ("-t", "ext4"), ("-t", "ext2", "-b", "1024"), ("-t", "ext3", "-b", "4096"),
       ("-t", "ext2", "-I", "128"), ("-t", "ext2", "-r", "0"), ("-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"),
       ("-t", "ext4", "-O", "inline_data", "-I", "512"), ("-t", "ext4", "-O", "bigalloc"),
       ("-t", "ext4", "-O", "^64bit,^flex_bg,^metadata_csum"), ("-t", "ext4", "-O", "^filetype"),
       ("-t", "ext4", "-O", "ea_inode,large_dir,metadata_csum_seed"), ("-t", "ext4", "-O", "^extents,^64bit")]


def tree(reader):
    """{name: (Inode, contents, target or None)} of a whole image."""
    found = {}
    todo = [(b"", reader.root)]
    while todo:
        above, directory = todo.pop()
        for name, inode in reader.entries(directory):
            name = above + name
            data = None
            if S_ISDIR(inode.mode):
                todo.append((name + b"/", inode))
            elif S_ISLNK(inode.mode):
                data = reader.readlink(inode)
            elif S_ISREG(inode.mode):
                data = bytearray(inode.size)
                for at, chunk in reader.chunks(inode):
                    data[at:at + len(chunk)] = chunk
            found[name] = inode, data
    return found


def compare(image, source, exact_sizes=True):
    with detect.open_reader(detect.detect(image)) as reader:
        found = tree(reader)
        names = set()
        for directory, below, files in os.walk(source):
            for name in below + files:
                path = os.path.join(directory, name)
                name = os.path.relpath(path, source)
                names.add(name)
                st = os.lstat(path)
                inode, data = found[name]
                assert S_IFMT(inode.mode) == S_IFMT(st.st_mode), name
                assert inode.mtime_ns // 10 ** 9 == st.st_mtime_ns // 10 ** 9 or name in images.OWNERS, name
                assert 0 < inode.number <= reader.inodes
                if S_ISLNK(st.st_mode):
                    assert data == os.readlink(path)
                elif S_ISREG(st.st_mode):
                    expected = open(path, "rb").read()
                    assert data == (expected if exact_sizes else expected[:len(data)]), name
                    assert inode.nlink == st.st_nlink
                if name in images.OWNERS:
                    assert (inode.uid, inode.gid, inode.mode & 0o7777) == images.OWNERS[name]
        assert names == set(found) - {b"dev", b"dev/null", b"dev/sda", b"lost+found"}
        assert found[b"random"][0].number == found[b"deep/er/again"][0].number
        null, sda = found[b"dev/null"][0], found[b"dev/sda"][0]
        assert S_ISCHR(null.mode) and null.rdev == os.makedev(1, 3)
        assert S_ISBLK(sda.mode) and sda.rdev == os.makedev(8, 1025)
        sparse = found[b"sparse"][0]
        assert sum(len(chunk) for _, chunk in reader.chunks(sparse)) <= 64 << 10, "holes are holes"
        assert sparse.blocks * 512 <= 64 << 10
        return {name: reader.xattrs(inode) for name, (inode, _) in found.items()}


def have_xattrs(source):
    try:
        return os.getxattr(source + b"/srv/page", "user.mime") == b"text/html"
    except OSError:
        return False


@pytest.mark.parametrize("options", EXT, ids=" ".join)
def test_ext(source, tmp_path, options):
    image = images.ext(source, tmp_path / "image", *options)
    xattrs = compare(image, source, "inline_data" not in options)    # mke2fs -d cuts sparse files there
    if "-r" in options:                                              # revision 0 has none
        return
    assert xattrs[b"usr/bin/su"] == {"security.capability": b"capable", "user.small": b"1"}
    if have_xattrs(source):
        assert xattrs[b"srv/page"] == {"user.mime": b"text/html"}
        assert xattrs[b"etc"] == {"user.empty": b""}


@pytest.mark.parametrize("compressor", ["gzip", "xz", "zstd", "lz4", "lzo", "lzma"])
def test_squashfs(source, tmp_path, compressor):
    if compressor in ("lz4", "lzo"):
        pytest.importorskip(compressor)
    image = images.squashfs(source, tmp_path / "image", "-comp", compressor)
    xattrs = compare(image, source)
    if have_xattrs(source):
        assert xattrs[b"srv/page"] == {"user.mime": b"text/html"}
        assert xattrs[b"etc"] == {"user.empty": b""}


@pytest.mark.parametrize("options", [("-no-fragments",), ("-noI", "-noD", "-noF", "-noX"), ("-always-use-fragments",),
                                     ("-no-exports",), ("-no-sparse",), ("-nopad",)], ids=" ".join)
def test_squashfs_with_options(source, tmp_path, options):
    image = images.squashfs(source, tmp_path / "image", *options)
    if options == ("-no-sparse",):
        with pytest.raises(AssertionError, match="holes"):
            compare(image, source)
    else:
        compare(image, source)


def test_many_extended_attributes(tmp_path, extended_attributes):
    (tmp_path / "tree").mkdir()
    for number in range(700):
        path = tmp_path / "tree" / str(number)
        path.touch()
        os.setxattr(path, "user.number", b"%d" % number * 9)
    images.call(images.tool("mksquashfs"), tmp_path / "tree", tmp_path / "image", "-noappend", "-no-progress")
    with detect.open_reader(detect.detect(tmp_path / "image")) as reader:
        for name, inode in reader.entries(reader.root):
            assert reader.xattrs(inode) == {"user.number": name * 9}


def test_a_large_block_mapped_file(tmp_path):
    """With holes in it where whole indirect blocks would be: triple indirection at 1 KiB blocks starts at 64 MiB."""
    (tmp_path / "tree").mkdir()
    with open(tmp_path / "tree" / "file", "wb") as file:
        for at in (0, 13 << 10, 300 << 10, 5 << 20, 66 << 20, 90 << 20):
            file.seek(at)
            file.write(os.urandom(5000))
    images.call(images.tool("mke2fs"), "-q", "-t", "ext2", "-b", "1024", "-d", tmp_path / "tree", tmp_path / "image", "8M")
    with detect.open_reader(detect.detect(tmp_path / "image")) as reader:
        assert tree(reader)[b"file"][1] == (tmp_path / "tree" / "file").read_bytes()


@pytest.mark.parametrize("options", [("-t", "ext3", "-O", "^metadata_csum"), ("-t", "ext4"), ("-t", "ext4", "-O", "^64bit")],
                         ids=" ".join)
def test_the_journal_of_an_image_that_was_not_unmounted(source, tmp_path, options):
    image = images.ext(source, tmp_path / "image", "-b", "1024", *options)
    block = int(images.call(images.tool("debugfs"), "-R", "bmap random 3", image).split()[-1])
    new = b"\xc0\x3b\x39\x98" + os.urandom(1020)       # starts as blocks of the journal itself do
    (tmp_path / "block").write_bytes(new)
    (tmp_path / "revoked").write_bytes(bytes(1024))
    images.debugfs(image, "jo", f"jw -b {block} {tmp_path}/block", "jc",
                   "jo", f"jw -b {block + 1} {tmp_path}/revoked", "jc", "jo", f"jw -r {block + 1}", "jc")
    old = (open(source + b"/random", "rb")).read()
    expected = old[:3072] + new + old[4096:]
    with detect.open_reader(detect.detect(image)) as reader:
        assert reader.newer
        assert tree(reader)[b"random"][1] == expected
    images.subprocess.run([images.tool("e2fsck"), "-fy", image], capture_output=True, check=False)
    with detect.open_reader(detect.detect(image)) as reader:
        assert not reader.newer
        assert tree(reader)[b"random"][1] == expected


@pytest.mark.parametrize("feature, name", [(0x1, "compression"), (0x10000, "encrypt"), (0x8, "journal_dev"),
                                           (0x80000000, "incompat 0x80000000")])
def test_a_feature_that_is_not_supported_is_named(ext4, tmp_path, feature, name):
    data = bytearray(open(ext4, "rb").read())
    old, = struct.unpack_from("<I", data, 0x460)
    struct.pack_into("<I", data, 0x460, old | feature)
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(AppPotError, match=f"ext4 feature {name} is not supported"):
        detect.open_reader(detect.detect(tmp_path / "image"))


def test_a_compressor_that_is_not_supported_is_named(squash, tmp_path):
    data = bytearray(open(squash, "rb").read())
    struct.pack_into("<H", data, 20, 9)
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(AppPotError, match="method 9 is not supported"):
        detect.open_reader(detect.detect(tmp_path / "image"))
