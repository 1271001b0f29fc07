"""Adds one step to the build: the C stub is compiled by the system's compiler (apppot/stub/build.py says how)."""

import importlib.util
import pathlib

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

STUB = pathlib.Path(__file__).resolve().parent / "apppot" / "stub"


def stub_builder():
    """The module apppot/stub/build.py, loaded without installing or importing the package."""
    spec = importlib.util.spec_from_file_location("apppot_stub_build", STUB / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildWithStub(build_py):
    def run(self):
        super().run()
        target = STUB if getattr(self, "editable_mode", False) else pathlib.Path(self.build_lib, "apppot", "stub")
        stub_builder().build(target)


class PlatformDistribution(Distribution):
    """The stub makes a wheel that fits one architecture only."""

    def has_ext_modules(self):
        return True


setup(cmdclass={"build_py": BuildWithStub}, distclass=PlatformDistribution)
