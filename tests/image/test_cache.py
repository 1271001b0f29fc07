"""What the cache holds of lazily filled images: listing, removing, verifying; unpacking whole images."""

import os
import shutil
import stat

import pytest

from apppot.errors import AppPotError
from apppot.image import cache, detect, lazy
from apppot.image.cow import remove_tree
from apppot.image.store import Store
from apppot.image.tree import DamagedImage
from tests.image import images
from tests.image.test_lazy import Machine


@pytest.fixture
def place(tmp_path):
    return os.fsencode(tmp_path / "cache")


def use(image, tmp_path):
    machine = Machine(image, tmp_path)
    for name in ("/random", "/block", "/sparse", "/many/100"):
        machine.read(name)
    return machine


def test_list_and_remove(squash, ext4, tmp_path, place):
    assert cache.trees(place) == []
    machine = use(squash, tmp_path)
    use(ext4, tmp_path / "other").close()
    try:
        found, = cache.trees(place)
        assert (found.image, found.kind, found.in_use) == (os.fsdecode(squash), "squashfs", True)
        assert 400_000 < found.size < 4_000_000
        with pytest.raises(AppPotError, match="in use"):
            cache.remove(found)
        machine.read("/block")
    finally:
        machine.close()
    found, = cache.trees(place)
    assert not found.in_use
    cache.remove(found)
    assert os.listdir(place + b"/trees") == []
    use(squash, tmp_path).close()


def test_the_last_use(squash, tmp_path, place):
    use(squash, tmp_path).close()
    about = cache.trees(place)[0].place + b"/image.json"
    os.utime(about, (1000, 1000))
    assert cache.trees(place)[0].used == 1000
    use(squash, tmp_path).close()
    assert cache.trees(place)[0].used > 1000


def test_leftovers_of_a_removal_go_with_the_next(squash, tmp_path, place):
    use(squash, tmp_path).close()
    os.makedirs(place + b"/trees/abc-1.77.gone/tree/x")
    found, = cache.trees(place)
    cache.remove(found)
    assert os.listdir(place + b"/trees") == []


def test_removals_at_once(squash, tmp_path, place):
    """Each of them finds the work done, or does it."""
    use(squash, tmp_path).close()
    found, = cache.trees(place)
    kept = Store(place)
    kept.remember("mine", {"layers": [], "named": True})
    for _ in range(2):
        cache.remove(found)
        kept.forget("mine")
    assert cache.trees(place) == [] and kept.known() == []


def test_several_remove_one_tree(tmp_path):
    for number in range(3000):
        os.makedirs(tmp_path / f"tree/{number % 60}/{number % 7}", exist_ok=True)
        (tmp_path / f"tree/{number % 60}/{number % 7}/{number}").touch()
    ready, go = os.pipe()
    started = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(go)
                os.read(ready, 1)
                remove_tree(os.fsencode(tmp_path / "tree"))
                status = 0
            finally:
                os._exit(status)
        started.append(pid)
    os.close(ready)
    os.close(go)
    assert [os.waitpid(pid, 0)[1] for pid in started] == [0, 0, 0, 0]
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("repair", [False, True])
def test_verify(squash, tmp_path, place, repair):
    machine = use(squash, tmp_path)
    tree = machine.layer.host
    machine.names("/srv")
    machine.names("/deep/er")
    machine.names("/many")
    machine.close()
    assert cache.verify(squash, cache=place) == []
    for name, at in ((b"/random", 70_000), (b"/sparse", 2_000_000)):
        mtime = os.stat(tree + name).st_mtime_ns
        with open(tree + name, "r+b") as file:
            file.seek(at)
            file.write(b"changed")
        os.utime(tree + name, ns=(mtime, mtime))
    os.truncate(tree + b"/block", 5)
    os.unlink(tree + b"/many/007")
    os.unlink(tree + b"/srv/link")
    os.symlink("elsewhere", tree + b"/srv/link")
    seen = []
    wrong = dict(cache.verify(squash, repair=repair, cache=place, tell=seen.append))
    assert wrong == {b"/random": "its contents are not the image's", b"/sparse": "its contents are not the image's",
                     b"/deep/er/again": "its contents are not the image's", b"/many/007": "it is missing",
                     b"/block": f"its size is 5, not {256 * 512}", b"/srv/link": "the symbolic link leads elsewhere"} or \
        repair and b"/deep/er/again" not in wrong
    assert b"/many/100" in seen
    again = dict(cache.verify(squash, cache=place))
    assert len(again) == (0 if repair else len(wrong)), again


