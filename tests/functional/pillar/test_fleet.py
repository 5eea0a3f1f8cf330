"""
What each host of a fleet gets from its master: its own, and of others what it cannot work without.
"""

import json

import pytest

NOTES = (
    "image: localhost/notes:1\nport: 8080\ncells: cell1\nsite: notes.example.test\n"
    "secrets: {mail: {pillar: 'secrets:notes:mail'}}\n"
)
BOARD = "image: localhost/board:1\nport: 8080\ncells: cell2\nsite: board.example.test\nauth: forward_auth\n"
DIARY = (
    "image: localhost/diary:1\nport: 8080\ncells: [cell2, cell3]\nsite: {domains: diary.example.test, tls: acme}\n"
    "auth: {pattern: oauth2, redirect_paths: [/back]}\nneeds: notes\n"
)
FLEET = "cells: ['cell*']\nedges: {'edge*': [cell2, cell3]}\nsso: cell1\n"
FILES = {
    "fleet.yaml": FLEET,
    "services/notes.yaml": NOTES,
    "services/board.yaml": BOARD,
    "services/diary.yaml": DIARY,
    "secrets/notes.yaml": "mail: hunter2-of-notes\n",
    "secrets/board.yaml": "api: hunter2-of-board\n",
    "hosts/cell1.yaml": "authentik: {domain: auth.example.test}\n",
    "hosts/cell2.yaml": "postgresql: {max_connections: 333}\n",
}
HOSTS = ["cell1", "cell2", "cell3", "edge1", "stranger"]


def rick(fleet, host, **files):
    compiled = fleet(host, {**FILES, **{name.replace("__", "/"): text for name, text in files.items()}}).pillar
    assert "_errors" not in compiled, compiled["_errors"]
    return compiled["rick"]


@pytest.mark.parametrize(
    "host, roles, services",
    [
        ("cell1", ["cell", "sso"], {"notes"}),
        ("cell2", ["cell"], {"board", "diary"}),
        ("cell3", ["cell"], {"diary"}),
        ("edge1", ["edge"], set()),
        ("stranger", [], set()),
    ],
)
def test_a_host_gets_its_own_services_and_nobody_elses(fleet, host, roles, services):
    told = rick(fleet, host)
    assert told["fleet"]["roles"] == roles
    assert set(told["services"]) == services
    assert all("cells" not in entry for entry in told["services"].values())


@pytest.mark.parametrize("host", HOSTS)
def test_no_secret_reaches_a_host_that_does_not_run_its_service(fleet, host):
    told = json.dumps(fleet(host, FILES).pillar)
    assert ("hunter2-of-notes" in told) == (host == "cell1")
    assert ("hunter2-of-board" in told) == (host == "cell2")


def test_a_client_secret_is_known_where_authentik_is_and_where_the_service_is_and_to_nobody_else(fleet):
    given = {host: fleet(host, FILES).pillar["secrets"].get("diary", {}).get("auth") for host in HOSTS}
    assert given["cell1"] == given["cell2"] == given["cell3"]
    assert len(given["cell1"]) == 64
    assert given["edge1"] is given["stranger"] is None
    board = fleet("cell1", FILES).pillar["secrets"]["board"]["auth"]
    assert board != given["cell1"]
    assert board not in json.dumps(fleet("cell3", FILES).pillar)


def test_what_a_minion_says_of_itself_changes_nothing(fleet):
    host = fleet(
        "stranger",
        FILES,
        grains={"id": "cell1", "roles": ["cell", "sso"], "host": "cell1"},
        override={"rick": {"fleet": {}}},
    )
    assert host.pillar["rick"]["fleet"]["roles"] == []
    assert host.pillar["rick"]["services"] == {}
    assert "hunter2" not in json.dumps(host.pillar)


def test_settings_of_one_host_are_its_own(fleet):
    assert rick(fleet, "cell2")["postgresql"]["max_connections"] == 333
    assert rick(fleet, "cell3")["postgresql"]["max_connections"] == 200
    assert rick(fleet, "cell2")["postgresql"]["settings"] == {}


def test_an_edge_gets_the_sites_of_the_cells_behind_it_and_no_more(fleet):
    sites = rick(fleet, "edge1")["fleet"]["sites"]
    assert {name: site["domains"] for name, site in sites.items()} == {
        "board": ["board.example.test"],
        "diary": ["diary.example.test"],
    }
    assert sites["diary"]["tls"] == "acme"
    assert [one["id"] for one in sites["diary"]["upstreams"]] == ["cell2", "cell3"]
    assert sites["diary"]["upstreams"][0]["address"] == "192.0.2.2"
    assert "CERTIFICATE" in sites["diary"]["upstreams"][0]["authority"]


def test_authentik_behind_an_edge_is_a_site_there(fleet):
    told = rick(fleet, "edge1", **{"fleet.yaml": "cells: ['cell*']\nedges: {'edge*': ['cell*']}\nsso: cell1\n"})
    assert told["fleet"]["sites"]["authentik"]["domains"] == ["auth.example.test"]


def test_the_host_of_authentik_learns_of_logins_elsewhere_what_they_depend_on(fleet):
    told = rick(fleet, "cell1")["fleet"]
    assert set(told["logins"]) == {"board", "diary"}
    assert told["logins"]["board"] == {
        "auth": "forward_auth",
        "site": {"domains": ["board.example.test"], "tls": "internal"},
    }
    assert {cell: about["domains"] for cell, about in told["outposts"].items()} == {
        "cell2": ["board.example.test", "diary.example.test"],
        "cell3": ["diary.example.test"],
    }


def test_a_need_on_another_host_is_not_waited_for_there(fleet):
    assert rick(fleet, "cell2")["services"]["diary"]["needs"] == []
    both = rick(fleet, "cell2", services__diary=DIARY, **{"services/notes.yaml": NOTES.replace("cell1", "'cell*'")})
    assert both["services"]["diary"]["needs"] == ["notes"]


