"""Who asks: the identity and the place in the tree that a name is looked up with."""


class Caller:
    """The part of a task that name resolution and permission need.

    `root` and `cwd` are canonical guest paths. `uid` and `gid` are the effective file-system ids. `virtual` is true
    when the ids are not the host's own: then the host's kernel can't decide what is permitted, and `vfs` does.
    """

    __slots__ = ("root", "cwd", "umask", "uid", "gid", "groups", "tgid", "tid", "virtual")

    def __init__(self, root=b"/", cwd=b"/", umask=0o022, uid=0, gid=0, groups=(), tgid=0, tid=0, virtual=False):
        self.root = root
        self.cwd = cwd
        self.umask = umask
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.tgid = tgid
        self.tid = tid
        self.virtual = virtual

    def __repr__(self):
        ids = f"{self.uid}:{self.gid}" + (" virtual" if self.virtual else "")
        return f"<Caller {ids} root={self.root!r} cwd={self.cwd!r}>"


#: Virtual root at "/", for look-ups on nobody's behalf.
KERNEL = Caller(virtual=True)