@pytest.mark.parametrize("processes", [1, 3])
def test_unpack(squash, ext4, source, tmp_path, processes):
    for name, image in (("squashfs", squash), ("ext4", ext4)):
        target = os.fsencode(tmp_path / name)
        progress = []
        count = cache.unpack(image, target, progress=lambda *seen: progress.append(seen), processes=processes)
        names = {os.path.relpath(os.path.join(directory, name), target) for directory, below, files in
                 os.walk(target) for name in below + files}
        expected = {os.path.relpath(os.path.join(directory, name), source) for directory, below, files in os.walk(source)
                    for name in below + files}
        root = os.getuid() == 0
        assert names - {b"dev", b"dev/null", b"dev/sda", b"lost+found"} == expected
        assert count == len(names) + (0 if root else 2)
        assert progress
        for name in expected:
            one, two = source + b"/" + name, target + b"/" + name
            st, made = os.lstat(one), os.lstat(two)
            assert stat.S_IFMT(st.st_mode) == stat.S_IFMT(made.st_mode)
            if name not in images.OWNERS:
                assert (st.st_mtime_ns // 10 ** 9, st.st_mode) == (made.st_mtime_ns // 10 ** 9, made.st_mode), name
            elif root:
                assert (made.st_uid, made.st_gid, made.st_mode & 0o7777) == images.OWNERS[name]
            if stat.S_ISREG(st.st_mode):
                with open(one, "rb") as first, open(two, "rb") as second:
                    assert first.read() == second.read()
        assert os.path.samefile(target + b"/random", target + b"/deep/er/again")
        assert os.stat(target + b"/sparse").st_blocks * 512 <= 128 << 10


def test_unpack_links_of_devices(ext4, tmp_path):
    """Where one name of a device can't be made, none is."""
    image = tmp_path / "image"
    shutil.copy(ext4, image)
    images.debugfs(image, "link dev/null dev/same", "sif dev/null links_count 2")
    cache.unpack(image, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out/dev")) == (["null", "same", "sda"] if os.geteuid() == 0 else [])


def test_nothing_is_kept_of_what_is_no_image(squash, ext4, tmp_path, place):
    for image in squash, ext4:
        (tmp_path / "cut").write_bytes(open(image, "rb").read()[:200_000])
        with pytest.raises(AppPotError, match="cut is damaged: it is cut short"):
            lazy.LazyTree(detect.detect(tmp_path / "cut"), cache=place)
        assert not os.path.exists(place)


def test_an_image_whose_root_can_not_be_read(ext4, tmp_path, place, capfd):
    """It is said once, by who opens it, and nothing is said of the cache."""
    image = tmp_path / "image"
    shutil.copy(ext4, image)
    block = int(images.debugfs(image, "blocks /").split()[-1])
    with detect.open_reader(detect.detect(image)) as reader:
        size = reader.block_size
    with open(image, "r+b") as file:
        file.seek(block * size)
        file.write(b"\xff" * size)
    with pytest.raises(DamagedImage, match="image is damaged: a directory has an impossible entry"):
        lazy.LazyTree(detect.detect(image), cache=place)
    assert capfd.readouterr() == ("", "")


def test_unpack_into_something(squash, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AppPotError, match="is not empty"):
        cache.unpack(squash, tmp_path)
    with pytest.raises(AppPotError, match="file.*(File exists|Not a directory)"):
        cache.unpack(squash, tmp_path / "file")


def test_unpack_a_damaged_image(squash, tmp_path):
    data = bytearray(open(squash, "rb").read())
    data[200:200 + 20000] = bytes(20000)
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(AppPotError, match="image .*is damaged"):
        cache.unpack(tmp_path / "image", tmp_path / "target")
