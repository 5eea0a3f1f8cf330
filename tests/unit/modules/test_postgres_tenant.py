"""
What is done for a service, in which order, on a server that takes it down. The real one is met in the lab.
"""

import pytest
from doubles.postgresql import ROLE, Server
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

tenant = load("modules", "postgres_tenant")


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = Server()
    server.prepare(monkeypatch, tmp_path).update(functions("utils", "archives"))
    monkeypatch.setattr(tenant, "__context__", {}, raising=False)
    return server


EVERYTHING = {"extensions": ["pg_trgm"], "auth": "scram", "readonly_roles": ["reports"], "connection_limit": 20}


@pytest.mark.parametrize("options", [{}, EVERYTHING, {"role": "other", "database": "another"}])
def test_what_was_made_needs_no_change(server, options):
    assert tenant.differences("notes", options)
    tenant.apply("notes", options)
    assert tenant.differences("notes", options) == {}


def test_a_server_that_does_not_run_has_nothing_yet(server):
    server.accepting = False
    changes = tenant.differences("notes", EVERYTHING)
    assert list(changes) == [*("role", "read-only role reports", "database", "password", "extensions", "reports reads")]


def test_the_plan_for_a_host_without_a_server_is_the_plan_for_an_empty_one(server):
    running = tenant.differences("notes", EVERYTHING)
    server.accepting = False
    assert tenant.differences("notes", EVERYTHING) == running


def test_nobody_connects_to_a_database_that_only_its_owner_gets_into(server):
    tenant.apply("notes")
    server.asked.clear()
    tenant.differences("notes")
    assert "notes" not in server.asked


def test_the_role_is_made_with_its_password_before_the_database(server):
    tenant.apply("notes", {"auth": "scram"})
    assert server.done[:2] == ["role notes", "database notes"]
    assert server.passwords == {"notes": "/secrets/notes.postgres"}
    assert server.roles["notes"]["member_of"] == ["scram-clients"]


def test_a_service_that_gives_up_its_password_loses_it(server):
    tenant.apply("notes", {"auth": "scram"})
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
    assert tenant.differences("notes", options)
    with pytest.raises(CommandExecutionError, match=told):
        tenant.apply("notes", options)
    assert server.done == []


def test_passwords_need_the_role_of_those_who_have_one(server):
    del server.roles["scram-clients"]
    with pytest.raises(CommandExecutionError, match=r"infra\.postgresql"):
        tenant.apply("notes", {"auth": "scram"})


def test_a_locale_is_made_before_its_database(server):
    assert "locale" in tenant.differences("notes", {"locale": "xx_XX.UTF-8"})
    tenant.apply("notes", {"locale": "xx_XX.UTF-8"})
    assert server.done[:2] == ["install ['locales']", "locale xx_XX.UTF-8"]


def test_a_database_of_another_locale_is_refused(server):
    tenant.apply("notes")
    with pytest.raises(CommandExecutionError, match="cannot be changed"):
        tenant.differences("notes", {"locale": "en_US.UTF-8"})


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
    tenant.apply("notes", {"readonly_roles": ["reports"]})
    server.done.clear()
    tenant.apply("notes")
    assert server.done[:3] == [
        'REASSIGN OWNED BY "reports" TO "notes"',
        'DROP OWNED BY "reports"',
        "drop role reports",
    ]


def test_a_new_role_takes_over_what_the_former_one_has_made(server):
    tenant.apply("notes")
    tenant.apply("notes", {"role": "writer"})
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
        ("notes", {"databse": "x"}, "unknown databse"),
        ("no tes", {}, "letters, digits"),
        ("notes' OR 1=1", {}, "letters, digits"),
    ],
)
def test_what_cannot_be_is_refused(server, name, options, told):
    with pytest.raises(SaltInvocationError, match=told):
        tenant.differences(name, options)


