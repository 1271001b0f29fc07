"""Files of the cache that others see as a whole or not at all."""

import os


def replace(path, data):
    """Put a file with these contents in the place of `path` (bytes), at one moment. OSError: nothing is changed or left.

    Who is killed in between leaves a file `path`.RANDOM.new.
    """
    new = path + b".%s.new" % os.urandom(6).hex().encode()
    try:
        with open(new, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view):]
        os.rename(new, path)
    except BaseException:
        try:
            os.unlink(new)
        except OSError:
            pass
        raise
