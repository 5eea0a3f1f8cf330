"""
bin/demo: finding its machine, what it brings there, and saying what failed.
"""

import contextlib
import http.server
import ipaddress
import json
import ssl
import subprocess

import pytest
import tls_site
import yaml
from tree import TREE, load


@pytest.fixture
def demo(command):
    return command("demo")


@pytest.fixture
def machines(command):
    return command("demo_machine.py")


@pytest.fixture
def sites(command):
    return command("demo_sites.py")


@pytest.fixture
def fleet(command):
    return command("demo_fleet.py")


@pytest.fixture
def machine(machines):
    return machines.Machine("demo", "sudo bin/demo --fresh")


def listing(monkeypatch, machines, text):
    done = subprocess.CompletedProcess([], 0, stdout=text, stderr="")
    monkeypatch.setattr(machines.subprocess, "run", lambda *_arguments, **_options: done)


def test_its_machine_is_found_among_others(machines, machine, monkeypatch):
    rows = "NAME STATE SUITE ADDRESS\ndemo-2 up trixie 10.0.0.3\ndemo off trixie 10.0.0.2\n"
    listing(monkeypatch, machines, rows)
    assert machine.find() == ("off", "10.0.0.2")


def test_no_machine_is_none(machines, machine, monkeypatch):
    listing(monkeypatch, machines, "NAME STATE SUITE ADDRESS\n")
    assert machine.find() is None


def test_a_machine_that_shows_another_tree_is_refused(machines, machine, monkeypatch):
    monkeypatch.setattr(machine, "find", lambda: ("up", "10.0.0.2"))
    listing(monkeypatch, machines, "1:2\n")
    with pytest.raises(machines.Failure, match="--fresh"):
        machine.up()


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.headers["Host"], self.path))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def site(path, statuses):
    """A site over TLS on this host with the certificate in ``path``, which gives these answers one after the other."""
    with tls_site.served(path, Site) as server:
        server.statuses, server.asked = list(statuses), []
        yield server


@pytest.fixture
def ask(sites, tmp_path):
    """A function that asks a site with these answers for a domain, and returns what the site was asked."""
    own = tls_site.certificate(tmp_path / "own.pem", "notes.example.test")

    def ask(statuses, domain="notes.example.test", trusted=own, patience=0):
        context = ssl.create_default_context(cafile=trusted)
        with site(own, statuses) as server:
            sites.answer("127.0.0.1", domain, context, port=server.server_address[1], patience=patience)
            return server.asked

    return ask


def test_a_site_is_asked_by_its_name_although_no_resolver_knows_it(ask):
    assert [path for _, path in ask([200])] == ["/"]
    assert [host.partition(":")[0] for host, _ in ask([200])] == ["notes.example.test"]


def test_a_site_that_is_not_ready_yet_is_asked_again(ask):
    assert len(ask([502, 502, 200], patience=10)) == 3


def test_a_site_that_fails_is_named_with_what_it_said(sites, ask):
    with pytest.raises(sites.Failure, match=r"https://notes\.example\.test/ does not answer from this host: HTTP 502"):
        ask([502])


def test_a_certificate_for_another_name_is_refused(sites, ask):
    with pytest.raises(sites.Failure, match="certificate verify failed"):
        ask([200], domain="wiki.example.test")


def test_a_certificate_of_another_authority_is_refused(sites, ask, tmp_path):
    with pytest.raises(sites.Failure, match="certificate verify failed"):
        ask([200], trusted=tls_site.certificate(tmp_path / "other.pem", "notes.example.test"))


def test_a_port_where_nobody_listens_is_a_failure(sites):
    with pytest.raises(sites.Failure, match="does not answer"):
        sites.answer("127.0.0.1", "notes.example.test", ssl.create_default_context(), port=1, patience=0)


