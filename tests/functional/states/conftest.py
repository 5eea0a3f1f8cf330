"""
An Authentik for states to speak to: the test double, over HTTP.
"""

import threading

import loaded
import pytest
import yaml
from authentik_host import TOKEN, put
from doubles.authentik.server import create_app
from tree import TREE
from werkzeug.serving import WSGIRequestHandler, make_server

DEFAULTS = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]["authentik"]


class Silent(WSGIRequestHandler):
    def log_request(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    """The double behind a port of the loopback interface; ``server.app`` is put anew for each test."""

    def application(environ, start_response):
        return served.app(environ, start_response)

    served = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    served.shutdown()
    thread.join()


@pytest.fixture
def authentik(server, modules, tmp_path, monkeypatch):
    """A fresh installation, which this host has the token of: its store."""
    server.app = create_app(TOKEN)
    monkeypatch.setitem(loaded.of_util(modules, "secret_files"), "DIRECTORY", str(tmp_path / "secrets"))
    settings = {**DEFAULTS, "url": f"http://127.0.0.1:{server.server_port}", "token": "authentik-api"}
    monkeypatch.setitem(loaded.of_module(modules, "catalogue"), "__pillar__", {"rick": {"authentik": settings}})
    for name in ("authentik", "authentik_account", "login"):
        loaded.of_module(modules, name)
    (tmp_path / "secrets").mkdir(mode=0o700)
    put(tmp_path, "authentik-api", TOKEN)
    return server.app.authentik.store


@pytest.fixture
def within_run(loaders, modules, authentik):
    """Apply a state as a part of one run with all that were applied before; ``group_present`` is Authentik's."""
    over = loaded.states_over(loaders, modules)
    return lambda function, /, *, test, **arguments: over(
        function if "." in function else f"authentik.{function}", test=test, **arguments
    )


@pytest.fixture
def apply(within_run, modules):
    """Apply a state as a run of its own does."""

    def one(function, /, *, test=False, **arguments):
        modules.pack["__context__"].clear()
        return within_run(function, test=test, **arguments)

    return one


@pytest.fixture
def plan(within_run, modules):
    """Apply states in test mode one after the other, as one run does."""
    modules.pack["__context__"].clear()
    return lambda function, /, **arguments: within_run(function, test=True, **arguments)
