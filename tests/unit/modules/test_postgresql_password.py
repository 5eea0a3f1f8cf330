"""
Passwords of roles: the server is handed a verifier, and the right one is no change.
"""

import pytest
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

password = load("modules", "postgresql_password")

SECRET = "planted-password-of-notes"  # noqa: S105 - one that is looked for


@pytest.fixture
def server(monkeypatch, tmp_path):
    """One role; ``kept`` is what the server has for it, ``sent`` what it was told."""

    class Server:
        kept, sent, roles = None, [], ["notes"]

    server = Server()
    server.sent = []

    def change(statements, **_):
        server.sent += [one.as_string(None) for one in statements]
        server.kept = None if "NULL" in server.sent[-1] else server.sent[-1].split("'")[1]

    monkeypatch.setattr(
        password,
        "__salt__",
        {
            "postgresql.query": lambda sql, params, **_: [{"kept": server.kept}] if params[0] in server.roles else [],
            "postgresql.change": change,
        },
        raising=False,
    )
    utils = functions("utils", "secret_files", "postgresql_scram", "postgresql_names", "postgresql_server")
    monkeypatch.setattr(password, "__utils__", utils, raising=False)
    return server


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "notes.postgres"
    path.touch(mode=0o600)
    path.write_text(f"{SECRET}\n")
    return str(path)


def test_a_password_that_was_set_matches_and_never_reached_the_server(server, secret):
    assert password.matches("notes", secret) is False
    password.set_("notes", secret)
    assert password.matches("notes", secret) is True
    assert SECRET not in "".join(server.sent)
    assert server.sent[0].startswith('ALTER ROLE "notes" PASSWORD \'SCRAM-SHA-256$')


def test_another_password_does_not_match(server, secret, tmp_path):
    password.set_("notes", secret)
    (tmp_path / "notes.postgres").write_text("another-password-of-notes")
    assert password.matches("notes", secret) is False


def test_a_password_is_taken_away(server, secret):
    assert password.matches("notes", None) is True
    password.set_("notes", secret)
    assert password.matches("notes", None) is False
    password.set_("notes", None)
    assert server.sent[-1] == 'ALTER ROLE "notes" PASSWORD NULL'
    assert password.matches("notes", None) is True


def test_a_missing_role_or_file_matches_nothing_and_cannot_be_set(server, secret, tmp_path):
    assert password.matches("nobody", secret) is False
    assert password.matches("nobody", None) is False
    assert password.matches("notes", str(tmp_path / "none")) is False
    with pytest.raises(CommandExecutionError, match="must come before"):
        password.set_("notes", str(tmp_path / "none"))
    with pytest.raises(SaltInvocationError, match="belongs to PostgreSQL"):
        password.set_("postgres", secret)
    assert server.sent == []


@pytest.fixture
def elsewhere(server, monkeypatch):
    """A server on another host, where we may not look; ``refused`` is what it says to whoever logs in."""
    server.used_up, server.refused, server.may_look = False, None, False

    def query(sql, params=(), **there):
        assert there == {"server": "db.example.org"}
        if "has_table_privilege" in sql:
            return [{"may": server.may_look}]
        return [{"used_up": server.used_up}] if "used_up" in sql else [{"kept": server.kept}]

    monkeypatch.setitem(password.__salt__, "postgresql.query", query)
    monkeypatch.setitem(password.__salt__, "postgresql.place", lambda name: {"host": name})
    monkeypatch.setitem(password.__utils__, "postgresql_server.refusal", lambda *_: server.refused)
    return server


def test_where_we_may_not_look_a_login_is_the_proof(elsewhere, secret, tmp_path):
    there = {"server": "db.example.org", "database": "notes"}
    assert password.matches("notes", secret, **there) is True
    elsewhere.refused = "password authentication failed"
    assert password.matches("notes", secret, **there) is False
    elsewhere.used_up = True
    assert password.matches("notes", secret, **there) is True
    assert "must come before" in password.refusal("notes", str(tmp_path / "none"), **there)


def test_where_we_may_look_nobody_logs_in(elsewhere, secret):
    elsewhere.may_look, elsewhere.refused = True, "pg_hba.conf"
    password.set_("notes", secret, server="db.example.org")
    assert password.matches("notes", secret, "db.example.org", "notes") is True
