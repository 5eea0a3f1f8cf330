"""
What is done for a service, in which order, on a server that takes it down. The real one is met in the lab.
"""

import contextlib
import re
from pathlib import Path

import pytest
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

tenant = load("modules", "postgres_tenant")

ALL = ["CONNECT", "CREATE", "TEMPORARY"]
ROLE = {
    "login": True,
    "connection_limit": -1,
    "createdb": False,
    "superuser": False,
    "createrole": False,
    "replication": False,
    "bypassrls": False,
    "member_of": [],
    "comment": None,
}
RIGHT = {"schemas": True, "tables": True, "future tables": True}


class Server:
    """Roles and databases that change as they are told to; ``done`` lists the calls that change something."""

    def __init__(self):
        self.accepting = True
        self.roles = {"postgres": {**ROLE, "superuser": True}, "scram-clients": {**ROLE, "login": False}}
        self.databases, self.inside, self.done, self.asked = {}, {}, [], []
        self.available, self.passwords, self.sessions = {"pg_trgm"}, {}, []

    def modules(self):
        own = ("inventory", "query", "change", "role_create", "role_alter", "role_drop", "database_create")
        own += ("database_alter", "database_grant", "database_drop", "extension", "extension_create")
        return {
            **{f"postgresql.{name}": getattr(self, name) for name in own},
            "postgresql.server": lambda: {"accepting": self.accepting, "version": "17.6"},
            "postgresql.forget_connections": lambda database=None: True,
            "postgresql_password.group": lambda: "scram-clients",
            "postgresql_password.matches": lambda role, path: self.passwords.get(role) == path,
            "postgresql_password.set": self.passwords.__setitem__,
            "secret.path": lambda name: f"/secrets/{name}",
            "debian_packages.missing": lambda packages: packages,
            "debian_packages.install": lambda packages: self.done.append(f"install {packages}"),
        }

    def inventory(self):
        return {"roles": self.roles, "databases": self.databases}

    def query(self, sql, params=None, database="postgres"):
        self.asked.append(database)
        if "AS extensions" in sql:
            return [{"extensions": [], "public": None, "readers": None, **self.inside.get(database, {})}]
        if "pg_stat_activity" in sql and "terminate" not in sql:
            return [{"role": role} for role in self.sessions]
        if "BINDIR" in sql:
            return [{"setting": "/bin"}]
        if "nspname" in sql and "extname" not in sql:
            return [{"name": "public"}]
        return []

    def change(self, statements, database="postgres"):
        for statement in statements:
            text = statement if isinstance(statement, str) else re.sub(" +", " ", statement.as_string(None))
            self.done.append(text)
            if found := re.fullmatch(r"COMMENT ON DATABASE \"(.*)\" IS '(.*)'", text):
                self.databases[found[1]]["comment"] = found[2]
            elif found := re.fullmatch('ALTER ROLE "(.*)" NOLOGIN', text):
                self.roles[found[1]]["login"] = False
            elif found := re.fullmatch('ALTER DATABASE "(.*)" CONNECTION LIMIT (.*)', text):
                self.databases[found[1]]["connection_limit"] = int(found[2])
            elif found := re.fullmatch('GRANT USAGE ON SCHEMA "public" TO "(.*)"', text):
                self.inside.setdefault(database, {}).setdefault("readers", {})[found[1]] = RIGHT

    def role_create(self, name, **options):
        self.done.append(f"role {name}")
        self.roles[name] = {**ROLE, **options}

    role_alter = role_create

    def role_drop(self, name):
        self.done.append(f"drop role {name}")
        del self.roles[name]

    def database_create(self, name, owner, locale):
        self.done.append(f"database {name}")
        self.databases[name] = {
            "owner": owner,
            "encoding": "UTF8",
            "locale": locale,
            "ctype": locale,
            "connection_limit": -1,
            "connectable": True,
            "comment": None,
            "privileges": {"PUBLIC": ["CONNECT"], owner: ALL},
        }

    def database_alter(self, name, owner):
        self.done.append(f"alter database {name}")
        self.databases[name].update(owner=owner, connection_limit=-1, connectable=True)

    def database_grant(self, name, privileges):
        self.databases[name]["privileges"] = privileges

    def database_drop(self, name, force=False):
        self.done.append(f"drop database {name}")
        del self.databases[name]

    def extension(self, name, database):
        return {"available": "1" if name in self.available else None, "installed": None}

    def extension_create(self, name, database, schema=None):
        self.done.append(f"extension {name}")
        self.inside.setdefault(database, {}).setdefault("extensions", []).append(name)


@pytest.fixture
def server(monkeypatch):
    server = Server()
    utils = functions("utils", "postgres_tenants", "postgresql_names", "postgresql_locales", "postgresql_server")
    utils.update(functions("utils", "postgres_dumps", "postgresql_scram"))
    utils["secret_files.read"] = lambda path: "a-long-password-of-it" if "missing" not in path else None
    utils["postgresql_locales.missing"] = lambda locale: locale == "xx_XX.UTF-8"
    utils["postgresql_locales.generate"] = lambda locale: server.done.append(f"locale {locale}")
    monkeypatch.setattr(tenant, "__utils__", utils, raising=False)
    monkeypatch.setattr(tenant, "__salt__", server.modules(), raising=False)
    return server


