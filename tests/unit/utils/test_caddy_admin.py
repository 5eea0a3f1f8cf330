"""
Caddy's admin API on its socket: asked, and told, as Caddy wants it.
"""

import json
import socket

import pytest
from doubles import caddy as double
from salt.exceptions import CommandExecutionError
from tree import load

caddy_admin = load("utils", "caddy_admin")


@pytest.fixture
def admin(tmp_path, monkeypatch):
    path = tmp_path / "admin.sock"
    monkeypatch.setattr(caddy_admin, "SOCKET", str(path))
    server = double.Admin(path)
    yield server
    server.stop()


def test_what_is_loaded_runs(admin):
    caddy_admin.load('{"apps": {}}')
    assert json.loads(caddy_admin.running()) == {"apps": {}}


def test_a_refusal_is_told_in_caddys_words(admin):
    admin.refusal = "listen tcp :80: bind: address already in use"
    with pytest.raises(CommandExecutionError, match="address already in use"):
        caddy_admin.load("{}")
    assert caddy_admin.running() == "null"


@pytest.mark.parametrize("text", ["<html>", "[]", "{}", "3"])
def test_an_answer_of_another_form_is_told_as_it_is(text):
    assert caddy_admin._words(f"{text}\n") == text


def test_it_listens_as_long_as_somebody_does(admin, tmp_path):
    assert caddy_admin.listens()
    socket.socket(socket.AF_UNIX).bind(str(tmp_path / "stale.sock"))
    for path in ("stale.sock", "missing.sock"):
        caddy_admin.SOCKET = str(tmp_path / path)
        assert not caddy_admin.listens()
        with pytest.raises(CommandExecutionError, match=path):
            caddy_admin.running()


def test_want_of_rights_is_not_taken_for_nobody(monkeypatch):
    def refused(self, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refused)
    with pytest.raises(CommandExecutionError, match="takes root"):
        caddy_admin.listens()


def test_a_server_that_hangs_up_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "admin.sock"
    monkeypatch.setattr(caddy_admin, "SOCKET", str(path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        monkeypatch.setattr(caddy_admin, "TIMEOUT", 0.1)
        with pytest.raises(CommandExecutionError, match="does not answer"):
            caddy_admin.running()