def test_the_authority_s_certificate_is_kept_for_the_users_of_this_host(machines, machine, monkeypatch, tmp_path):
    monkeypatch.setattr(machines, "CACHE", tmp_path)
    listing(monkeypatch, machines, json.dumps({"local": "-----BEGIN CERTIFICATE-----\n"}))
    path = machine.root_certificate()
    assert path.read_text() == "-----BEGIN CERTIFICATE-----\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_it_asks_for_the_sites_of_the_entries_that_it_brings(sites):
    complete = load("utils", "catalogue_schema").complete
    entries = [complete(yaml.safe_load(path.read_text()))[0] for path in sites.ENTRIES.glob("*.yaml")]
    domains = {one["site"]["domains"][0]: one["auth"] for one in entries}
    assert sorted(sites.DOMAINS) == sorted(domain for domain, auth in domains.items() if auth is None)
    assert {sites.BOARD, sites.DIARY, sites.ITEMS} == {domain for domain, auth in domains.items() if auth}


def test_its_people_have_the_passwords_that_it_tells(sites):
    people = yaml.safe_load(sites.PEOPLE.read_text())["entries"]
    assert {one["identifiers"]["username"]: one["attrs"]["password"] for one in people} == sites.PASSWORDS


def test_without_an_image_it_is_the_double(sites):
    authentik = yaml.safe_load(sites.site_pillar(sites.DOUBLE))["rick"]["authentik"]
    assert authentik["image"] == sites.DOUBLE.rpartition(":")[0]


def test_the_real_authentik_is_named_by_its_image(sites):
    digest = f"sha256:{'0' * 64}"
    authentik = yaml.safe_load(sites.site_pillar(f"registry.example.org:5000/a/server:2026.2.3@{digest}"))["rick"][
        "authentik"
    ]
    wanted = {"image": "registry.example.org:5000/a/server", "version": "2026.2.3", "digest": digest}
    assert {key: authentik[key] for key in wanted} == wanted
    assert authentik["domain"] == sites.SSO


@pytest.mark.parametrize("image", ["server", "server@sha256:0", ""])
def test_an_image_without_a_version_is_refused(sites, image):
    with pytest.raises(sites.Failure, match="a name with its version"):
        sites.site_pillar(image)


def test_the_further_service_that_it_proposes_is_a_valid_entry(demo, tmp_path):
    farewell = demo.farewell(ipaddress.ip_address("10.0.0.2"), tmp_path / "authority.crt")
    start = farewell.index("printf")
    command = farewell[start : farewell.index("| sudo", start)]
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    entry = yaml.safe_load(done.stdout)
    assert load("utils", "catalogue_schema").complete(entry)[1] == []
    assert entry["env"] == {"GREETING": "One more"}


def test_its_settings_are_ones_that_the_tree_knows(sites):
    defaults = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]
    for part, settings in yaml.safe_load(sites.PILLAR.read_text())["rick"].items():
        assert set(settings) <= set(defaults[part])


def test_each_service_of_the_fleet_has_a_cell_and_its_image_is_built_there(fleet, sites):
    placed = [name for services in fleet.CELLS.values() for name in services]
    assert sorted(placed) == sorted(path.stem for path in sites.ENTRIES.glob("*.yaml"))
    for cell, services in fleet.CELLS.items():
        for name in services:
            image = yaml.safe_load((sites.ENTRIES / f"{name}.yaml").read_text())["image"]
            assert image.removeprefix("localhost/").partition(":")[0] in fleet.IMAGES[cell]


def test_the_fleets_hosts_have_the_roles_that_it_tells(fleet):
    known = load("utils", "fleet_file")
    topology, problems = known.topology(yaml.safe_load(fleet.FLEET.read_text()))
    assert problems == []
    assert {host: known.roles(topology, host) for host in (fleet.MASTER, *fleet.HOSTS)} == {
        "master": [],
        "cell1": ["cell", "sso"],
        "cell2": ["cell"],
        "edge1": ["edge"],
    }


def test_the_first_failure_of_several_things_is_told_once_all_have_ended(fleet):
    ended = []

    def fails():
        raise fleet.Failure("no")

    with pytest.raises(fleet.Failure, match="no"):
        fleet.at_once([fails, lambda: ended.append(1), lambda: ended.append(2)])
    assert sorted(ended) == [1, 2]
