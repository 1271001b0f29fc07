"""Print what the system says of every file below the directories given, asked in several ways, twice; never what it reads."""

import os
import stat
import sys

OF_THE_RUN = ("/sudo", "/apppot-snap")     # made anew at each start


def show(status):
    return (oct(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, status.st_size, status.st_blocks,
            status.st_mtime_ns, status.st_rdev, status.st_dev, status.st_ino)


def attempt(call, *arguments, **more):
    try:
        return call(*arguments, **more)
    except OSError as error:
        return error.errno


def opened(name, directory):
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    try:
        status = os.fstat(fd)
        return show(status), os.read(fd, 10) if stat.S_ISREG(status.st_mode) else sorted(os.listdir(fd)) if stat.S_ISDIR(
            status.st_mode) else None
    finally:
        os.close(fd)


def ask(path, name, directory):
    yield attempt(lambda: show(os.lstat(path)))
    yield attempt(lambda: show(os.stat(path)))
    yield attempt(lambda: show(os.stat(name, dir_fd=directory, follow_symlinks=False)))
    for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK, os.R_OK | os.X_OK):
        yield os.access(path, mode), os.access(name, mode, dir_fd=directory)
    yield attempt(opened, path, None)
    yield attempt(opened, name, directory)
    yield attempt(os.readlink, path)


def walk(top):
    for directory, names, files in os.walk(top):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        print(directory, sorted(os.listdir(fd)), show(os.fstat(fd)))
        for name in sorted(names + files):
            path = os.path.join(directory, name)
            if not path.endswith(OF_THE_RUN):
                print(path, *ask(path, name, fd))
        os.close(fd)


for _ in range(2):
    for place in sys.argv[1:]:
        walk(place)
