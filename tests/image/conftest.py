import pytest

from tests.image import images

pytest.register_assert_rewrite("tests.image.opened")       # it asserts for tests, and says what it saw as they do


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """The tree that images are made of."""
    return images.plant(tmp_path_factory.mktemp("source") / "tree")


@pytest.fixture(scope="session")
def squash(source, tmp_path_factory):
    return images.squashfs(source, tmp_path_factory.mktemp("squashfs") / "image")


@pytest.fixture(scope="session")
def ext4(source, tmp_path_factory):
    return images.ext(source, tmp_path_factory.mktemp("ext4") / "image", "-t", "ext4")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    path = tmp_path / "cache"
    monkeypatch.setenv("APPPOT_CACHE", str(path))
    return path


@pytest.fixture
def image(tmp_path):
    """image(archive bytes) -> path of a file."""
    def write(data, name="image.tar"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name
    return write
