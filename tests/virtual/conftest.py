"""Machines for these tests are started as those of the guests' tests."""

from tests.guest.conftest import debian_tree, program, run_guest, start_guest  # noqa: F401: fixtures
