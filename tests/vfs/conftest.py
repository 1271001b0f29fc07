import pytest

from tests.vfs.world import World


@pytest.fixture
def world(tmp_path):
    """Makes a World of trees; it is closed after the test."""
    made = []

    def make(*lowers, **options):
        made.append(World(tmp_path / f"world{len(made)}", *lowers, **options))
        return made[-1]
    yield make
    for one in made:
        one.close()
