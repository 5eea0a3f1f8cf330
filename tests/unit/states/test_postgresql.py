"""
PostgreSQL's states in both modes, on a server that is a few dictionaries.
"""

import pytest
from dunders import functions
from salt.exceptions import CommandExecutionError
from tree import load

postgresql = load("states", "postgresql")

ALL = ["CONNECT", "CREATE", "TEMPORARY"]
PLAIN = {"login": True, "connection_limit": -1, "createdb": False, "member_of": []}
NEVER = {"superuser": False, "createrole": False, "replication": False, "bypassrls": False}
OPTIONS = {
    "role_present": {},
    "role_absent": {},
    "database_present": {"owner": "notes"},
    "database_absent": {},
    "extension_present": {"database": "notes"},
    "extension_absent": {"database": "notes"},
}


class Host:
    def __init__(self, accepting=True):
        self.accepting, self.clusters = accepting, []
        self.roles = {"notes": {**PLAIN, **NEVER}, "backup": {**PLAIN, **NEVER}}
        self.databases, self.installed, self.available = {}, set(), {"notes"}
        self.status = {"errors": [], "unread": [], "pending_restart": [], "places": ["/etc/postgresql/17/main"]}
        self.acted, self.deaf, self.error = [], False, None
        self.overridden = set()
        self.refuses = False

    def server(self):
        if self.refuses:
            raise CommandExecutionError("no pg_hba.conf entry")
        return {"accepting": self.accepting, "version": "17.6"}

    def functions(self):
        answers = {
            "postgresql.server": self.server,
            "postgresql.clusters": lambda: self.clusters,
            "postgresql.role": lambda name: self.roles.get(name, {}),
            "postgresql.database": lambda name: self.databases.get(name, {}),
            "postgresql.extension": lambda name, database: {
                "installed": "1.6" if name in self.installed else None,
                "available": "1.6" if name in self.available else None,
            },
            "postgresql_settings.overridden": lambda names: sorted(set(names) & self.overridden),
            "postgresql_settings.pending_restart": lambda: list(self.status["pending_restart"]),
            "postgresql_settings.status": lambda: {key: list(value) for key, value in self.status.items()},
        }
        for name in (
            *("role_create", "role_alter", "role_drop", "extension_create", "extension_drop"),
            *("database_create", "database_alter", "database_grant", "database_drop"),
        ):
            answers[f"postgresql.{name}"] = self._acting(name)
        for name in ("reload", "reread", "restart", "reset"):
            answers[f"postgresql_settings.{name}"] = self._acting(name)
        return answers

    def _acting(self, name):
        def act(*arguments, **options):
            if self.error:
                raise self.error
            self.acted.append(name)
            if not self.deaf:
                getattr(self, name)(*arguments, **options)
            return True

        return act

    def role_create(self, name, **options):
        self.roles[name] = {**options, "member_of": sorted(options["member_of"]), **NEVER}

    role_alter = role_create

    def role_drop(self, name):
        del self.roles[name]

    def database_create(self, name, owner, encoding, locale, template, connection_limit):
        self.databases[name] = {
            "owner": owner,
            "encoding": encoding,
            "locale": locale,
            "ctype": locale,
            "connection_limit": connection_limit,
            "privileges": {"PUBLIC": ["CONNECT", "TEMPORARY"], owner: ALL},
        }

    def database_alter(self, name, owner, connection_limit):
        self.databases[name].update(owner=owner, connection_limit=connection_limit)

    def database_grant(self, name, privileges):
        self.databases[name]["privileges"] = privileges

    def database_drop(self, name, force=False):
        del self.databases[name]

    def extension_create(self, name, database, schema):
        self.installed.add(name)

    def extension_drop(self, name, database):
        self.installed.remove(name)

    def reload(self):
        self.status["unread"] = []

    def reread(self, unit):
        self.refuses = False

    def reset(self, names):
        self.overridden -= set(names)

    def restart(self, unit):
        self.status["unread"], self.status["pending_restart"] = [], []


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def apply(monkeypatch, results):
    def apply(function, host, test, running=None, **options):
        monkeypatch.setattr(postgresql, "__salt__", host.functions(), raising=False)
        monkeypatch.setattr(
            postgresql,
            "__utils__",
            {**results, **functions("utils", "postgresql_names", "postgresql_locales")},
            raising=False,
        )
        monkeypatch.setattr(postgresql, "__opts__", {"test": test}, raising=False)
        monkeypatch.setattr(postgresql, "__running__", running or {}, raising=False)
        result = getattr(postgresql, function)("notes", **{**OPTIONS.get(function, {}), **options})
        assert result["name"] == "notes"
        return result

    return apply


