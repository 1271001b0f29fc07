"""Machines for these tests are started as those of the guests' tests."""

import pytest

from tests.guest.conftest import debian_tree, program, run_guest, start_guest  # noqa: F401: fixtures


@pytest.fixture
def start(run_guest):
    """start(*command, options=..., image=..., cwd=..., NAME=value...): run_guest with time enough for an emulated processor."""
    def run(*words, options=(), **more):
        given = {name: more.pop(name) for name in ("image", "cwd") if name in more}
        return run_guest(*words, options=options, env=more, timeout=300, **given)
    return run
