"""A long series of random namespace operations by several processes in turn; prints every result.

namespace_stress.py [--owners] SEED STEPS TOP [TOP ...]: the same seed must print the same anywhere: in a guest with the
fast path on or off, and natively. Everything happens below the directories TOP, which hold equal trees, at DEEP, at the
start. --owners, for root: files and directories get other owners and modes too.
"""

import errno
import os
import random
import stat
import sys

NAMES = ["a", "b", "c", "dir", "sub", "link", "x y"]
PROCESSES = 4
DEEP = "/1/2/3/4/5/6"                      # so that ".." does not lead to where the trees differ


def path_in(rng, top):
    """A path below `top`, sometimes with dots, doubled slashes, a slash at the end."""
    parts = [rng.choice(NAMES) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.1:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice([".", "..", "."]))
    path = "/".join(parts)
    if rng.random() < 0.05:
        path = path.replace("/", "//")
    if rng.random() < 0.05:
        path += "/"
    return path


class Process:
    """One of the processes: its own current directory and open directory descriptors."""

    def __init__(self, top):
        self.top = top
        self.fds = []
        self.names = []
        os.chdir(top)

    def name(self, rng):
        """(dirfd or None, path): absolute, relative to the current directory, or to an open one."""
        path = path_in(rng, self.top)
        how = rng.random()
        fd = None
        if how < 0.4:
            path = f"{self.top}/{path}"
        elif how >= 0.7 and self.fds:
            fd = rng.choice(self.fds)
        self.names.append(path if fd is None else f"<{self.fds.index(fd)}>{path}")
        return fd, path

    def pair(self, rng):
        """Two names in one directory, or else anywhere."""
        fd, path = self.name(rng)
        if rng.random() < 0.5:
            self.names.append("beside")
            return fd, path, fd, os.path.join(os.path.dirname(path), rng.choice(NAMES))
        return fd, path, *self.name(rng)

    def step(self, rng):
        operation = rng.choice(OPERATIONS)
        self.names.clear()
        try:
            result = operation(self, rng)
        except OSError as error:
            result = errno.errorcode[error.errno]
        return f"{operation.__name__} {self.names} {result}"

    # -- looking

    def stat(self, rng):
        fd, path = self.name(rng)
        follow = rng.random() < 0.6
        return show(os.stat(path, dir_fd=fd, follow_symlinks=follow))

    def access(self, rng):
        fd, path = self.name(rng)
        return os.access(path, rng.choice([os.F_OK, os.R_OK, os.W_OK, os.X_OK]), dir_fd=fd)

    def read(self, rng):
        fd, path = self.name(rng)
        flags = rng.choice([os.O_RDONLY, os.O_RDONLY | os.O_NOFOLLOW, os.O_RDONLY | os.O_DIRECTORY])
        opened = os.open(path, flags, dir_fd=fd)
        try:
            status = os.fstat(opened)
            return show(status) + (str(os.read(opened, 100)) if stat.S_ISREG(status.st_mode) else "")
        finally:
            os.close(opened)

    def readlink(self, rng):
        fd, path = self.name(rng)
        return os.readlink(path, dir_fd=fd)

    def listdir(self, rng):
        fd, path = self.name(rng)
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        try:
            return sorted(os.listdir(opened))
        finally:
            os.close(opened)

    def getcwd(self, rng):
        return os.path.relpath(os.getcwd(), self.top)

    # -- where we stand

    def chdir(self, rng):
        fd, path = self.name(rng)
        os.chdir(path if fd is None else f"{self.top}/{path}")

    def back(self, rng):
        os.chdir(self.top)

    def keep(self, rng):
        fd, path = self.name(rng)
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        self.fds.append(opened)
        if len(self.fds) > 4:
            os.close(self.fds.pop(0))

    # -- changing

    def write(self, rng):
        fd, path = self.name(rng)
        flags = rng.choice([os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_CREAT | os.O_TRUNC])
        opened = os.open(path, os.O_WRONLY | flags, 0o644, dir_fd=fd)
        try:
            return os.write(opened, b"%d" % rng.randrange(1000))
        finally:
            os.close(opened)

    def mkdir(self, rng):
        fd, path = self.name(rng)
        os.mkdir(path, rng.choice([0o755, 0o777, 0o700]), dir_fd=fd)

    def unlink(self, rng):
        fd, path = self.name(rng)
        os.unlink(path, dir_fd=fd)

    def rmdir(self, rng):
        fd, path = self.name(rng)
        os.rmdir(path, dir_fd=fd)

    def symlink(self, rng):
        fd, path = self.name(rng)
        target = path_in(rng, self.top)
        os.symlink(f"{self.top}/{target}" if rng.random() < 0.3 else target, path, dir_fd=fd)

    def rename(self, rng):
        fd, path, other, target = self.pair(rng)
        os.rename(path, target, src_dir_fd=fd, dst_dir_fd=other)

    def save(self, rng):
        """As editors do it: a new file takes the place of whatever has the name."""
        fd, path = self.name(rng)
        new = path.rstrip("/") + ".new"
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd))
        try:
            os.rename(new, path, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError:
            os.unlink(new, dir_fd=fd)
            raise

    def lock(self, rng):
        """As lock files are made and given back: a second name of a file."""
        fd, path, other, target = self.pair(rng)
        os.link(path, target, src_dir_fd=fd, dst_dir_fd=other, follow_symlinks=False)
        links = os.stat(target, dir_fd=other, follow_symlinks=False).st_nlink
        os.unlink(path, dir_fd=fd)
        return links

    def become(self, rng):
        """Whatever has the name makes way for something of another kind."""
        fd, path = self.name(rng)
        try:
            os.unlink(path, dir_fd=fd)
        except IsADirectoryError:
            os.rmdir(path, dir_fd=fd)
        kind = rng.choice(["file", "directory", "link"])
        if kind == "file":
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=fd))
        elif kind == "directory":
            os.mkdir(path, 0o755, dir_fd=fd)
        else:
            os.symlink(path_in(rng, self.top), path, dir_fd=fd)
        return kind

    def fill(self, rng):
        """A directory is made, filled and looked at by its descriptor, as tar and rm do it."""
        fd, path = self.name(rng)
        os.mkdir(path, 0o755, dir_fd=fd)
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        try:
            for name in NAMES[:3]:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=opened))
            os.symlink("a", "link", dir_fd=opened)
            os.unlink(rng.choice(["a", "link"]), dir_fd=opened)
            os.rename("b", "c", src_dir_fd=opened, dst_dir_fd=opened)
            return sorted(os.listdir(opened))
        finally:
            os.close(opened)

    def clear(self, rng):
        fd, path = self.name(rng)
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        try:
            results = []
            for name in sorted(os.listdir(opened)):
                try:
                    os.unlink(name, dir_fd=opened)
                    results.append(name)
                except OSError as error:
                    results.append(errno.errorcode[error.errno])
            return results
        finally:
            os.close(opened)

    def link(self, rng):
        fd, path, other, target = self.pair(rng)
        os.link(path, target, src_dir_fd=fd, dst_dir_fd=other, follow_symlinks=rng.choice([True, False]))

    def chmod(self, rng):
        fd, path = self.name(rng)
        os.chmod(path, rng.choice([0o755, 0o700, 0o744]), dir_fd=fd)

    def give(self, rng):
        fd, path = self.name(rng)
        os.chown(path, rng.choice([0, 1, 7, 1000]), rng.choice([-1, 0, 7]), dir_fd=fd, follow_symlinks=rng.random() < 0.5)

    def take(self, rng):
        """What takes the owner's own rights away, and what only root keeps."""
        fd, path = self.name(rng)
        os.chmod(path, rng.choice([0o000, 0o4755, 0o2775, 0o400]), dir_fd=fd)

    def mkdir_closed(self, rng):
        fd, path = self.name(rng)
        os.mkdir(path, rng.choice([0o055, 0o500, 0o000]), dir_fd=fd)

    def swap(self, rng):
        """A directory makes way for a symlink to another, as an attacker or a package does it."""
        fd, path = self.name(rng)
        target = f"{self.top}/{path_in(rng, self.top)}"
        os.rename(path, path.rstrip("/") + ".old", src_dir_fd=fd, dst_dir_fd=fd)
        os.symlink(target, path, dir_fd=fd)


