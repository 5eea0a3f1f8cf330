"""
What is sent to PostgreSQL: statements, on one connection a database and run. The server is met in the lab.
"""

import os
import pwd
import re

import pytest
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

postgresql = load("modules", "postgresql")

ROLE = {"login": True, "connection_limit": -1, "member_of": ["old", "kept"]}
DATABASE = {"owner": "notes", "privileges": {"PUBLIC": ["CONNECT", "TEMPORARY"], "notes": ["CONNECT"]}}


class Server:
    """Takes statements down and answers them with the rows prepared for words in them."""

    def __init__(self):
        self.statements, self.opened, self.rows, self.gone = [], [], {}, set()

    def listens(self):
        return True

    def connect_as_superuser(self, database):
        self.opened.append(database)
        return Connection(database)

    def usable(self, connection):
        return not connection.closed and connection not in self.gone

    def run(self, connection, *statements, params=None):
        texts = [one if isinstance(one, str) else re.sub(" +", " ", one.as_string(None)) for one in statements]
        self.statements.append((connection.database, texts))
        return next((rows for word, rows in self.rows.items() if word in texts[-1]), [])

    @property
    def sent(self):
        """The statements that are not questions."""
        return [texts for _, texts in self.statements if not texts[0].lstrip().startswith("SELECT")]


class Connection:
    def __init__(self, database):
        self.database, self.closed = database, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closed = True


@pytest.fixture
def server(monkeypatch):
    server = Server()
    utils = functions("utils", "postgresql_names", "postgresql_server", "run_as")
    utils.update({f"postgresql_server.{name}": getattr(server, name) for name in ("listens", "usable", "run")})
    utils["postgresql_server.connect_as_superuser"] = server.connect_as_superuser
    monkeypatch.setattr(postgresql, "__utils__", utils, raising=False)
    monkeypatch.setattr(postgresql, "__context__", {}, raising=False)
    return server


def test_one_connection_a_database_serves_the_run(server):
    for database in ("postgres", "notes", "postgres", "notes"):
        postgresql.query("SELECT 1", database=database)
    assert server.opened == ["postgres", "notes"]


def test_a_broken_connection_is_replaced(server):
    postgresql.query("SELECT 1")
    server.gone.add(postgresql.__context__["postgresql.connection.postgres"][1])
    postgresql.query("SELECT 1")
    assert server.opened == ["postgres", "postgres"]


def test_a_forked_child_opens_its_own_and_leaves_its_parents_alone(server, monkeypatch):
    postgresql.query("SELECT 1")
    parents = postgresql.__context__["postgresql.connection.postgres"][1]
    monkeypatch.setattr(os, "getpid", lambda: -1)
    postgresql.query("SELECT 1")
    assert server.opened == ["postgres", "postgres"]
    assert not parents.closed


def test_forgotten_connections_are_closed(server):
    postgresql.query("SELECT 1", database="notes")
    connection = postgresql.__context__["postgresql.connection.notes"][1]
    postgresql.forget_connections()
    assert connection.closed
    assert postgresql.__context__ == {}


def test_the_version_is_told_without_its_packaging(server):
    server.rows["server_version"] = [{"server_version": "17.6 (Debian 17.6-0+deb13u1)"}]
    assert postgresql.server() == {"accepting": True, "version": "17.6"}


def test_without_a_listener_nothing_is_asked(server, monkeypatch):
    monkeypatch.setitem(postgresql.__utils__, "postgresql_server.listens", lambda: False)
    assert postgresql.server() == {"accepting": False, "version": None}
    assert server.opened == []


def test_a_new_role_can_log_in_and_nothing_else(server):
    postgresql.role_create("notes")
    assert server.sent == [
        ['CREATE ROLE "notes" LOGIN NOCREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT -1']
    ]


def test_memberships_become_exactly_those_given_in_one_transaction(server):
    server.rows["pg_roles"] = [ROLE]
    postgresql.role_alter("notes", login=False, createdb=True, connection_limit=5, member_of=["kept", "new"])
    [transaction] = server.sent
    assert transaction[0].startswith('ALTER ROLE "notes" NOLOGIN CREATEDB NOSUPERUSER')
    assert transaction[0].endswith("CONNECTION LIMIT 5")
    assert transaction[1:] == ['REVOKE "old" FROM "notes"', 'GRANT "new" TO "notes"']


def test_what_does_not_exist_is_empty(server):
    assert postgresql.role("notes") == {}
    assert postgresql.database("notes") == {}
    assert postgresql.extension("pg_trgm", "notes") == {"installed": None, "available": None}


def test_the_inventory_is_asked_once_and_again_after_a_change(server):
    server.rows["json_agg"] = [
        {
            "roles": [{"name": "notes", "login": True, "comment": None}],
            "databases": [{"name": "notes", "owner": "notes", "privileges": None}],
        }
    ]
    for _ in range(2):
        assert postgresql.inventory() == {
            "roles": {"notes": {"login": True, "comment": None}},
            "databases": {"notes": {"owner": "notes", "privileges": {}}},
        }
    assert len(server.statements) == 1
    postgresql.change(["SELECT 1"])
    server.rows["json_agg"] = [{"roles": [], "databases": []}]
    assert postgresql.inventory() == {"roles": {}, "databases": {}}


