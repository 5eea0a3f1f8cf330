"""
A service's PostgreSQL in Salt's loader: on a host without a server, and against one that only takes statements down.
"""

import contextlib
import socket
from types import SimpleNamespace

import loaded
import psycopg
import pytest
from authority import Authority


@pytest.fixture
def virgin(loaders, minion, tmp_path, monkeypatch):
    """Not even the user postgres is there."""
    modules = minion().modules
    for name in ("postgres_tenant", "postgres_dump"):
        assert loaded.of_module(modules, name)  # before constants are moved: loading it later moved them back
    constants = loaded.of_util(modules, "postgresql_server")
    monkeypatch.setitem(constants, "SOCKET_DIRECTORY", str(tmp_path))
    monkeypatch.setitem(constants, "SUPERUSER", "no-such-user")
    monkeypatch.setitem(loaded.of_module(modules, "postgresql"), "DATA", tmp_path)
    return loaded.states_over(loaders, modules)


EVERYTHING = {"extensions": ["pg_trgm"], "readonly_roles": ["reports"], "auth": "scram", "locale": "C.UTF-8"}


def test_what_a_service_needs_is_planned_and_a_run_fails(virgin):
    result = virgin("postgres_tenant.present", test=True, name="notes", tenant=EVERYTHING)
    assert result["result"] is None, result["comment"]
    assert {"role", "database", "password", "extensions", "reports reads"} <= set(result["changes"])
    result = virgin("postgres_tenant.present", test=False, name="notes", tenant=EVERYTHING)
    assert result["result"] is False
    assert "must come before" in result["comment"]


@pytest.mark.parametrize("data", ["keep", "archive", "delete"])
def test_what_a_virgin_host_has_no_need_of_is_no_plan(virgin, data):
    result = virgin("postgres_tenant.absent", test=True, name="notes", data=data)
    assert (result["result"], result["changes"]) == (True, {})


@pytest.mark.parametrize("options", [{"name": "postgres"}, {"name": "notes", "tenant": {"locale": "english"}}])
def test_what_cannot_be_fails_in_a_plan(virgin, options):
    assert virgin("postgres_tenant.present", test=True, **options)["result"] is False


SITE = """
rick:
  postgresql:
    servers:
      localhost: {port: 1, user: rick, password: {pillar: "db:password"}, authority: %s}
db: {password: planted-password}
"""


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_server_elsewhere_that_is_not_there_fails_in_a_plan_as_in_a_run(loaders, minion, tmp_path, test_mode):
    (tmp_path / "ca.crt").write_text(Authority().certificate)
    apply = loaded.states_over(loaders, minion(site=SITE % (tmp_path / "ca.crt")).modules)
    tenant = {"server": "localhost", "auth": "scram"}
    result = apply("postgres_tenant.present", test=test_mode, name="notes", tenant=tenant)
    assert result["result"] is False
    assert result["comment"].startswith("service notes: PostgreSQL at localhost:1: is not reached: Connection refused")
    assert "planted" not in result["comment"]
    result = apply("postgres_tenant.present", test=test_mode, name="notes", tenant={**tenant, "server": "db"})
    assert "say rick:postgresql:servers:db with user and password" in result["comment"]


class Connection:
    """What psycopg would return; takes statements down and answers as a server on which nothing ever is."""

    closed = False

    def __init__(self, sent, database):
        self.sent, self.database, self.ends = sent, database, socket.socketpair()
        self.info = SimpleNamespace(dbname=database)

    def fileno(self):
        return self.ends[0].fileno()

    def close(self):
        self.closed = True

    def transaction(self):
        return contextlib.nullcontext()

    def execute(self, statement, params=None):
        text = statement if isinstance(statement, str) else statement.as_string(None)
        self.sent.append((self.database, text))
        rows = next((rows for word, rows in ANSWERS.items() if word in text), [])
        return SimpleNamespace(description=rows or None, fetchall=lambda: rows)


ANSWERS = {
    "server_version": [{"server_version": "17.6"}],
    "json_agg(d)": [{"roles": [], "databases": []}],
    "SELECT nspname": [{"name": "public"}],
    "pg_available_extensions": [{"installed": None, "available": "1.6"}],
}


@pytest.fixture
def sent(modules, open_folder, monkeypatch):
    """What a server gets from a run, as (database, statement)."""
    assert loaded.of_module(modules, "postgres_tenant")
    constants = loaded.of_util(modules, "postgresql_server")
    monkeypatch.setitem(constants, "SOCKET_DIRECTORY", str(open_folder))
    monkeypatch.setitem(constants, "SUPERUSER", "daemon")  # a system user that every Debian has
    sent = []
    monkeypatch.setattr(psycopg, "connect", lambda **options: Connection(sent, options["dbname"]))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{open_folder}/.s.PGSQL.5432")
        listening.listen()
        yield sent


def test_everything_a_service_needs_is_sent_and_what_has_no_effect_is_a_failure(loaders, modules, sent):
    apply = loaded.states_over(loaders, modules)
    options = {"extensions": ["pg_trgm"], "readonly_roles": ["reports"]}
    plan = apply("postgres_tenant.present", test=True, name="notes", tenant=options)
    assert plan["result"] is None, plan["comment"]
    assert not [text for _, text in sent if text.startswith(("CREATE", "ALTER", "GRANT"))]
    done = apply("postgres_tenant.present", test=False, name="notes", tenant=options)
    assert done["changes"] == plan["changes"]
    assert "still different" in done["comment"]
    for wanted in (
        ("postgres", "COMMENT ON ROLE \"notes\" IS 'rick-infra service notes'"),
        ("postgres", "COMMENT ON DATABASE \"notes\" IS 'rick-infra service notes'"),
        ("postgres", 'GRANT CONNECT ON DATABASE "notes" TO "reports"'),
        ("notes", 'CREATE EXTENSION IF NOT EXISTS "pg_trgm" CASCADE'),
        ("notes", 'GRANT SELECT ON ALL TABLES IN SCHEMA "public" TO "reports"'),
    ):
        assert wanted in sent
