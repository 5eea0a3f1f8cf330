"""
bin/demo: finding its machine, what it brings there, and saying what failed.
"""

import contextlib
import datetime
import http.server
import ipaddress
import json
import ssl
import subprocess
import threading

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
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


def certificate(path, domain):
    """Write a certificate for ``domain`` that is its own authority, with its key, and return the path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.statuses, server.asked = list(statuses), []
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def ask(demo, tmp_path):
    """A function that asks a site with these answers for a domain, and returns what the site was asked."""
    own = certificate(tmp_path / "own.pem", "notes.example.test")

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
        ask([200], trusted=certificate(tmp_path / "other.pem", "notes.example.test"))


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
    entries = [yaml.safe_load(path.read_text()) for path in demo.ENTRIES.glob("*.yaml")]
    assert sorted(demo.DOMAINS) == sorted(entry["site"] for entry in entries)


def test_the_fourth_service_that_it_proposes_is_a_valid_entry(demo, tmp_path):
    farewell = demo.farewell(ipaddress.ip_address("10.0.0.2"), tmp_path / "authority.crt")
    start = farewell.index("printf")
    command = farewell[start : farewell.index("| sudo", start)]
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    entry = yaml.safe_load(done.stdout)
    assert load("utils", "catalogue_schema").complete(entry)[1] == []
    assert entry["env"] == {"GREETING": "The fourth"}


def test_its_settings_are_ones_that_the_tree_knows(demo):
    defaults = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]
    for part, settings in yaml.safe_load(demo.PILLAR.read_text())["rick"].items():
        assert set(settings) <= set(defaults[part])
