"""OCI layouts and docker archives, written by hand so that they can also be wrong."""

import gzip
import hashlib
import json

from tests.image import tars


def pack(data):
    return gzip.compress(data, mtime=0)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """A layout in a directory. layers: uncompressed tars, lowest first."""

    def __init__(self, path, *layers, config=None, platform=("linux", "amd64"), compress=pack):
        self.path = path
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.manifests = []
        self.add(*layers, config=config, platform=platform, compress=compress)

    def blob(self, data, kind):
        (self.path / "blobs" / "sha256" / digest(data)[7:]).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(data), "size": len(data)}

    def add(self, *layers, config=None, platform=("linux", "amd64"), compress=pack, tag="latest"):
        stored = [compress(layer) if compress else layer for layer in layers]
        about = {"os": platform[0], "architecture": platform[1], "config": config or {},
                 "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}}
        manifest = {"schemaVersion": 2, "config": self.blob(json.dumps(about).encode(), "config.v1+json"),
                    "layers": [self.blob(layer, "layer.v1.tar+gzip") for layer in stored]}
        described = self.blob(json.dumps(manifest).encode(), "manifest.v1+json")
        described["platform"] = {"os": platform[0], "architecture": platform[1]}
        described["annotations"] = {"org.opencontainers.image.ref.name": tag}
        self.manifests.append(described)
        self.write_index()
        return described

    def write_index(self):
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.manifests}))

    def layer_file(self, layer, compress=pack):
        return self.path / "blobs" / "sha256" / digest(compress(layer))[7:]


def docker(*layers, config=None):
    """The bytes of a docker save archive."""
    about = json.dumps({"os": "linux", "architecture": "amd64", "config": config or {},
                        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}}).encode()
    name = digest(about)[7:] + ".json"
    names = [f"{digest(layer)[7:]}/layer.tar" for layer in layers]
    manifest = json.dumps([{"Config": name, "RepoTags": ["a/b:c"], "Layers": names}]).encode()
    return tars.tar(*zip(names, layers), (name, about), ("manifest.json", manifest))
