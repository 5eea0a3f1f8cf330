"""
A database on another host as the verification tries it: by TLS, without it, and as everybody else.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

verify = load("modules", "verify_elsewhere")

SERVICE = {
    "name": "notes",
    "account": {"user": "notes"},
    "postgres": {
        "role": "notes",
        "database": "notes",
        "secret": "notes.postgres",
        "readonly_roles": ["reports"],
        "server": "db.example.org",
    },
    "server": {"host": "db.example.org", "port": 5432, "authority": "/ca"},
}


class Host:
    def __init__(self):
        self.role, self.tls, self.plain = "notes", "TLSv1.3", False
        self.enters = {"notes": True, "reports": True, "rick": True, "wiki": False}

    def query_as(self, user, sql, database, role, secret_file, server):
        assert (user, database, role, secret_file) == ("notes", "notes", "notes", "/secrets/notes.postgres")
        if self.role is None:
            raise CommandExecutionError("certificate verify failed")
        if "pg_stat_ssl" in sql:
            return [{"role": self.role, "tls": self.tls}]
        return [{"role": role, "enters": enters} for role, enters in self.enters.items()]


@pytest.fixture
def host(monkeypatch):
    host = Host()
    salt = {
        "verify_service.check": load("modules", "verify_service").check,
        "postgresql.query_as": host.query_as,
        "postgresql.place": lambda server: {"host": server, "user": "rick"},
        "secret.path": lambda name: f"/secrets/{name}",
    }
    utils = {"postgresql_server.open_without_tls": lambda role, database, place: host.plain}
    monkeypatch.setattr(verify, "__salt__", salt, raising=False)
    monkeypatch.setattr(verify, "__utils__", utils, raising=False)
    return host


def outcome():
    return [(one["passed"], one["detail"]) for one in verify.of_service(SERVICE)]


def test_a_sound_server_passes(host):
    assert outcome() == [
        (True, "role notes, database notes, TLSv1.3"),
        (True, "refused"),
        (True, "none of 1 others may"),
    ]


def test_what_cannot_be_asked_has_not_passed(host):
    host.role = None
    assert [passed for passed, _ in outcome()] == [False, True, False]


def test_open_doors_are_found(host):
    host.plain, host.enters["wiki"] = True, True
    assert [passed for passed, _ in outcome()] == [True, False, False]
    assert outcome()[2][1] == "open to wiki"
