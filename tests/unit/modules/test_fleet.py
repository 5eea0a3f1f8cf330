"""
What a host of a fleet makes of what its master tells it, and what it says of itself.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

fleet = load("modules", "fleet")
states = load("states", "fleet")
results = load("utils", "results")

CELL = {"id": "cell2", "address": "192.0.2.2", "authority": "PEM2\n"}
SITES = {
    "board": {"domains": ["board.example.test"], "tls": "internal", "upstreams": [CELL]},
    "diary": {
        "domains": ["diary.example.test"],
        "tls": "acme",
        "upstreams": [CELL, {"id": "cell3", "address": None, "authority": "PEM3\n"}],
    },
}


class Host:
    def __init__(self):
        self.pillar = {"rick": {}}
        self.sites, self.files, self.logins = [], {}, {}
        self.authority = "ROOT\n"

    def told(self, **about):
        self.pillar["rick"]["fleet"] = {
            "id": "here",
            "roles": ["edge"],
            "sso": None,
            "sites": {},
            "logins": {},
            **about,
        }

    def root_certificate(self):
        if self.authority is None:
            raise CommandExecutionError("there is none yet")
        return self.authority


@pytest.fixture
def host(monkeypatch, tmp_path):
    found = Host()
    salt = {
        "caddy.sites": lambda: found.sites,
        "caddy.root_certificate": found.root_certificate,
        "catalogue_entries.known": lambda: {"logins": found.logins},
        **{f"fleet.{name}": getattr(fleet, name) for name in ("roles", "problems", "view")},
        "fleet.modules": lambda: "digest",
    }
    utils = {"textfile.read": found.files.get, "results.unchanged": results.unchanged, "results.failed": results.failed}
    for module in (fleet, states):
        monkeypatch.setattr(module, "__salt__", salt, raising=False)
        monkeypatch.setattr(module, "__utils__", utils, raising=False)
        monkeypatch.setattr(module, "__pillar__", found.pillar, raising=False)
        monkeypatch.setattr(
            module, "__opts__", {"id": "cell2", "file_client": "remote", "master_ip": "127.0.0.1"}, raising=False
        )
    monkeypatch.setattr(fleet, "OTHERS", str(tmp_path))
    return found


def test_a_host_without_a_master_is_all_that_a_host_can_be(host):
    assert fleet.roles() == ["cell", "sso"]
    assert fleet.view() is None
    assert fleet.sites() == fleet.logins() == fleet.authorities() == {}
    assert fleet.problems() == []


@pytest.mark.parametrize("pillar", [{}, {"rick": None}, {"rick": {"fleet": "x"}}])
def test_a_pillar_of_another_form_is_that_of_a_host_without_a_master(host, monkeypatch, pillar):
    monkeypatch.setattr(fleet, "__pillar__", pillar)
    assert fleet.roles() == ["cell", "sso"]


def test_a_host_that_its_master_does_not_know_fails_with_what_the_master_says(host):
    host.told(roles=[])
    host.pillar["rick"]["services_errors"] = ["no pattern is its"]
    failed = states.view_complete("x")
    assert failed["result"] is False
    assert failed["comment"].startswith("no pattern is its\n")


def test_a_host_of_which_the_master_cannot_say_all_changes_nothing(host):
    host.told(roles=["edge"])
    assert states.view_complete("x")["comment"] == "This host is edge"
    host.pillar["rick"]["services_errors"] = ["services/wiki.yaml: cannot be used"]
    failed = states.view_complete("x")
    assert (failed["result"], failed["comment"]) == (False, "services/wiki.yaml: cannot be used")


def test_what_is_wrong_on_a_host_without_a_master_is_the_catalogues_to_say(host):
    host.pillar["rick"]["services_errors"] = ["services/wiki.yaml: cannot be used"]
    assert states.view_complete("x")["comment"] == "This host is cell and sso"


def test_a_run_with_the_modules_of_another_tree_fails_with_the_way_out(host):
    assert states.modules_current("x")["result"] is True
    host.told(modules="digest")
    assert states.modules_current("x")["result"] is True
    host.told(modules="another")
    failed = states.modules_current("x")
    assert failed["result"] is False
    assert "salt cell2 saltutil.sync_all" in failed["comment"]


def test_modules_that_salt_ssh_has_just_brought_are_those_of_the_tree(host, monkeypatch):
    host.told(modules="another")
    monkeypatch.setitem(states.__opts__, "file_client", "local")
    assert states.modules_current("x")["result"] is True


def test_an_edge_shows_sites_of_cells_that_can_be_reached_and_recognised(host, tmp_path):
    host.told(sites=SITES)
    file = f"{tmp_path}/cell2.pem"
    for name in SITES:
        assert fleet.site(name)["cells"] == ["192.0.2.2"]
        assert fleet.site(name)["authorities"] == [file]
    assert fleet.authorities() == {file: "PEM2\n", f"{tmp_path}/cell3.pem": "PEM3\n"}


def test_what_an_edge_shows_no_more_is_told(host, tmp_path):
    host.told(sites=SITES)
    host.sites = [{"service": "board"}, {"service": "old"}, {"service": None}]
    assert fleet.stale_sites() == ["old"]
    (tmp_path / "cell2.pem").touch()
    (tmp_path / "cell9.pem").touch()
    assert fleet.stale_authorities() == [f"{tmp_path}/cell9.pem"]


def test_the_host_of_authentik_is_known_by_its_authority_too(host, tmp_path):
    host.told(sso={"id": "cell1", "domain": "auth.example.test", "address": "192.0.2.1", "authority": "PEM1\n"})
    assert fleet.authorities() == {f"{tmp_path}/cell1.pem": "PEM1\n"}
    host.told(sso={"id": "cell1", "domain": "auth.example.test", "address": None, "authority": None})
    assert fleet.authorities() == {}


def test_logins_of_services_elsewhere_are_resolved_and_their_secrets_come_from_the_master(host):
    host.told(logins={"board": {"auth": "forward_auth"}, "wiki": None, "items": {"auth": {}}})
    host.logins = {"board": {"secret": None}, "items": {"secret": "items.auth"}}
    assert fleet.logins() == {"board": {"secret": None}, "wiki": None, "items": {"secret": "items.auth"}}
    assert fleet.client_secret("board") == []
    assert fleet.client_secret("items") == [{"name": "items.auth", "pillar": "secrets:items:auth"}]


def test_what_is_published_is_what_there_is(host):
    host.files["/etc/caddy/identity/certificate.pem"] = "CERTIFICATE\n"
    said = fleet.published()
    assert said["certificate"] == "CERTIFICATE\n"
    assert said["authority"] == "ROOT\n"
    host.authority, host.files["/etc/caddy/identity/certificate.pem"] = None, None
    assert {**fleet.published(), "address": None} == {"address": None, "certificate": None, "authority": None}


def test_a_loopback_address_is_never_published(host, monkeypatch):
    """A minion on its master's host speaks to it there; others could not."""

    class Asked:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def connect(self, place):
            self.place = place[0]
            if self.place == "192.0.2.1" and unreachable:
                raise OSError

        def getsockname(self):
            return ("127.0.0.1" if self.place == "127.0.0.1" else "198.51.100.4", 9)

    unreachable = False
    monkeypatch.setattr(fleet.socket, "socket", Asked)
    assert fleet.published()["address"] == "198.51.100.4"
    unreachable = True
    assert fleet.published()["address"] is None
