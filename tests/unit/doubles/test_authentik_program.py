"""
The double of Authentik as a program, ``ak server`` and ``ak worker``, and the image that it comes as.

What it does with a database is tested in tests/lab.
"""

import ast
import contextlib
import importlib.machinery
import importlib.util
import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from doubles.authentik import __main__ as program
from doubles.authentik.server import BANNER, PRIVATE, Forwarded
from tree import TREE
from werkzeug.test import Client, EnvironBuilder

DOUBLE = TREE / "tests/doubles/authentik"
LIMIT = 20  # seconds; for a process on a busy machine


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def started(command, tmp_path, **more):
    """A process with a database that is not there; yields it and its port."""
    port = more.pop("port", None) or free_port()
    environment = {
        "PYTHONPATH": str(TREE / "tests"),
        "PATH": os.environ["PATH"],
        "AUTHENTIK_SECRET_KEY": "secret",
        "AUTHENTIK_POSTGRESQL__HOST": str(tmp_path),
        "AUTHENTIK_LISTEN__HTTP": f"127.0.0.1:{port}",
        "AUTHENTIK_LISTEN__METRICS": f"127.0.0.1:{free_port()}",
        **more,
    }
    words = [sys.executable, "-B", "-m", "doubles.authentik", command]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, port
        finally:
            process.kill()


def ask(port, path):
    """The answer of a server that has begun to listen."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT)
        except urllib.error.HTTPError as error:
            return error
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "it does not listen"


@pytest.mark.parametrize("command", ["server", "worker"])
def test_while_there_is_no_database_it_lives_and_is_not_ready(command, tmp_path):
    with started(command, tmp_path) as (process, port):
        assert ask(port, "/-/health/live/").status == 200
        answer = ask(port, "/-/health/ready/")
        assert (answer.status, BANNER in answer.headers) == (503, True)
        said = ""
        while "PostgreSQL connection failed" not in said:
            said += process.stderr.readline() or pytest.fail(said)
        assert "THIS IS A TEST DOUBLE" in said
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
        assert time.monotonic() - before < 2


def test_without_a_secret_key_it_does_not_start(tmp_path):
    with started("server", tmp_path, AUTHENTIK_SECRET_KEY="") as (process, _):
        assert process.wait(LIMIT) == 1
        assert "Secret key missing" in process.stderr.read()


@pytest.mark.parametrize(("version", "goes_on"), [("2026.2.2", True), ("2026.5.0", False)])
def test_where_its_port_is_taken_it_goes_on_without_it_until_a_later_version(version, goes_on, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with started("worker", tmp_path, port=taken.getsockname()[1], AUTHENTIK_DOUBLE_VERSION=version) as (process, _):
            line = next(line for line in process.stderr if "failed to listen" in line)
            assert "Address already in use" in line
            if goes_on:
                assert "retrying" in next(line for line in process.stderr if "PostgreSQL" in line)
            else:
                assert process.wait(LIMIT) == 1


# Proxies.


FORWARDED = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "wiki.example.test",
    "X-Forwarded-For": "192.0.2.7, 192.0.2.8",
}


class TestProxies:
    def seen(self, peer, networks=PRIVATE, **headers):
        """What an application sees of a request."""
        found = {}

        def application(environ, start_response):
            found.update(environ)
            start_response("200 OK", [])
            return [b""]

        builder = EnvironBuilder(base_url="http://auth.example.test", headers=headers)
        builder.environ_base = {"REMOTE_ADDR": peer}
        Client(Forwarded(application, networks)).open(builder)
        return found["wsgi.url_scheme"], found["HTTP_HOST"], found["REMOTE_ADDR"], found.get("HTTP_X_FORWARDED_HOST")

    def test_one_in_a_private_network_is_believed(self):
        told = ("https", "wiki.example.test", "192.0.2.7", "wiki.example.test")
        assert self.seen("10.89.0.1", **FORWARDED) == told

    def test_nobody_else_is(self):
        assert self.seen("192.0.2.9", **FORWARDED) == ("http", "auth.example.test", "192.0.2.9", None)

    def test_the_networks_can_be_others(self):
        gateway = (ipaddress.ip_network("192.0.2.9/32"),)
        assert self.seen("192.0.2.9", gateway, **FORWARDED)[1] == "wiki.example.test"
        assert self.seen("10.89.0.1", gateway, **FORWARDED)[1] == "auth.example.test"

    def test_what_a_proxy_does_not_say_stays(self):
        assert self.seen("10.89.0.1") == ("http", "auth.example.test", "10.89.0.1", None)


# The image.


@pytest.fixture(scope="module")
def build():
    """The script that builds the image, loaded without running it."""
    loader = importlib.machinery.SourceFileLoader("authentik_double_build", str(DOUBLE / "build"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def test_what_the_containerfile_copies_is_what_its_digest_is_made_of(build):
    lines = (DOUBLE / "Containerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert {name for name in copied if not name.startswith("--")} == {*build.SOURCES, "doubles/authentik/ak"}
    assert f"FROM {build.BASE}" in lines
    paths = [path.resolve() for path in build.images.sources(build.layer("2026.2.2"))]
    assert {DOUBLE / "Containerfile", DOUBLE / "server.py", DOUBLE / "templates/page.html"} <= set(paths)
    assert TREE / "tests/contract/preloaded.json" in paths


def test_what_the_double_imports_is_among_the_packages(build):
    imported = set()
    for path in DOUBLE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module] if isinstance(node, ast.ImportFrom) else [one.name for one in getattr(node, "names", ())]
            )
            imported |= {name.partition(".")[0] for name in names if isinstance(node, ast.Import | ast.ImportFrom)}
    others = imported - set(sys.stdlib_module_names) - {"doubles"}
    packages = {"psycopg": "psycopg-c", "werkzeug": "flask"}  # one that brings it
    assert {f"python3-{packages.get(name, name)}" for name in others} <= set(build.PACKAGES)


def test_each_version_has_an_image_of_its_own(build, monkeypatch):
    made = []
    monkeypatch.setattr(build.images, "inspect", lambda image: (image, ""))
    monkeypatch.setattr(build.images, "build_layer", lambda layer, label: made.append((layer.image, label)))
    monkeypatch.setattr(build.images, "run", lambda *_: "")
    layers = [build.layer(version) for version in ("2025.12.1", "2026.2.2")]
    assert build.images.build("trixie", layers, False, build.images.Bases((build.BASE,), lambda *_: None, ()))
    assert [image for image, _ in made] == [
        "localhost/authentik-double:2025.12.1",
        "localhost/authentik-double:2026.2.2",
    ]
    assert made[0][1] != made[1][1]


def test_the_version_that_it_behaves_like_is_what_is_built(build):
    assert re.search(rf'"{re.escape(build.VERSION)}"', (DOUBLE / "system.py").read_text())
    assert program.VERSION == build.VERSION
