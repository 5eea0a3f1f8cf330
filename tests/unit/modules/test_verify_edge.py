"""
The checks of an edge: each site answers through a cell, or says that none shows it.
"""

import ssl
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

verify_edge = load("modules", "verify_edge")
verify_service = load("modules", "verify_service")


@pytest.fixture
def edge(monkeypatch):
    sites = {"board": {"domains": ["board.example.test"], "tls": "acme", "cells": ["192.0.2.2"]}}
    found = SimpleNamespace(sites=sites, behind=["cell1", "cell2"], status=302, asked=[])

    def status(url, _timeout, address, context):
        assert isinstance(context, ssl.SSLContext)
        assert context.verify_mode is ssl.CERT_REQUIRED
        found.asked.append((url, address))
        if isinstance(found.status, Exception):
            raise found.status
        return found.status

    salt = {
        "fleet.sites": lambda: found.sites,
        "fleet.view": lambda: {"sites": {"board": {"upstreams": [{"id": one} for one in found.behind]}}},
        "verify_service.check": verify_service.check,
        "verify_service.active_in_system_slice": lambda unit: (None, unit),
    }
    monkeypatch.setattr(verify_edge, "__salt__", salt, raising=False)
    monkeypatch.setattr(verify_edge, "__utils__", {"http_answer.status": status}, raising=False)
    return found


def failed():
    return {one["name"]: one["detail"] for one in verify_edge.checks() if not one["passed"]}


@pytest.mark.parametrize("status", [200, 302, 401, 404, 500, 503])
def test_a_site_that_a_cell_answers_for_is_sound(edge, status):
    edge.status = status
    assert failed() == {}
    assert edge.asked == [("https://board.example.test/", ("127.0.0.1", 443))]


@pytest.mark.parametrize("status", [502, 504, CommandExecutionError("does not answer (no)")])
def test_a_site_that_no_cell_answers_for_is_not(edge, status):
    edge.status = status
    assert list(failed()) == ["https://board.example.test is board's site"]


def test_a_site_that_no_cell_shows_must_say_so(edge):
    edge.sites["board"] = {**edge.sites["board"], "cells": []}
    assert list(failed()) == ["https://board.example.test is board's site"]
    edge.status = 503
    assert failed() == {}


def test_of_a_wildcard_some_name_is_asked_for(edge):
    edge.sites["board"] = {**edge.sites["board"], "domains": ["*.example.test"]}
    assert failed() == {}
    assert edge.asked == [("https://verify.example.test/", ("127.0.0.1", 443))]


@pytest.mark.parametrize("away", [["cell1", "cell2"], ["cell2", "cell1", "cell3"]])
def test_a_site_whose_cells_are_all_known_to_be_away_is_not_asked_for(edge, away):
    edge.status = 502
    assert [one["name"] for one in verify_edge.checks(away)] == ["caddy.service is active in /system.slice"]


@pytest.mark.parametrize("away", [["cell1"], ["cell3"], []])
def test_a_site_is_asked_for_as_long_as_one_of_its_cells_is_there(edge, away):
    edge.status = 502
    assert [one["name"] for one in verify_edge.checks(away) if not one["passed"]] == [
        "https://board.example.test is board's site"
    ]


def test_a_site_that_no_cell_has_yet_is_asked_for(edge):
    edge.behind, edge.sites["board"]["cells"] = [], []
    assert list(failed()) == ["https://board.example.test is board's site"]