def converge(apply, function, host, **options):
    """Plan, run and run again; the three must agree. Return the changes."""
    before = list(host.acted)
    plan = apply(function, host, test=True, **options)
    assert (plan["result"], host.acted) == (None, before)
    done = apply(function, host, test=False, **options)
    assert done["result"] is True, done["comment"]
    assert done["changes"] == plan["changes"] != {}
    for test in (True, False):
        again = apply(function, host, test=test, **options)
        assert (again["result"], again["changes"]) == (True, {})
    return done["changes"]


def test_a_missing_role_is_created(apply, host):
    host.roles.clear()
    assert set(converge(apply, "role_present", host)) == {"notes"}
    assert host.acted == ["role_create"]


@pytest.mark.parametrize(
    "drift",
    [
        {"superuser": True},
        {"createrole": True},
        {"replication": True},
        {"bypassrls": True},
        {"createdb": True},
        {"login": False},
        {"connection_limit": 5},
        {"member_of": ["pg_read_all_data"]},
    ],
)
def test_whatever_a_role_has_beyond_its_declaration_is_taken_away(apply, host, drift):
    host.roles["notes"].update(drift)
    assert set(converge(apply, "role_present", host)) == set(drift)
    assert host.acted == ["role_alter"]


def test_the_order_of_memberships_does_not_matter(apply, host):
    host.roles["notes"]["member_of"] = ["a", "b"]
    assert apply("role_present", host, test=False, member_of=["b", "a"])["changes"] == {}


def test_a_role_is_dropped_once(apply, host):
    converge(apply, "role_absent", host)
    assert host.acted == ["role_drop"]


def test_a_missing_database_is_created_and_closed_to_the_public(apply, host):
    converge(apply, "database_present", host, clients=["backup"])
    assert host.acted == ["database_create", "database_grant"]
    assert host.databases["notes"]["privileges"] == {"notes": ALL, "backup": ["CONNECT"]}


@pytest.mark.parametrize(
    "drift",
    [
        {"privileges": {"PUBLIC": ["CONNECT", "TEMPORARY"], "notes": ALL}},
        {"privileges": {"notes": ALL, "backup": ["CONNECT"]}},
        {"privileges": {}},
        {"owner": "backup"},
        {"connection_limit": 3},
    ],
)
def test_drift_of_a_database_is_repaired(apply, host, drift):
    host.database_create("notes", "notes", "UTF8", "C.UTF-8", "template0", -1)
    host.databases["notes"].update({"privileges": {"notes": ALL}, **drift})
    assert set(converge(apply, "database_present", host)) == set(drift)
    assert host.acted[-1] == "database_grant"


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(
    ("present", "told"),
    [
        ({"encoding": "SQL_ASCII"}, "encoding is SQL_ASCII, not UTF8"),
        ({"locale": "de_DE.UTF-8"}, "locale is de_DE.UTF-8"),
        ({"ctype": "C"}, "ctype is C, not C.UTF-8"),
    ],
)
def test_another_encoding_or_locale_is_refused_with_the_way_out(apply, host, test, present, told):
    host.database_create("notes", "notes", "UTF8", "C.UTF-8", "template0", -1)
    host.databases["notes"].update(present)
    result = apply("database_present", host, test)
    assert (result["result"], host.acted) == (False, [])
    assert told in result["comment"]
    assert "pg_dump" in result["comment"]


