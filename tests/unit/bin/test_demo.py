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


def listing(monkeypatch, demo, text):
    done = subprocess.CompletedProcess([], 0, stdout=text, stderr="")
    monkeypatch.setattr(demo.subprocess, "run", lambda *_arguments, **_options: done)


def test_its_machine_is_found_among_others(demo, monkeypatch):
    rows = "NAME STATE SUITE ADDRESS\ndemo-2 up trixie 10.0.0.3\ndemo off trixie 10.0.0.2\n"
    listing(monkeypatch, demo, rows)
    assert demo.find() == ("off", "10.0.0.2")


def test_no_machine_is_none(demo, monkeypatch):
    listing(monkeypatch, demo, "NAME STATE SUITE ADDRESS\n")
    assert demo.find() is None


def test_a_machine_that_shows_another_tree_is_refused(demo, monkeypatch):
    monkeypatch.setattr(demo, "find", lambda: ("up", "10.0.0.2"))
    listing(monkeypatch, demo, "1:2\n")
    with pytest.raises(demo.Failure, match="--fresh"):
        demo.machine()


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
def ask(demo, tmp_path):
    """A function that asks a site with these answers for a domain, and returns what the site was asked."""
    own = tls_site.certificate(tmp_path / "own.pem", "notes.example.test")

    def ask(statuses, domain="notes.example.test", trusted=own, patience=0):
        context = ssl.create_default_context(cafile=trusted)
        with site(own, statuses) as server:
            demo.answer("127.0.0.1", domain, context, port=server.server_address[1], patience=patience)
            return server.asked

    return ask


def test_a_site_is_asked_by_its_name_although_no_resolver_knows_it(ask):
    assert [path for _, path in ask([200])] == ["/"]
    assert [host.partition(":")[0] for host, _ in ask([200])] == ["notes.example.test"]


def test_a_site_that_is_not_ready_yet_is_asked_again(ask):
    assert len(ask([502, 502, 200], patience=10)) == 3


def test_a_site_that_fails_is_named_with_what_it_said(demo, ask):
    with pytest.raises(demo.Failure, match=r"https://notes\.example\.test/ does not answer from this host: HTTP 502"):
        ask([502])


def test_a_certificate_for_another_name_is_refused(demo, ask):
    with pytest.raises(demo.Failure, match="certificate verify failed"):
        ask([200], domain="wiki.example.test")


def test_a_certificate_of_another_authority_is_refused(demo, ask, tmp_path):
    with pytest.raises(demo.Failure, match="certificate verify failed"):
        ask([200], trusted=tls_site.certificate(tmp_path / "other.pem", "notes.example.test"))


def test_a_port_where_nobody_listens_is_a_failure(demo):
    with pytest.raises(demo.Failure, match="does not answer"):
        demo.answer("127.0.0.1", "notes.example.test", ssl.create_default_context(), port=1, patience=0)


def test_the_authority_s_certificate_is_kept_for_the_users_of_this_host(demo, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "CACHE", tmp_path)
    listing(monkeypatch, demo, json.dumps({"local": "-----BEGIN CERTIFICATE-----\n"}))
    path = demo.root_certificate()
    assert path.read_text() == "-----BEGIN CERTIFICATE-----\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_it_asks_for_the_sites_of_the_entries_that_it_brings(demo):
    complete = load("utils", "catalogue_schema").complete
    entries = [complete(yaml.safe_load(path.read_text()))[0] for path in demo.ENTRIES.glob("*.yaml")]
    domains = {one["site"]["domains"][0]: one["auth"] for one in entries}
    assert sorted(demo.DOMAINS) == sorted(domain for domain, auth in domains.items() if auth is None)
    assert {demo.BOARD, demo.DIARY, demo.ITEMS} == {domain for domain, auth in domains.items() if auth}


def test_its_people_have_the_passwords_that_it_tells(demo):
    people = yaml.safe_load(demo.PEOPLE.read_text())["entries"]
    assert {one["identifiers"]["username"]: one["attrs"]["password"] for one in people} == demo.PASSWORDS


def test_without_an_image_it_is_the_double(demo):
    authentik = yaml.safe_load(demo.site_pillar(demo.DOUBLE))["rick"]["authentik"]
    assert authentik["image"] == demo.DOUBLE.rpartition(":")[0]


def test_the_real_authentik_is_named_by_its_image(demo):
    digest = f"sha256:{'0' * 64}"
    authentik = yaml.safe_load(demo.site_pillar(f"registry.example.org:5000/a/server:2026.2.3@{digest}"))["rick"][
        "authentik"
    ]
    wanted = {"image": "registry.example.org:5000/a/server", "version": "2026.2.3", "digest": digest}
    assert {key: authentik[key] for key in wanted} == wanted
    assert authentik["domain"] == demo.SSO


@pytest.mark.parametrize("image", ["server", "server@sha256:0", ""])
def test_an_image_without_a_version_is_refused(demo, image):
    with pytest.raises(demo.Failure, match="a name with its version"):
        demo.site_pillar(image)


def test_the_further_service_that_it_proposes_is_a_valid_entry(demo, tmp_path):
    farewell = demo.farewell(ipaddress.ip_address("10.0.0.2"), tmp_path / "authority.crt")
    start = farewell.index("printf")
    command = farewell[start : farewell.index("| sudo", start)]
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    entry = yaml.safe_load(done.stdout)
    assert load("utils", "catalogue_schema").complete(entry)[1] == []
    assert entry["env"] == {"GREETING": "One more"}


def test_its_settings_are_ones_that_the_tree_knows(demo):
    defaults = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]
    for part, settings in yaml.safe_load(demo.PILLAR.read_text())["rick"].items():
        assert set(settings) <= set(defaults[part])
