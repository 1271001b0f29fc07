"""The examples' images, built beside the tests that come first, which wait for the site most of the time."""

import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def commands_of(name):
    """The command lines of an example's README, word by word."""
    lines = (EXAMPLES / name / "README.md").read_text().splitlines()
    return [shlex.split(line) for line in lines if line.startswith("    ")]


def recipes_for(test):
    """Recipes of the example that the test is named after: test_NAME..."""
    names = [path.parent.name for path in EXAMPLES.glob("*/README.md") if test.startswith(f"test_{path.parent.name}")]
    return [EXAMPLES / name / words[3] for name in names for words in commands_of(name)
            if words[:3] == ["apppot", "image", "build"]]


class Builder:
    """builder(recipe) → the image, made once; begin(recipe) does not wait for it. AssertionError with what the build said."""

    def __init__(self, apppot, top):
        self._apppot, self._top = apppot, top
        self._pool = ThreadPoolExecutor(1)
        self._begun = {}                # {the recipe's text: Future of the image}
        self._process = None

    def begin(self, recipe):
        recipe = recipe.resolve()
        text = recipe.read_text()
        if text not in self._begun:
            self._begun[text] = self._pool.submit(self._build, recipe, self._top / f"{len(self._begun)}.squashfs")
        return self._begun[text]

    def __call__(self, recipe):
        return self.begin(recipe).result()

    def _build(self, recipe, image):
        self._process = subprocess.Popen([self._apppot, "image", "build", recipe, "-o", image], stdin=subprocess.DEVNULL, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                         env=dict(os.environ) | {"APPPOT_CACHE": str(self._top / "cache")})
        said, _ = self._process.communicate()
        assert self._process.returncode == 0, said
        return image

    def end(self):
        """What has not begun does not begin, and what is built is ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        self._pool.shutdown()
