"""
Whose is what, and what has to change: decided from the inventory alone.
"""

import copy

import pytest
from doubles.postgresql import ALL, ROLE
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError
from tree import load

tenants = load("utils", "postgres_tenants")
server = load("utils", "postgresql_server")

DATABASE = {"connection_limit": -1, "connectable": True, "comment": None, "privileges": {}, "owner": "postgres"}
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)


def wanted(**options):
    return {
        "name": "notes",
        "role": "notes",
        "database": "notes",
        "locale": "C.UTF-8",
        "extensions": [],
        "connection_limit": 20,
        "auth": "peer",
        "group": "scram-clients",
        "readonly_roles": [],
        "readonly_connection_limit": 5,
        **options,
    }


def inventory(**options):
    """What the server has once everything that is wanted has been made."""
    asked = wanted(**options)
    roles = {asked["role"]: {**ROLE, **tenants.role_options(asked)}}
    roles.update({reader: {**ROLE, **tenants.reader_options(asked)} for reader in asked["readonly_roles"]})
    database = {
        **DATABASE,
        "owner": asked["role"],
        "comment": "rick-infra service notes",
        "privileges": tenants.privileges(asked),
    }
    return {"roles": {"postgres": {**ROLE, "superuser": True}, **roles}, "databases": {asked["database"]: database}}


FRIENDS = {"readonly_roles": ["reports"], "auth": "scram"}


@pytest.mark.parametrize("options", [{}, FRIENDS, {"role": "other", "database": "another"}])
def test_what_was_made_as_declared_needs_no_change(options):
    assert tenants.differences(wanted(**options), inventory(**options)) == {}
    tenants.refuse_foreign(wanted(**options), inventory(**options))


def test_on_an_empty_server_everything_is_new():
    changes = tenants.differences(wanted(**FRIENDS), {"roles": {}, "databases": {}})
    assert list(changes) == ["role", "read-only role reports", "database"]
    assert all(change["old"] is None for change in changes.values())


@pytest.mark.parametrize(
    ("kind", "name", "key", "value"),
    [
        ("roles", "notes", "login", False),
        ("roles", "notes", "superuser", True),
        ("roles", "notes", "createdb", True),
        ("roles", "notes", "connection_limit", -1),
        ("roles", "notes", "member_of", ["pg_read_all_data", "scram-clients"]),
        ("roles", "reports", "bypassrls", True),
        ("roles", "reports", "member_of", ["notes"]),
        ("databases", "notes", "connection_limit", 0),
        ("databases", "notes", "connectable", False),
        ("databases", "notes", "comment", None),
        ("databases", "notes", "privileges", {"PUBLIC": ["CONNECT"], "notes": ALL, "reports": ["CONNECT"]}),
        ("databases", "notes", "privileges", {"notes": ALL}),
    ],
)
def test_any_drift_is_a_change_that_shows_old_and_new(kind, name, key, value):
    present = inventory(**FRIENDS)
    right = present[kind][name][key]
    present[kind][name][key] = value
    [change] = tenants.differences(wanted(**FRIENDS), present).values()
    assert change == {"old": {key: value}, "new": {key: right}}


def test_a_reader_that_is_no_longer_listed_goes_and_those_of_others_stay():
    present = inventory(**FRIENDS)
    present["roles"]["elsewhere"] = {**ROLE, "comment": "rick-infra service wiki, read-only"}
    assert tenants.differences(wanted(auth="scram"), present)["read-only role reports"] == {
        "old": "present",
        "new": None,
    }
    assert tenants.surplus_readers(wanted(), present) == ["reports"]


@pytest.mark.parametrize(
    ("comment", "told"),
    [
        (None, 'sudo -u postgres psql -c "COMMENT ON ROLE \\"notes\\" IS \'rick-infra service notes\'"'),
        ("made by hand", "hand it over"),
        ("rick-infra service wiki", "belongs to service wiki"),
        ("rick-infra service notes and more", "hand it over"),
    ],
)
def test_a_role_of_somebody_else_is_refused_with_the_way_out(comment, told):
    present = {"roles": {"notes": {**ROLE, "comment": comment}}, "databases": {}}
    with pytest.raises(CommandExecutionError) as caught:
        tenants.refuse_foreign(wanted(), present)
    assert told in str(caught.value)


def test_a_database_of_somebody_else_is_refused_and_adopted_by_its_comment():
    present = {"roles": {}, "databases": {"notes": copy.deepcopy(DATABASE)}}
    with pytest.raises(CommandExecutionError, match=r'COMMENT ON DATABASE \\"notes\\"'):
        tenants.refuse_foreign(wanted(), present)
    present["databases"]["notes"]["comment"] = "rick-infra service notes"
    tenants.refuse_foreign(wanted(), present)


def test_what_a_killed_run_made_without_marking_it_is_known_by_its_owner():
    present = inventory()
    present["databases"]["notes"]["comment"] = None
    tenants.refuse_foreign(wanted(), present)
    assert set(tenants.differences(wanted(), present)) == {"database"}


