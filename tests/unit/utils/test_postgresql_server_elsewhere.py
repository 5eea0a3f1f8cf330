"""
What keeps anybody from a server on another host, found out at one that does nothing but begin TLS as PostgreSQL does.
"""

import contextlib
import socket
import ssl
import threading
from types import SimpleNamespace

import pytest
from authority import Authority
from salt.exceptions import CommandExecutionError
from tree import load

server = load("utils", "postgresql_server")


@pytest.fixture(scope="module")
def authority():
    return Authority()


@contextlib.contextmanager
def listening(path, certificate=None):
    """Yield the port of a server that shows a certificate, ``(certificate, key)``; without one it offers no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        (path / "server.pem").write_text("".join(certificate))
        context.load_cert_chain(path / "server.pem")

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                if client.recv(8) == server.SSL_REQUEST:
                    client.sendall(b"S" if certificate else b"N")
                    if certificate:
                        with context.wrap_socket(client, server_side=True) as secured:
                            secured.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def place(path, port, trusted, host="localhost"):
    (path / "ca.crt").write_text(trusted)
    return {"host": host, "port": port, "authority": str(path / "ca.crt")}


def test_a_server_with_a_certificate_of_the_authority_is_no_obstacle(tmp_path, authority):
    with listening(tmp_path, authority.issue("localhost")) as port:
        assert server.obstacle(place(tmp_path, port, authority.certificate)) is None


@pytest.mark.parametrize(
    ("issued", "trusted", "told"),
    [
        (("localhost", 1), "another", "vouches for its certificate .*servers:localhost:authority names the file"),
        (("db.example.org", 1), None, "its certificate is for another name"),
        (("localhost", -1), None, "expired"),
        (None, None, "does not offer TLS"),
        (("localhost", 1), "", r"ca\.crt: no certificates \(PEM\)"),
    ],
)
def test_what_is_wrong_with_its_certificate_is_told_by_connecting_in_vain(tmp_path, authority, issued, trusted, told):
    certificate = authority.issue(*issued) if issued else None
    known = {None: authority.certificate, "another": Authority("another").certificate}.get(trusted, trusted)
    with listening(tmp_path, certificate) as port:
        there = place(tmp_path, port, known)
        with pytest.raises(CommandExecutionError, match=rf"PostgreSQL at localhost:{port}: .*{told}"):
            server.connect("notes", "notes", "password", place=there)
        assert server.refusal("notes", "notes", "password", there)


def test_a_server_that_is_not_there_is_told_with_its_setting(tmp_path, authority):
    there = place(tmp_path, 1, authority.certificate)
    assert "is not reached: Connection refused" in server.obstacle(there)
    assert "rick:postgresql:servers:localhost:port" in server.obstacle(there)
    assert "No such file" in server.obstacle({**there, "authority": str(tmp_path / "none")})


def test_nothing_is_sent_without_tls_and_what_is_tried_without_has_no_password(tmp_path, authority):
    with listening(tmp_path) as port:
        assert server.open_without_tls("notes", "notes", place(tmp_path, port, authority.certificate)) is False


class Administrator:
    """What psycopg would return at a server that lets the administrator in."""

    def __init__(self, version=170_006, all_it_takes=True):
        self.info = SimpleNamespace(server_version=version)
        self.all_it_takes, self.closed = all_it_takes, False

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("connected", "mode", "told"),
    [
        (Administrator(version=150_014), 0o644, "runs PostgreSQL 15; it takes 16 or later"),
        (Administrator(all_it_takes=False), 0o644, 'run ALTER ROLE "rick" CREATEROLE CREATEDB'),
        (Administrator(), 0o600, "chmod 644"),
    ],
)
def test_who_cannot_make_databases_there_is_told_at_once(tmp_path, monkeypatch, authority, connected, mode, told):
    there = {**place(tmp_path, 5432, authority.certificate, "db"), "user": "rick", "database": "postgres"}
    (tmp_path / "ca.crt").chmod(mode)
    monkeypatch.setattr(server, "connect", lambda *_, **__: connected)
    monkeypatch.setattr(server, "run", lambda connection, sql: [{"all_it_takes": connection.all_it_takes}])
    with pytest.raises(CommandExecutionError, match=rf"PostgreSQL at db:5432: .*{told}"):
        server.connect_as_administrator(there, "password")
    assert connected.closed


def test_a_refused_administrator_is_led_to_the_settings(tmp_path, monkeypatch, authority):
    there = {**place(tmp_path, 5432, authority.certificate, "db"), "user": "rick", "database": "postgres"}

    def refused(*_, **__):
        raise CommandExecutionError("PostgreSQL at db:5432, role rick: password authentication failed")

    monkeypatch.setattr(server, "connect", refused)
    monkeypatch.setattr(server, "obstacle", lambda place: None)
    with pytest.raises(CommandExecutionError, match="rick:postgresql:servers:db:password"):
        server.connect_as_administrator(there, "password")