def test_a_need_that_exists_nowhere_is_still_a_mistake(fleet):
    told = rick(fleet, "cell2", **{"services/diary.yaml": DIARY.replace("needs: notes", "needs: nots")})
    assert told["services"]["diary"]["needs"] == ["nots"]


def test_on_a_drained_cell_nothing_is_to_run_and_edges_pass_it_over(fleet):
    fleet.drained.mkdir(parents=True)
    (fleet.drained / "cell2").touch()
    told = rick(fleet, "cell2")
    assert {entry["state"] for entry in told["services"].values()} == {"stopped"}
    assert told["fleet"]["drained"] is True
    sites = rick(fleet, "edge1")["fleet"]["sites"]
    assert sites["board"]["upstreams"] == []
    assert [one["id"] for one in sites["diary"]["upstreams"]] == ["cell3"]
    assert rick(fleet, "cell3")["services"]["diary"].get("state", "present") == "present"


@pytest.mark.parametrize(
    "name, text",
    [
        ("services/diary.yaml", "image: [hunter2-of-notes"),
        ("services/diary.yaml", "image: localhost/hunter2-of-notes:1"),
        ("services/diary.yaml", "image: localhost/diary:1\ncells: [hunter2-of-notes/]"),
    ],
)
def test_a_file_that_cannot_be_used_stops_all_cells_without_telling_them_what_is_in_it(fleet, name, text):
    for host in ("cell1", "cell2", "cell3"):
        told = rick(fleet, host, **{name: text, "secrets/notes.yaml": "mail: other"})
        (error,) = told["services_errors"]
        assert error.split(":")[0].endswith("services/diary.yaml")
        assert "salt-run fleet.check" in error
        assert "hunter2" not in json.dumps(told)


@pytest.mark.parametrize(
    "text",
    [
        "cells: [",
        "cell: ['cell*']",
        "cells: ['cell*']\nsso: other",
        "cells: ['cell*']\nsso: 'cell*'",
        "cells: ['cell /*']",
        "cells: []",
        "cells: ['cell*']\nedges: [edge1]",
        "cells: ['cell*']\naddresses: {cell1: here}",
        "cells: ['cell*']\naddresses: {cell1: 5}",
        "[]",
    ],
)
def test_without_a_fleet_file_that_can_be_used_nobody_has_a_role(fleet, text):
    for host in HOSTS:
        told = rick(fleet, host, **{"fleet.yaml": text})
        assert told["fleet"]["roles"] == []
        assert told["services"] == {}
        assert told["services_errors"]


def test_without_any_fleet_file_nobody_has_a_role(fleet):
    told = fleet("cell1", {name: text for name, text in FILES.items() if name != "fleet.yaml"}).pillar["rick"]
    assert told["fleet"]["roles"] == []
    assert any("fleet.yaml" in error for error in told["services_errors"])


@pytest.mark.parametrize("text", ["authentik: [", "services: {}"])
def test_settings_of_the_host_with_authentik_that_cannot_be_used_stop_all_before_logins_are_taken_away(fleet, text):
    for host in ("cell2", "edge1"):
        (error,) = rick(fleet, host, **{"hosts/cell1.yaml": text})["services_errors"]
        assert error.split(":")[0].endswith("hosts/cell1.yaml")


def test_a_host_that_is_a_cell_and_an_edge_is_told_that_it_cannot_be(fleet):
    told = rick(fleet, "cell2", **{"fleet.yaml": "cells: ['cell*']\nedges: {cell2: [cell3]}\n"})
    assert [error for error in told["services_errors"] if "a cell and an edge" in error]


def test_what_a_host_publishes_is_not_believed_beyond_its_form(fleet):
    fleet.published["cell2"] = {
        "address": "192.0.2.2\n}",
        "authority": "-----BEGIN CERTIFICATE-----\nAA\n",
        "certificate": 5,
    }
    upstream = rick(fleet, "edge1")["fleet"]["sites"]["board"]["upstreams"][0]
    assert upstream == {"id": "cell2", "address": None, "authority": None}
    for nonsense in (None, [], "x", {"address": None}, {"address": 5}):
        fleet.published["cell2"] = nonsense
        assert rick(fleet, "edge1")["fleet"]["sites"]["board"]["upstreams"][0]["authority"] is None


def test_an_address_in_the_fleet_file_outranks_what_the_host_says(fleet):
    told = rick(fleet, "edge1", **{"fleet.yaml": FLEET + "addresses: {cell2: 198.51.100.7}\n"})
    assert told["fleet"]["sites"]["board"]["upstreams"][0]["address"] == "198.51.100.7"


def test_a_host_file_cannot_give_itself_what_the_master_decides(fleet):
    told = rick(fleet, "cell3", **{"hosts/cell3.yaml": "fleet: {roles: [sso]}\nservices: {x: {image: 'x:1'}}\n"})
    assert told["fleet"]["roles"] == ["cell"]
    assert set(told["services"]) == {"diary"}
    assert len(told["services_errors"]) == 2


def test_a_cell_without_logins_learns_nothing_of_authentik(fleet):
    told = rick(fleet, "cell3", **{"services/diary.yaml": DIARY.replace("cell3", "cell1")})
    assert told["fleet"]["sso"] is None
    assert rick(fleet, "cell3")["fleet"]["sso"]["domain"] == "auth.example.test"


def test_the_key_of_client_secrets_is_roots_alone(fleet):
    fleet("cell1", FILES)
    assert fleet.key.stat().st_mode & 0o777 == 0o600
    assert fleet.key.parent.stat().st_mode & 0o777 == 0o700