LOOKING = [Process.stat] * 4 + [Process.access, Process.read, Process.read, Process.readlink, Process.listdir, Process.getcwd]
STANDING = [Process.chdir, Process.back, Process.keep]
CHANGING = [Process.write, Process.write, Process.mkdir, Process.mkdir, Process.unlink, Process.rmdir, Process.symlink,
            Process.rename, Process.rename, Process.link, Process.chmod, Process.swap, Process.save, Process.save,
            Process.lock, Process.become, Process.become, Process.fill, Process.clear]
OWNERS = [Process.give, Process.give, Process.take, Process.mkdir_closed]
OPERATIONS = LOOKING * 2 + STANDING + CHANGING


def show(status):
    """What must be the same anywhere; sizes of directories and of links do not."""
    kind = stat.S_IFMT(status.st_mode)
    more = (status.st_nlink, status.st_size) if kind == stat.S_IFREG else ()
    if OWNERS[0] in OPERATIONS:
        more += status.st_uid, status.st_gid
    return str((oct(status.st_mode), status.st_uid == os.getuid(), *more))


def final(top):
    lines = []
    for directory, names, files in os.walk(top):
        for name in sorted(names + files):
            path = os.path.join(directory, name)
            try:
                text = content(path, os.lstat(path)).replace(top, "TOP")
            except PermissionError:            # in a bound directory the disk's mode counts, even for virtual root
                text = "EACCES"
            lines.append(f"{os.path.relpath(path, top)} {text}")
    return sorted(lines)


def content(path, status):
    text = ""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            text = str(file.read())
    elif stat.S_ISLNK(status.st_mode):
        text = os.readlink(path)
    return f"{show(status)} {text}"


def run(seed, steps, top):
    """Processes take turns: a byte goes round through pipes, so that the order is the same anywhere."""
    pipes = [os.pipe() for _ in range(PROCESSES)]
    for number in range(1, PROCESSES):
        if os.fork() == 0:
            turn(seed, steps, top, number, pipes)
            os._exit(0)
    os.write(pipes[0][1], b"x")
    turn(seed, steps, top, 0, pipes)
    for number in range(1, PROCESSES):
        os.wait()
    os.chdir("/")
    for line in final(top):
        print(line)


def turn(seed, steps, top, number, pipes):
    process = Process(top)
    for step in range(number, steps, PROCESSES):
        os.read(pipes[number][0], 1)
        result = process.step(random.Random(f"{seed}-{step}")).replace(top, "TOP")
        print(step, number, result, flush=True)
        os.write(pipes[(number + 1) % PROCESSES][1], b"x")
    if steps % PROCESSES == number:
        os.read(pipes[number][0], 1)


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "--owners":
        del words[0]
        OPERATIONS += OWNERS
    for each in words[2:]:
        print("==", os.path.basename(each), flush=True)
        run(int(words[0]), int(words[1]), each + DEEP)