EVERYTHING = {"extensions": ["pg_trgm"], "auth": "scram", "readonly_roles": ["reports"], "connection_limit": 20}


@pytest.mark.parametrize("options", [{}, EVERYTHING, {"role": "other", "database": "another"}])
def test_what_was_made_needs_no_change(server, options):
    assert tenant.differences("notes", **options)
    tenant.apply("notes", **options)
    assert tenant.differences("notes", **options) == {}


def test_a_server_that_does_not_run_has_nothing_yet(server):
    server.accepting = False
    changes = tenant.differences("notes", **EVERYTHING)
    assert list(changes) == [*("role", "read-only role reports", "database", "password", "extensions", "reports reads")]


def test_the_plan_for_a_host_without_a_server_is_the_plan_for_an_empty_one(server):
    running = tenant.differences("notes", **EVERYTHING)
    server.accepting = False
    assert tenant.differences("notes", **EVERYTHING) == running


def test_nobody_connects_to_a_database_that_only_its_owner_gets_into(server):
    tenant.apply("notes")
    server.asked.clear()
    tenant.differences("notes")
    assert "notes" not in server.asked


def test_the_role_is_made_with_its_password_before_the_database(server):
    tenant.apply("notes", auth="scram")
    assert server.done[:2] == ["role notes", "database notes"]
    assert server.passwords == {"notes": "/secrets/notes.postgres"}
    assert server.roles["notes"]["member_of"] == ["scram-clients"]


def test_a_service_that_gives_up_its_password_loses_it(server):
    tenant.apply("notes", auth="scram")
    assert set(tenant.differences("notes")) == {"role", "password"}
    tenant.apply("notes")
    assert server.passwords == {"notes": None}
    assert tenant.differences("notes") == {}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"extensions": ["vector"]}, "postgresql-17-pgvector"),
        ({"auth": "scram", "secret": "missing"}, "no secret file /secrets/missing"),
    ],
)
def test_what_the_host_lacks_is_told_before_anything_is_made(server, options, told):
    assert tenant.differences("notes", **options)
    with pytest.raises(CommandExecutionError, match=told):
        tenant.apply("notes", **options)
    assert server.done == []


def test_passwords_need_the_role_of_those_who_have_one(server):
    del server.roles["scram-clients"]
    with pytest.raises(CommandExecutionError, match=r"infra\.postgresql"):
        tenant.apply("notes", auth="scram")


def test_a_locale_is_made_before_its_database(server):
    assert "locale" in tenant.differences("notes", locale="xx_XX.UTF-8")
    tenant.apply("notes", locale="xx_XX.UTF-8")
    assert server.done[:2] == ["install ['locales']", "locale xx_XX.UTF-8"]


def test_a_database_of_another_locale_is_refused(server):
    tenant.apply("notes")
    with pytest.raises(CommandExecutionError, match="cannot be changed"):
        tenant.differences("notes", locale="en_US.UTF-8")


def test_a_foreign_role_is_neither_changed_nor_dropped(server):
    server.roles["notes"] = dict(ROLE)
    with pytest.raises(CommandExecutionError, match="COMMENT ON ROLE"):
        tenant.apply("notes")
    for data in ("keep", "archive", "delete"):
        assert tenant.removal_differences("notes", data=data) == {}
    tenant.lock("notes")
    tenant.drop("notes")
    assert server.done == []


def test_a_reader_that_is_no_longer_listed_is_dropped_and_what_it_owned_stays(server):
    tenant.apply("notes", readonly_roles=["reports"])
    server.done.clear()
    tenant.apply("notes")
    assert server.done[:3] == [
        'REASSIGN OWNED BY "reports" TO "notes"',
        'DROP OWNED BY "reports"',
        "drop role reports",
    ]


def test_a_new_role_takes_over_what_the_former_one_has_made(server):
    tenant.apply("notes")
    tenant.apply("notes", role="writer", database="notes")
    assert 'REASSIGN OWNED BY "notes" TO "writer"' in server.done
    assert server.databases["notes"]["owner"] == "writer"


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("notes", {"role": "postgres"}, "belongs to PostgreSQL"),
        ("notes", {"role": "scram-clients"}, "belongs to this tree"),
        ("notes", {"readonly_roles": ["rick-infra-restore"]}, "belongs to this tree"),
        ("notes", {"readonly_roles": ["notes"]}, "cannot be read-only"),
        ("notes", {"database": "template1"}, "belongs to PostgreSQL"),
        ("notes", {"auth": "trust"}, "not peer or scram"),
        ("no tes", {}, "letters, digits"),
        ("notes' OR 1=1", {}, "letters, digits"),
    ],
)
def test_what_cannot_be_is_refused(server, name, options, told):
    with pytest.raises(SaltInvocationError, match=told):
        tenant.differences(name, **options)