def test_locked_and_unlocked_again(server):
    tenant.apply("notes", {"readonly_roles": ["reports"]})
    assert set(tenant.removal_differences("notes")) == {"role notes", "read-only role reports", "database notes"}
    tenant.lock("notes")
    assert tenant.removal_differences("notes") == {}
    assert tenant.list_()["notes"]["locked"] is True
    tenant.apply("notes", {"readonly_roles": ["reports"]})
    assert tenant.list_()["notes"]["locked"] is False


def test_dropping_takes_database_readers_and_role(server):
    tenant.apply("notes", {"readonly_roles": ["reports"]})
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


@pytest.mark.parametrize("data", ["archive", "delete"])
def test_all_that_carries_the_mark_goes_whatever_it_is_called(server, data):
    tenant.apply("notes")
    tenant.apply("notes", {"database": "notes_v2"})
    server.database_create("rick-infra-scratch-0", "notes", "C.UTF-8")  # of a run that was killed
    server.database_create("notes-of-others", "postgres", "C.UTF-8")
    changes = tenant.removal_differences("notes", data=data)
    archives = ["archive of notes", "archive of notes_v2"] if data == "archive" else []
    assert [thing for thing in changes if thing.startswith("archive")] == archives
    assert {"database notes", "database notes_v2", "database rick-infra-scratch-0", "role notes"} <= set(changes)
    tenant.drop("notes")
    assert (list(server.databases), "notes" in server.roles) == (["notes-of-others"], False)
    assert tenant.removal_differences("notes", data=data) == {}


def test_each_database_is_archived_once_and_nothing_is_dropped(server, tmp_path):
    def dump(name, database, archive):
        dumped.append(database)
        (tmp_path / database).touch()
        return str(tmp_path / database)

    dumped = []
    tenant.__salt__["postgres_dump.archive"] = dump
    tenant.apply("notes")
    tenant.apply("notes", {"database": "notes_v2"})
    assert set(tenant.to_archive("notes")) == {"archive of notes", "archive of notes_v2"}
    files = [str(tmp_path / name) for name in ("notes", "notes_v2")]
    assert tenant.archive("notes") == tenant.archive("notes") == files
    assert (dumped, tenant.to_archive("notes")) == (["notes", "notes_v2"], {})
    assert set(server.databases) == {"notes", "notes_v2"}
    (tmp_path / "notes").unlink()
    assert set(tenant.to_archive("notes")) == {"archive of notes"}


def test_nothing_is_archived_while_somebody_else_is_connected(server):
    tenant.apply("notes")
    server.sessions = ["admin"]
    with pytest.raises(CommandExecutionError, match="admin is connected to its database"):
        tenant.archive("notes")


def test_no_database_of_a_service_that_is_locked_lets_anybody_in(server):
    tenant.apply("notes")
    tenant.apply("notes", {"database": "notes_v2"})
    tenant.lock("notes")
    assert [about["connection_limit"] for about in server.databases.values()] == [0, 0]
    assert tenant.removal_differences("notes") == {}


def test_the_dumps_of_a_database_go_with_it_and_are_kept_with_it(server, tmp_path):
    tenant.apply("notes")
    dumps = [tmp_path / f"dumps/{name}/1.dump" for name in ("notes", "wiki")]
    for dump in dumps:
        dump.parent.mkdir(parents=True)
        dump.touch()
    assert "dumps" not in tenant.removal_differences("notes")
    assert tenant.removal_differences("notes", data="delete")["dumps"] == {"old": [str(dumps[0])], "new": None}
    tenant.drop("notes")
    assert [dump.parent.exists() for dump in dumps] == [False, True]
    assert tenant.removal_differences("notes", data="delete") == {}


def test_of_a_server_that_is_down_nobody_says_that_services_have_nothing(server):
    server.accepting = False
    with pytest.raises(CommandExecutionError, match="does not listen"):
        tenant.list_()
    server.clusters = []  # there never was one
    assert tenant.list_() == {}


