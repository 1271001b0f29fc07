import pytest

from tests.image import images


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
