"""
A registry with one image and a password, for pulls that have to bring credentials: ``registry.py PORT DIRECTORY``.

The directory is what ``podman push IMAGE dir:DIRECTORY`` writes: a manifest, and blobs named by their digests.
It speaks as much of the OCI distribution protocol as a pull asks, over plain HTTP.
"""

import base64
import hashlib
import http.server
import json
import re
import sys
from pathlib import Path

USER, PASSWORD = "somebody", "registry-password"


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.answer(401, b"", {"WWW-Authenticate": 'Basic realm="test"'})
        elif self.path == "/v2/":
            self.answer(200, b"{}")
        elif re.fullmatch(r"/v2/\S+/manifests/\S+", self.path):
            manifest = (self.server.directory / "manifest.json").read_bytes()
            digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
            kind = json.loads(manifest)["mediaType"]
            self.answer(200, manifest, {"Content-Type": kind, "Docker-Content-Digest": digest})
        elif found := re.fullmatch(r"/v2/\S+/blobs/sha256:([0-9a-f]{64})", self.path):
            blob = self.server.directory / found[1]
            self.answer(200, blob.read_bytes()) if blob.exists() else self.answer(404, b"")
        else:
            self.answer(404, b"")

    do_HEAD = do_GET  # noqa: N815 - what http.server calls it

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Registry)
    server.directory = Path(sys.argv[2])
    server.serve_forever()
