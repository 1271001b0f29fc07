"""`python -m benchmarks.images [IMAGE]`: images that start without being unpacked, beside a directory and the formats' own tools.

A squashfs and an ext4 image are made of the tests' Debian tree. Cold: nothing of the image is in the cache of AppPot or in
the host's memory. What of the image was read is what is in memory afterwards (mincore(2)), so it counts read-ahead too.

IMAGE has NumPy, as that of images/science.yaml: importing it is measured then, cold and warm, and told beside what a cold
import may take, which is three times the warm time and the time to read what was read of the image. A cold import makes
some 1,000 files in the cache, so what making one takes there is told as well.
"""

import argparse
import ctypes
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.guest.make_tree import tree

from .ways import SOURCE

ROUNDS = 5
ECHO = ["/bin/sh", "-c", "echo"]
IMPORT = ["/usr/bin/python3", "-c", "import numpy"]


class Place:
    """A directory for images and AppPot's cache; `start` runs a command in an image and gives its seconds."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(SOURCE)}
        self.use(self.directory / "cache")

    def use(self, cache):
        self.cache = cache
        self.environment["APPPOT_CACHE"] = str(cache)

    def command(self, image, words):
        return [sys.executable, "-m", "apppot.cli.start", "--image", str(image), *words]

    def start(self, image, words=ECHO):
        begin = time.perf_counter()
        done = subprocess.run(self.command(image, words), cwd=self.directory, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{image}: status {done.returncode}: {done.stderr.strip()}")
        return time.perf_counter() - begin

    def clear(self):
        shutil.rmtree(self.cache, ignore_errors=True)


def evict(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(path):
    """Bytes of a file that are in the host's memory."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE,
                                             flags=mmap.MAP_PRIVATE) as memory:
        pages = (len(memory) + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        found = (ctypes.c_ubyte * pages)()
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        if ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(memory)), found):
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(page & 1 for page in found) * mmap.PAGESIZE


def make(place, root):
    """{name: image} and the directory they are made of: the tree and what can't be compressed, about 1.4 GiB."""
    both = place.directory / "both"
    subprocess.run(["cp", "-a", "--reflink=auto", root, both], check=True)
    (both / "opt" / "data").mkdir()
    for number in range(40):
        (both / "opt" / "data" / str(number)).write_bytes(os.urandom(20 << 20))
    squashfs, ext4 = place.directory / "image.squashfs", place.directory / "image.ext4"
    subprocess.run(["mksquashfs", both, squashfs, "-comp", "zstd", "-Xcompression-level", "3", "-quiet", "-no-progress"],
                   check=True, capture_output=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", both, ext4, "2G"], check=True, capture_output=True)
    return {"squashfs": squashfs, "ext4": ext4}, both


def cold(place, image):
    times, read = [], []
    for _ in range(ROUNDS):
        place.clear()
        evict(image)
        times.append(place.start(image))
        read.append(resident(image))
    return statistics.median(times), max(read)


def importing(place, image):
    """Median seconds of `import numpy`, cold and warm; bytes that were read of the image, and the seconds that takes.

    Each cold start has a cache of its own: where files were just removed, ext4 is slow to make new ones.
    """
    first, times, warm, read = place.cache, [], [], []
    for number in range(ROUNDS):
        place.use(place.directory / f"cache-{image.name}-{number}")
        evict(image)
        times.append(place.start(image, IMPORT))
        read.append(resident(image))
        warm.append(place.start(image, IMPORT))
    place.use(first)
    evict(image)
    seconds = timed("cat", str(image))
    return statistics.median(times), statistics.median(warm), max(read), max(read) / image.stat().st_size * seconds


def making_a_file(place, number=500):
    """Seconds to make an empty file where the cache is."""
    directory = place.directory / "files"
    directory.mkdir()
    begin = time.perf_counter()
    for name in range(number):
        (directory / str(name)).touch()
    return (time.perf_counter() - begin) / number


def tell_importing(place, image):
    formats = {"squashfs": place.directory / "numpy.squashfs", "ext4": place.directory / "numpy.img"}
    each = making_a_file(place)
    for name, path in formats.items():
        subprocess.run([sys.executable, "-m", "apppot.cli.main", "image", "convert", "-q", image, "-o", path], check=True,
                       env=place.environment)
        cold_time, warm, read, reading = importing(place, path)
        print(f"{name}: import numpy cold {cold_time:.2f} s, warm {warm:.2f} s; {read / 1e6:.0f} MB read, which takes "
              f"{reading:.2f} s; bound {3 * warm + reading:.2f} s; making a file takes {each * 1e6:.0f} us")


def many(place, image, number=50):
    place.clear()
    begin = time.perf_counter()
    running = [subprocess.Popen(place.command(image, ECHO), cwd=place.directory, env=place.environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(number)]
    failed = sum(process.wait() != 0 for process in running)
    for process in running:
        process.stderr.close()
    return time.perf_counter() - begin, failed


def timed(*words):
    begin = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - begin


def unpacking(place, name, image):
    """Seconds that AppPot and the format's own tool take for the whole tree, in turn."""
    ours, theirs = [], []
    for number in range(3):
        target = place.directory / f"ours{number}"
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "apppot.cli.main", "image", "unpack", "-q", str(image), str(target)], check=True,
                       env=place.environment, capture_output=True)
        ours.append(time.perf_counter() - begin)
        subprocess.run(["rm", "-rf", target], check=True)
        target = place.directory / f"theirs{number}"
        target.mkdir()
        tool = (["unsquashfs", "-q", "-n", "-no-xattrs", "-f", "-d", target, image] if name == "squashfs"
                else ["debugfs", "-R", f"rdump / {target}", image])
        theirs.append(timed(*tool))
        subprocess.run(["rm", "-rf", target], check=True)
    return statistics.median(ours), statistics.median(theirs)


def arguments():
    about, _, more = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images", description=about.partition(": ")[2], epilog=more,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", metavar="IMAGE", nargs="?", type=os.path.abspath, help="an image with NumPy, of any format")
    given = parser.parse_args()
    if given.image is not None and not os.path.exists(given.image):
        parser.error(f"{given.image}: no such image")
    for program, package in (("mksquashfs", "squashfs-tools"), ("mke2fs", "e2fsprogs")):
        if shutil.which(program) is None:
            parser.error(f"{program} is missing: apt-get install {package}")
    return given


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"          # where Debian has mke2fs and debugfs
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="images-", dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:
        place = Place(directory)
        if given.image is not None:
            tell_importing(place, given.image)
        images, both = make(place, tree())
        directory_start = statistics.median(place.start(both) for _ in range(ROUNDS))
        print(f"directory: warm start {directory_start * 1000:.0f} ms")
        for name, image in images.items():
            seconds, read = cold(place, image)
            warm = statistics.median(place.start(image) for _ in range(ROUNDS))
            print(f"{name}: {image.stat().st_size >> 20} MiB; cold start {seconds * 1000:.0f} ms, {read / 1e6:.1f} MB in memory; "
                  f"warm start {warm * 1000:.0f} ms ({(warm - directory_start) * 1000:+.0f} ms)")
            seconds, failed = many(place, image)
            print(f"{name}: 50 cold starts at once {seconds:.1f} s, {failed} failed")
            ours, theirs = unpacking(place, name, image)
            print(f"{name}: unpacked in {ours:.1f} s, by the format's tool in {theirs:.1f} s ({theirs / ours:.0%} of its speed)")
        subprocess.run(["rm", "-rf", both], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