def test_one_locale_in_two_spellings_is_no_difference(apply, host):
    host.database_create("notes", "notes", "UTF8", "C.utf8", "template0", -1)
    host.databases["notes"]["privileges"] = {"notes": ALL}
    assert apply("database_present", host, test=False)["changes"] == {}


@pytest.mark.parametrize("missing", ["notes", "backup"])
def test_a_role_that_is_not_there_is_a_plan_and_then_an_error_that_names_it(apply, host, missing):
    del host.roles[missing]
    assert apply("database_present", host, test=True, clients=["backup"])["result"] is None
    result = apply("database_present", host, test=False, clients=["backup"])
    assert (result["result"], host.acted) == (False, [])
    assert f"no role {missing}" in result["comment"]


def test_a_database_is_dropped_once(apply, host):
    host.database_create("notes", "notes", "UTF8", "C.UTF-8", "template0", -1)
    converge(apply, "database_absent", host)
    assert host.acted == ["database_drop"]


def test_an_extension_comes_and_goes(apply, host):
    host.database_create("notes", "notes", "UTF8", "C.UTF-8", "template0", -1)
    converge(apply, "extension_present", host)
    converge(apply, "extension_absent", host)
    assert host.acted == ["extension_create", "extension_drop"]


@pytest.mark.parametrize(("lack", "told"), [("database", "no database notes"), ("package", "install its package")])
def test_what_an_extension_needs_is_a_plan_and_then_an_error_that_names_it(apply, host, lack, told):
    if lack == "package":
        host.database_create("notes", "notes", "UTF8", "C.UTF-8", "template0", -1)
        host.available.clear()
    assert apply("extension_present", host, test=True)["result"] is None
    result = apply("extension_present", host, test=False)
    assert (result["result"], host.acted) == (False, [])
    assert told in result["comment"]


def test_an_extension_is_absent_from_a_database_that_does_not_exist(apply, host):
    assert apply("extension_absent", host, test=False)["changes"] == {}


@pytest.mark.parametrize("function", [name for name in OPTIONS if name.endswith("present")])
def test_without_a_server_it_is_planned_and_a_run_fails(apply, function):
    host = Host(accepting=False)
    assert apply(function, host, test=True)["result"] is None
    result = apply(function, host, test=False)
    assert (result["result"], host.acted) == (False, [])
    assert "must come before" in result["comment"]


@pytest.mark.parametrize("function", [*OPTIONS, "settings_applied"])
def test_what_a_server_that_is_down_holds_cannot_be_planned(apply, function):
    host = Host(accepting=False)
    host.clusters = ["/var/lib/postgresql/17/main"]
    plan = apply(function, host, test=True)
    assert (plan["result"], plan["changes"]) == (True, {})
    assert apply(function, host, test=False)["result"] is False


@pytest.mark.parametrize("function", [*(name for name in OPTIONS if name.endswith("absent")), "settings_applied"])
def test_without_a_server_there_is_nothing_to_plan_and_a_run_fails(apply, function):
    host = Host(accepting=False)
    plan = apply(function, host, test=True)
    assert (plan["result"], plan["changes"]) == (True, {})
    assert apply(function, host, test=False)["result"] is False


@pytest.mark.parametrize("function", ["role_present", "role_absent", "database_present", "database_absent"])
@pytest.mark.parametrize("test", [True, False])
def test_the_servers_own_roles_and_databases_are_refused(monkeypatch, apply, host, function, test):
    monkeypatch.setattr(postgresql, "__running__", {}, raising=False)
    apply(function, Host(), test)  # sets the dunders
    result = getattr(postgresql, function)("postgres", **OPTIONS[function])
    assert result["result"] is False
    assert "belongs to PostgreSQL" in result["comment"]


def test_what_the_server_refuses_is_a_failure_in_its_words(apply, host):
    host.error = CommandExecutionError('role "notes" cannot be dropped; owner of database notes')
    result = apply("role_absent", host, test=False)
    assert result["result"] is False
    assert "owner of database notes" in result["comment"]


