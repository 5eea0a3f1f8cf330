"""
An image of one program of this host and its libraries, as ``doubles/registry.py`` serves it: ``tiny_image.py DIRECTORY
PROGRAM``. For a host that has no Podman yet.
"""

import gzip
import hashlib
import io
import json
import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path

TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def main(directory, program):
    """Write the manifest and the blobs."""
    directory.mkdir()
    libraries = re.findall(
        r"(/\S+) \(0x", subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    )
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", dereference=True) as archive:
        for path in [program, *libraries]:
            archive.add(path)
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Cmd": [program]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": TYPE,
        "config": blob(directory, CONFIG, json.dumps(config).encode()),
        "layers": [blob(directory, LAYER, gzip.compress(layer.getvalue()))],
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))


def blob(directory, kind, content):
    """Write one blob and return what the manifest says of it."""
    digest = hashlib.sha256(content).hexdigest()
    (directory / digest).write_bytes(content)
    return {"mediaType": kind, "size": len(content), "digest": f"sha256:{digest}"}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