def test_an_owner_cannot_give_its_database_to_another_service_by_a_comment():
    present = inventory()
    present["roles"]["evil"] = {**ROLE, "comment": "rick-infra service evil"}
    present["databases"]["trap"] = {**DATABASE, "owner": "evil", "comment": "rick-infra service notes"}
    assert tenants.whose(present, "databases", "trap") == "evil"
    with pytest.raises(CommandExecutionError, match="belongs to service evil"):
        tenants.refuse_foreign(wanted(database="trap"), present)
    assert tenants.tenants(present)["evil"]["databases"] == ["trap"]


def test_what_every_service_has_is_listed():
    present = inventory(**FRIENDS)
    entry = {"roles": ["notes"], "readonly_roles": ["reports"], "databases": ["notes"], "locked": False}
    assert tenants.tenants(present) == {"notes": entry}
    for role in ("notes", "reports"):
        present["roles"][role]["login"] = False
    present["databases"]["notes"]["connection_limit"] = 0
    assert tenants.tenants(present) == {"notes": {**entry, "locked": True}}


def test_locking_and_removal_reach_all_that_carries_the_mark_and_nothing_else():
    present = inventory(**FRIENDS)
    present["roles"]["other"], present["databases"]["other"] = ROLE, DATABASE
    mine = tenants.tenants(present)["notes"]
    all_of_it = ["database notes", "role notes", "read-only role reports"]
    assert set(tenants.locking_differences(mine, present)) == set(all_of_it)
    assert list(tenants.removal_differences(mine, ["notes"])) == all_of_it
    assert list(tenants.removal_differences(mine, ["notes"], [], "/a")) == ["archive of notes", *all_of_it, "dumps"]


def facts(**options):
    right = {"schemas": True, "tables": True, "future tables": True}
    return {
        "extensions": ["plpgsql"],
        "public": {"owner": "pg_database_owner", "open": False},
        "readers": {"reports": right},
        **options,
    }


@pytest.mark.parametrize(
    ("options", "there", "changed"),
    [
        ({}, facts(), []),
        ({"extensions": ["plpgsql"]}, facts(), []),
        ({"extensions": ["pg_trgm"]}, facts(), ["extensions"]),
        ({"extensions": ["pg_trgm"]}, None, ["extensions"]),
        ({}, facts(public={"owner": "postgres", "open": False}), ["schema public"]),
        ({}, facts(public={"owner": "notes", "open": False}), []),
        ({}, facts(public={"owner": "notes", "open": True}), ["schema public"]),
        ({}, facts(public=None), []),
        ({"readonly_roles": ["reports"]}, facts(), []),
        ({"readonly_roles": ["reports"]}, facts(readers=None), ["reports reads"]),
        ({"readonly_roles": ["reports"]}, None, ["reports reads"]),
        ({"readonly_roles": ["reports"]}, facts(readers={"reports": {"schemas": False}}), ["reports reads"]),
    ],
)
def test_what_is_inside_the_database_is_compared(options, there, changed):
    assert list(tenants.inside_differences(wanted(**options), {}, there)) == changed


def test_only_readers_make_the_whole_question_necessary():
    assert "pg_default_acl" not in tenants.inside_question(wanted(extensions=["pg_trgm"]))[0]
    sql, parameters = tenants.inside_question(wanted(readonly_roles=["reports"]))
    assert "pg_default_acl" in sql
    assert parameters == {"readers": ["reports"], "owner": "notes"}


def test_reading_is_given_in_each_schema_and_for_what_is_to_come():
    sent = [one.as_string(None) for one in tenants.reading(server.statement, "notes", 'o"dd', ["public", "app"])]
    assert 'GRANT SELECT ON ALL TABLES IN SCHEMA "app" TO "o""dd"' in sent
    assert 'GRANT USAGE ON SCHEMA "public" TO "o""dd"' in sent
    assert 'ALTER DEFAULT PRIVILEGES FOR ROLE "notes" GRANT SELECT ON TABLES TO "o""dd"' in sent
    assert not [one for one in sent if one.startswith("GRANT") and "SELECT" not in one and "USAGE" not in one]


@pytest.mark.parametrize(
    ("extension", "package"),
    [
        ("vector", "postgresql-17-pgvector"),
        ("postgis", "postgresql-17-postgis-3"),
        ("pg_cron", "postgresql-17-cron"),
        ("rum", "postgresql-17-rum"),
        ("my_ext", "postgresql-17-my-ext"),
    ],
)
def test_the_likely_package_is_named(extension, package):
    assert tenants.package(extension, "17.6") == package


@given(NAMES, st.sampled_from([None, "read-only", "scratch"]))
def test_every_mark_is_recognised(name, kind):
    assert tenants.marked(tenants.mark(name, kind)) == (name, kind)


@given(st.none() | st.text())
def test_any_other_comment_is_no_mark(comment):
    service, kind = tenants.marked(comment)
    assert service is None or comment == tenants.mark(service, kind)


def test_a_reader_has_a_limit_of_its_own():
    asked = wanted(readonly_roles=["reports"], readonly_connection_limit=3)
    assert tenants.reader_options(asked)["connection_limit"] == 3
    assert tenants.role_options(asked)["connection_limit"] == 20
    changes = tenants.differences(asked, inventory(readonly_roles=["reports"], readonly_connection_limit=-1))
    assert changes == {"read-only role reports": {"old": {"connection_limit": -1}, "new": {"connection_limit": 3}}}
