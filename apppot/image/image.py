"""An opened image, of whatever format: its layers, and what it wants at start."""


class Config:
    """What an image says about running it, in the terms of the OCI image configuration.

    env           dict of variables, bytes to bytes
    workdir       guest directory (bytes), or None
    entrypoint, command    lists of bytes
    user          "NAME", "UID", "UID:GID" (str), or None
    raw           the parsed JSON that it came from, or None
    """

    __slots__ = ("env", "workdir", "entrypoint", "command", "user", "raw")

    def __init__(self, env=None, workdir=None, entrypoint=(), command=(), user=None, raw=None):
        self.env = env or {}
        self.workdir = workdir
        self.entrypoint = list(entrypoint)
        self.command = list(command)
        self.user = user
        self.raw = raw


class Image:
    """path: host path. format: "directory", "tar", "oci", "docker", "squashfs", "ext4"... layers: topmost first.

    config is a Config or None; digest names the whole image ("sha256:..."), or is None.
    """

    def __init__(self, path, format, layers, config=None, digest=None):
        self.path = path
        self.format = format
        self.layers = list(layers)
        self.config = config
        self.digest = digest

    def close(self):
        for layer in self.layers:
            layer.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