def test_visitors_are_told_and_the_service_is_none(server):
    tenant.apply("notes")
    server.sessions = ["notes", "admin"]
    assert tenant.visitors("notes") == ["admin"]


def test_an_unknown_way_to_go_is_refused(server):
    with pytest.raises(SaltInvocationError, match="keep, archive or delete"):
        tenant.removal_differences("notes", data="burn")


ELSEWHERE = {**EVERYTHING, "server": "db.example.org"}


@pytest.fixture
def elsewhere(server):
    """A server on another host, of which other hosts may have a part."""
    server.elsewhere["db.example.org"] = Server()
    return server.elsewhere["db.example.org"]


def test_what_a_service_has_elsewhere_is_made_there_and_marked_with_this_host(server, elsewhere):
    planned = tenant.differences("notes", ELSEWHERE)
    tenant.apply("notes", ELSEWHERE)
    assert planned.keys() == {"role", "database", "password", "extensions", "read-only role reports", "reports reads"}
    assert tenant.differences("notes", ELSEWHERE) == {}
    assert server.done == []
    assert elsewhere.roles["notes"]["comment"] == "rick-infra service notes of cell1"
    assert elsewhere.roles["reports"]["comment"] == "rick-infra service notes of cell1, read-only"
    assert elsewhere.roles["notes"]["member_of"] == []


@pytest.mark.parametrize("comment", [None, "rick-infra service notes", "rick-infra service notes of cell2"])
def test_what_is_another_hosts_is_refused_with_the_way_to_hand_it_over(server, elsewhere, comment):
    elsewhere.roles["notes"] = {**ROLE, "comment": comment}
    with pytest.raises(CommandExecutionError, match="IS 'rick-infra service notes of cell1'"):
        tenant.differences("notes", ELSEWHERE)
    assert tenant.removal_differences("notes", "delete", server="db.example.org") == {}


def test_nobody_is_let_in_elsewhere_by_a_kernel(server, elsewhere):
    with pytest.raises(SaltInvocationError, match="say scram"):
        tenant.differences("notes", {"server": "db.example.org"})


def test_a_way_in_that_the_server_refuses_is_told_with_the_line_that_it_lacks(server, elsewhere, monkeypatch):
    monkeypatch.setitem(tenant.__salt__, "postgresql_password.refusal", lambda *_: "no pg_hba.conf entry")
    with pytest.raises(CommandExecutionError, match="hostssl notes notes ADDRESS scram-sha-256"):
        tenant.apply("notes", ELSEWHERE)


def test_an_extension_is_its_hosts_affair(server, elsewhere):
    with pytest.raises(CommandExecutionError, match=r"db\.example\.org has no extension vector"):
        tenant.apply("notes", {**ELSEWHERE, "extensions": ["vector"]})


def test_what_is_locked_elsewhere_can_still_be_dumped(server, elsewhere):
    tenant.apply("notes", ELSEWHERE)
    planned = tenant.removal_differences("notes", server="db.example.org")
    assert planned.keys() == {"role notes at db.example.org", "read-only role reports at db.example.org"}
    tenant.lock("notes", server="db.example.org")
    assert tenant.removal_differences("notes", server="db.example.org") == {}
    assert elsewhere.databases["notes"]["connection_limit"] == -1
    assert tenant.list_("db.example.org")["notes"]["roles"] == ["notes"]
    assert tenant.list_() == {}


def test_what_goes_elsewhere_leaves_the_hosts_own_and_its_dumps(server, elsewhere, tmp_path):
    tenant.apply("notes")
    tenant.apply("notes", ELSEWHERE)
    (tmp_path / "dumps/notes").mkdir(parents=True)
    tenant.drop("notes", "db.example.org")
    assert (sorted(elsewhere.roles), elsewhere.databases) == (["postgres", "scram-clients"], {})
    assert "notes" in server.databases
    assert (tmp_path / "dumps/notes").exists()
    assert tenant.places() == [None, "db.example.org"]