def test_a_role_is_created_with_its_comment_in_one_transaction(server):
    postgresql.role_create("notes", comment="it's ours")
    [transaction] = server.sent
    assert transaction[1] == "COMMENT ON ROLE \"notes\" IS 'it''s ours'"


def test_a_database_nobody_has_rights_on_has_no_privileges(server):
    server.rows["pg_database"] = [{"owner": "notes", "privileges": None}]
    assert postgresql.database("notes") == {"owner": "notes", "privileges": {}}


def test_a_database_is_created_as_declared(server):
    postgresql.database_create("notes", "notes", connection_limit=20)
    assert server.sent == [
        [
            'CREATE DATABASE "notes" OWNER "notes" TEMPLATE "template0" ENCODING \'UTF8\' LOCALE_PROVIDER libc '
            "LOCALE 'C.UTF-8' CONNECTION LIMIT 20"
        ]
    ]


def test_privileges_become_exactly_those_given_in_one_transaction(server):
    server.rows["pg_database"] = [DATABASE]
    postgresql.database_grant("notes", {"notes": ["TEMPORARY", "CONNECT", "CREATE"], "backup": ["CONNECT"]})
    assert server.sent == [
        [
            'REVOKE ALL ON DATABASE "notes" FROM PUBLIC',
            'REVOKE ALL ON DATABASE "notes" FROM "backup"',
            'GRANT CONNECT ON DATABASE "notes" TO "backup"',
            'REVOKE ALL ON DATABASE "notes" FROM "notes"',
            'GRANT CONNECT, CREATE, TEMPORARY ON DATABASE "notes" TO "notes"',
        ]
    ]


def test_a_privilege_that_databases_do_not_have_is_refused(server):
    with pytest.raises(SaltInvocationError, match="SELECT"):
        postgresql.database_grant("notes", {"notes": ["SELECT; DROP"]})
    assert server.sent == []


@pytest.mark.parametrize(("force", "end"), [(False, ""), (True, " WITH (FORCE)")])
def test_dropping_a_database_closes_our_own_connection_first(server, force, end):
    postgresql.query("SELECT 1", database="notes")
    connection = postgresql.__context__["postgresql.connection.notes"][1]
    postgresql.database_drop("notes", force=force)
    assert connection.closed
    assert server.sent == [[f'DROP DATABASE "notes"{end}']]


@pytest.mark.parametrize(
    ("schema", "before", "middle"),
    [(None, ["SET LOCAL search_path TO public"], ""), ("extra", [], ' SCHEMA "extra"')],
)
def test_an_extension_is_created_in_its_database(server, schema, before, middle):
    postgresql.extension_create("pg_trgm", "notes", schema)
    statements = [*before, f'CREATE EXTENSION IF NOT EXISTS "pg_trgm"{middle} CASCADE']
    assert server.statements == [("notes", statements)]


@pytest.mark.parametrize(
    "call",
    [
        lambda: postgresql.role_create("postgres"),
        lambda: postgresql.role_alter("pg_monitor"),
        lambda: postgresql.role_drop("postgres"),
        lambda: postgresql.database_create("template1", "notes"),
        lambda: postgresql.database_alter("postgres", "notes"),
        lambda: postgresql.database_grant("postgres", {}),
        lambda: postgresql.database_drop("postgres"),
    ],
)
def test_what_belongs_to_postgresql_is_left_alone(server, call):
    with pytest.raises(SaltInvocationError, match="belongs to PostgreSQL"):
        call()
    assert server.sent == []


def test_a_query_as_somebody_is_asked_with_their_name_and_ids(server, monkeypatch):
    me = pwd.getpwuid(os.getuid()).pw_name
    server.rows["current_user"] = [{"current_user": me}]
    asked = []

    def connect(role, database, password=None, place=None):
        asked.append((role, database, password))
        return Connection(database)

    monkeypatch.setitem(postgresql.__utils__, "postgresql_server.connect", connect)
    monkeypatch.setitem(postgresql.__utils__, "run_as.call", lambda user, ask, timeout: (user, ask()))
    assert postgresql.query_as(me, "SELECT current_user") == (me, [{"current_user": me}])
    monkeypatch.setitem(postgresql.__utils__, "secret_files.read", {"/there": "a-long-password-of-it"}.get)
    postgresql.query_as(me, "SELECT 1", database="other", role="postgres", secret_file="/there")  # noqa: S106 - a path
    assert asked == [(me, me, None), ("postgres", "other", "a-long-password-of-it")]
    with pytest.raises(CommandExecutionError, match="no secret file /elsewhere"):
        postgresql.query_as(me, "SELECT 1", secret_file="/elsewhere")  # noqa: S106 - a path


