"""Compressed streams, told apart by their first bytes: gzip, xz, bzip2, zstd. Decompressors are imported when needed."""

import io

from apppot.errors import AppPotError

MAGIC = ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"))
XZ_MEMORY = 1 << 30     # an archive that wants more is refused


def kind(head):
    """The compression that a file with these first bytes has, or None."""
    return next((name for magic, name in MAGIC if head.startswith(magic)), None)


def errors():
    """The exceptions that say that a compressed stream is damaged; only of what was imported."""
    import sys
    import zlib
    found = [EOFError, zlib.error]
    for module, name in (("gzip", "BadGzipFile"), ("lzma", "LZMAError"), ("zstandard", "ZstdError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def reader(file, name):
    """A readable stream of the uncompressed content of the binary stream `file`. name: for messages."""
    file = file if hasattr(file, "peek") else io.BufferedReader(file, 1 << 18)
    found = kind(file.peek(8)[:8])
    if found == "gzip":
        import zlib
        return _Unzip(file, lambda: zlib.decompressobj(31))
    if found == "xz":
        import lzma
        return _Unzip(file, lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY))
    if found == "bzip2":
        import bz2
        return _Unzip(file, bz2.BZ2Decompressor)
    if found == "zstd":
        return zstandard(name).ZstdDecompressor(max_window_size=1 << 27).stream_reader(file, read_across_frames=True)
    return file


def zstandard(name):
    try:
        import zstandard as module
    except ImportError:
        raise AppPotError(f"{name} is compressed with zstd; install the Python package zstandard "
                          "(apt-get install python3-zstandard)") from None
    return module


class _Unzip:
    """Streams of one or more members, each with a decompressor of its own; never holds more than it is asked for."""

    def __init__(self, file, make):
        self._file = file
        self._make = make
        self._engine = make()
        self._left = b""           # read and not yet given to the engine
        self._limits = hasattr(self._engine, "needs_input")

    def read(self, size=-1):
        parts = []
        have = 0
        while size < 0 or have < size:
            data = self._some(1 << 18 if size < 0 else size - have)
            if not data:
                break
            parts.append(data)
            have += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _some(self, most):
        while True:
            engine = self._engine
            if engine.eof:
                rest = (engine.unused_data + self._left) or self._file.read1(1 << 18)
                rest = rest.lstrip(b"\0") if rest[:1] == b"\0" else rest
                if not rest:
                    return b""
                self._engine, self._left = self._make(), rest
                continue
            if self._limits:
                data = b""
                if engine.needs_input:
                    data = self._left or self._file.read1(1 << 18)
                    self._left = b""
                    if not data:
                        raise EOFError("the compressed stream ends early")
                out = engine.decompress(data, most)
            else:
                data = engine.unconsumed_tail or self._left or self._file.read1(1 << 18)
                if data is self._left:
                    self._left = b""
                if not data:
                    raise EOFError("the compressed stream ends early")
                out = engine.decompress(data, most)
            if out:
                return out