def test_a_change_that_does_not_take_is_a_failure(apply, host):
    host.roles["notes"]["superuser"] = True
    host.deaf = True
    result = apply("role_present", host, test=False)
    assert result["result"] is False
    assert "superuser is True, not False" in result["comment"]


def test_files_the_server_has_not_read_are_read(apply, host):
    host.status["unread"] = ["/etc/postgresql/17/main/pg_hba.conf"]
    assert converge(apply, "settings_applied", host)["files"]["new"] == ["/etc/postgresql/17/main/pg_hba.conf"]
    assert host.acted == ["reload"]


def test_what_alter_system_set_for_a_declared_setting_is_reset(apply, host):
    host.overridden = {"max_connections", "log_statement"}
    changes = converge(apply, "settings_applied", host, settings=["max_connections"])
    assert changes == {"ALTER SYSTEM": {"old": ["max_connections"], "new": []}}
    assert host.acted == ["reset", "reload"]
    assert host.overridden == {"log_statement"}


def test_rules_that_keep_even_salt_out_are_read_anew(apply, host):
    host.refuses = True
    plan = apply("settings_applied", host, test=True)
    assert (plan["result"], host.acted) == (None, [])
    done = apply("settings_applied", host, test=False)
    assert (done["result"], host.acted) == (True, ["reread"])
    assert done["changes"] == plan["changes"] == {"access rules": {"old": "no pg_hba.conf entry", "new": "read anew"}}
    assert apply("settings_applied", host, test=False)["changes"] == {}


def test_rules_that_keep_salt_out_for_good_are_a_failure_in_the_servers_words(apply, host):
    host.refuses, host.error = True, CommandExecutionError("no pg_hba.conf entry")
    result = apply("settings_applied", host, test=False)
    assert (result["result"], result["comment"]) == (False, "no pg_hba.conf entry")


@pytest.mark.parametrize("unread", [[], ["/etc/postgresql/17/main/conf.d/50-rick-infra.conf"]])
def test_a_setting_that_needs_it_restarts_the_server_once(apply, host, unread):
    host.status.update(unread=unread, pending_restart=["max_connections"])
    assert "max_connections" in converge(apply, "settings_applied", host)["restart"]["new"]
    assert host.acted == ["restart"]


@pytest.mark.parametrize("test", [True, False])
def test_mistakes_in_the_files_leave_the_server_as_it_is(apply, host, test):
    host.status.update(errors=["/etc/pg_hba.conf:4: end-of-line"], unread=["/etc/pg_hba.conf"], pending_restart=["x"])
    result = apply("settings_applied", host, test)
    assert (result["result"], host.acted) == (False, [])
    assert "/etc/pg_hba.conf:4" in result["comment"]


def running(path, result=None, state="file"):
    return {f"{state}_|-an id_|-{path}_|-managed": {"result": result, "changes": {}}}


def test_a_file_that_the_same_run_would_write_is_part_of_the_plan(apply, host):
    path = "/etc/postgresql/17/main/conf.d/50-rick-infra.conf"
    plan = apply("settings_applied", host, test=True, running=running(path))
    assert (plan["result"], plan["changes"]["files"]["new"]) == (None, [path])
    assert apply("settings_applied", host, test=False, running=running(path, result=True))["changes"] == {}


def test_a_planned_file_may_be_what_repairs_a_mistake(apply, host):
    host.status["errors"] = ["/etc/postgresql/17/main/pg_hba.conf:4: end-of-line"]
    plan = apply("settings_applied", host, test=True, running=running("/etc/postgresql/17/main/pg_hba.conf"))
    assert plan["result"] is None


@pytest.mark.parametrize(
    "past",
    [
        running("/etc/postgresql/17/main/pg_hba.conf", result=True),
        running("/etc/postgresql/18/main/pg_hba.conf"),
        running("/etc/postgresql/17/main", state="unix_socket"),
    ],
)
def test_what_is_no_planned_configuration_file_is_not(apply, host, past):
    assert apply("settings_applied", host, test=True, running=past)["result"] is True