def test_locked_and_unlocked_again(server):
    tenant.apply("notes", readonly_roles=["reports"])
    assert set(tenant.removal_differences("notes")) == {"role", "read-only role reports", "database"}
    tenant.lock("notes")
    assert tenant.removal_differences("notes") == {}
    assert tenant.list_()["notes"]["locked"] is True
    tenant.apply("notes", readonly_roles=["reports"])
    assert tenant.list_()["notes"]["locked"] is False


def test_dropping_takes_database_readers_and_role(server):
    tenant.apply("notes", readonly_roles=["reports"])
    tenant.apply("wiki")
    tenant.drop("notes")
    assert server.done[-5:] == [
        "drop database notes",
        'DROP OWNED BY "reports"',
        "drop role reports",
        'DROP OWNED BY "notes"',
        "drop role notes",
    ]
    assert list(server.databases) == ["wiki"]
    assert tenant.removal_differences("notes", data="delete") == {}


def test_visitors_are_told_and_the_service_is_none(server):
    tenant.apply("notes")
    server.sessions = ["notes", "admin"]
    assert tenant.visitors("notes") == ["admin"]


def test_an_unknown_way_to_go_is_refused(server):
    with pytest.raises(SaltInvocationError, match="keep, archive or delete"):
        tenant.removal_differences("notes", data="burn")


@pytest.fixture
def dumping(server, monkeypatch, tmp_path):
    """Databases' content is a word each; ``loses`` makes the restored one another. Returns the archive."""
    content = {"notes": "written"}
    server.loses, server.restored_by = False, []

    def write(programs, database, path, snapshot):
        Path(path).write_text(content[database])

    def read(programs, path, database, role, password, owner, lines):
        server.restored_by.append((role, owner, server.roles[role]["member_of"]))
        content[database] = "lost" if server.loses else Path(path).read_text()

    @contextlib.contextmanager
    def connected(database):
        yield database, "0001-1"

    class Connection(str):
        def close(self):
            pass

    monkeypatch.setattr(tenant, "_snapshot", connected)
    monkeypatch.setitem(tenant.__utils__, "postgresql_server.connect_as_superuser", Connection)
    monkeypatch.setitem(tenant.__utils__, "postgres_dumps.places", lambda: (f"{tmp_path}/d", f"{tmp_path}/a", 3))
    monkeypatch.setitem(tenant.__utils__, "postgres_dumps.write", write)
    monkeypatch.setitem(tenant.__utils__, "postgres_dumps.read", read)
    monkeypatch.setitem(tenant.__utils__, "postgres_dumps.contents", lambda programs, path: [])
    monkeypatch.setitem(
        tenant.__utils__,
        "postgres_dumps.fingerprint",
        lambda connection, run, compose: {"table a": content[connection]},
    )
    tenant.apply("notes")
    return tmp_path / "a/notes"


def scratches(server):
    return [name for name in server.databases if name.startswith("rick-infra")]


def test_an_archive_is_proven_by_a_role_that_can_no_more_than_the_owner(server, dumping):
    path = tenant.archive("notes")
    assert Path(path).read_text() == "written"
    assert server.restored_by == [("rick-infra-restore", "notes", ["scram-clients", "notes"])]
    assert scratches(server) == []
    assert "rick-infra-restore" not in server.roles


def test_an_archive_that_does_not_come_back_is_none(server, dumping):
    server.loses = True
    with pytest.raises(CommandExecutionError, match="table a: written, restored lost"):
        tenant.archive("notes")
    assert list(dumping.iterdir()) == []
    assert scratches(server) == []
    assert "rick-infra-restore" not in server.roles


def test_a_trial_that_a_killed_run_left_is_no_obstacle_and_a_foreign_database_is(server, dumping):
    scratch = load("utils", "postgres_dumps").scratch("notes")
    server.database_create(scratch, "notes", "C.UTF-8")
    tenant.archive("notes")
    server.database_create(scratch, "postgres", "C.UTF-8")
    with pytest.raises(CommandExecutionError, match="in the way"):
        tenant.archive("notes")
    assert scratches(server) == [scratch]


def test_three_dumps_are_kept(server, dumping):
    paths = [tenant.dump("notes") for _ in range(5)]
    assert [Path(path).exists() for path in paths] == [False, False, True, True, True]


def test_a_restored_dump_takes_the_place_of_what_was_dumped_before(server, dumping):
    old = tenant.dump("notes")
    before = tenant.restore("notes", old)
    assert Path(before).exists()
    assert before != old
    renamed = [text.split('"') for text in server.done if "RENAME" in text]
    assert (renamed[0][1], renamed[1][3]) == ("notes", "notes")


def test_a_dump_needs_a_database_of_the_service(server, dumping):
    with pytest.raises(CommandExecutionError, match=r"service wiki: .* none"):
        tenant.dump("wiki")
    with pytest.raises(CommandExecutionError, match="none called other"):
        tenant.dump("notes", "other")