def test_what_the_server_refuses_comes_through(server, monkeypatch):
    def refuse(connection, *statements, params=None):
        raise CommandExecutionError("PostgreSQL, database postgres: permission denied")

    monkeypatch.setitem(postgresql.__utils__, "postgresql_server.run", refuse)
    with pytest.raises(CommandExecutionError, match="permission denied"):
        postgresql.role_drop("notes")


SETTINGS = {"port": 5432, "user": "rick", "database": "defaultdb", "authority": "/ca"}


@pytest.fixture
def elsewhere(server, monkeypatch, tmp_path):
    """A server on another host; ``opened`` tells which databases of it somebody connected to, and with what."""
    settings = {**SETTINGS, "password": {"file": str(tmp_path / "db.key")}}
    (tmp_path / "db.key").touch(mode=0o600)
    (tmp_path / "db.key").write_text("of-the-administrator\n")
    infrastructure = {"servers": {"db.example.org": settings}}
    salt = {"catalogue.infrastructure": lambda component: infrastructure}
    monkeypatch.setattr(postgresql, "__salt__", salt, raising=False)
    postgresql.__utils__.update(functions("utils", "secret_files", "secret_values"))

    def connect(place, password, database=None):
        server.opened.append((place["host"], password, database or place["database"]))
        return Connection(database or place["database"])

    postgresql.__utils__["postgresql_server.connect_as_administrator"] = connect
    postgresql.__utils__["postgresql_server.connect_elsewhere"] = connect
    server.settings = settings
    return server


THERE = {"server": "db.example.org"}


def test_a_server_elsewhere_is_asked_on_one_connection_a_database(elsewhere):
    for _ in range(2):
        postgresql.query("SELECT 1", **THERE)
        postgresql.query("SELECT 1", database="notes", **THERE)
        postgresql.query("SELECT 1")
    password = "of-the-administrator"  # noqa: S105 - one that is looked for
    assert elsewhere.opened == [
        ("db.example.org", password, "defaultdb"),
        ("db.example.org", password, "notes"),
        "postgres",
    ]
    assert postgresql.servers() == ["db.example.org"]
    assert "password" not in postgresql.place("db.example.org")


def test_the_inventories_of_two_servers_are_two(elsewhere):
    elsewhere.rows["AS roles"] = [{"roles": [{"name": "a"}], "databases": []}]
    here = postgresql.inventory()
    elsewhere.rows["AS roles"] = [{"roles": [{"name": "b"}], "databases": []}]
    assert (list(here["roles"]), list(postgresql.inventory(**THERE)["roles"])) == (["a"], ["b"])
    assert list(postgresql.inventory()["roles"]) == ["a"]


def test_one_who_is_no_superuser_says_nothing_of_rights_and_takes_those_of_a_role_that_it_makes(elsewhere):
    elsewhere.rows["me.rolsuper"] = [{"name": "notes"}]
    postgresql.role_create("notes", **THERE)
    assert elsewhere.sent == [
        ['CREATE ROLE "notes" LOGIN NOCREATEDB CONNECTION LIMIT -1'],
        ['GRANT "notes" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE'],
    ]
    elsewhere.statements.clear()
    elsewhere.rows["me.rolsuper"] = []
    elsewhere.rows["FROM pg_roles r"] = [{**ROLE, "member_of": [], "superuser": True}]
    postgresql.role_alter("notes", **THERE)
    assert elsewhere.sent == [['ALTER ROLE "notes" LOGIN NOCREATEDB NOSUPERUSER CONNECTION LIMIT -1']]


def test_a_server_that_was_not_reached_is_not_tried_again_in_a_run(elsewhere):
    tried = []

    def unreachable(place, password):
        tried.append(place["host"])
        raise CommandExecutionError("PostgreSQL at db.example.org: is not reached")

    postgresql.__utils__["postgresql_server.connect_as_administrator"] = unreachable
    for _ in range(3):
        with pytest.raises(CommandExecutionError, match="is not reached"):
            postgresql.server("db.example.org")
    assert tried == ["db.example.org"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("db2.example.org", "say rick:postgresql:servers:db2.example.org with user and password"),
        ("db.example.org", "servers:db.example.org:password: no file .*none; write it"),
    ],
)
def test_what_the_settings_do_not_say_is_told(elsewhere, asked, told):
    elsewhere.settings["password"]["file"] += ".none"
    with pytest.raises(CommandExecutionError, match=told):
        postgresql.query("SELECT 1", server=asked)


def test_a_password_may_be_in_the_pillar(elsewhere, monkeypatch):
    elsewhere.settings["password"] = {"pillar": "db:password"}
    monkeypatch.setattr(postgresql, "__pillar__", {"db": {"password": "of-the-pillar"}}, raising=False)
    postgresql.query("SELECT 1", **THERE)
    assert elsewhere.opened == [("db.example.org", "of-the-pillar", "defaultdb")]
