"""
Dumps of a service's database: made, proved, put back. That the content comes back is proved in the lab, by PostgreSQL.
"""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from doubles.postgresql import Server
from salt.exceptions import CommandExecutionError
from tree import load

dumps = load("modules", "postgres_dump")


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def dumping(server, monkeypatch, tmp_path):
    """Databases' content is a word each; ``loses`` makes the restored one another. Returns the archive."""
    utils = server.prepare(monkeypatch, tmp_path)
    content = {"notes": "written"}
    server.loses, server.restored_by, server.told = False, [], []

    def write(programs, database, path, snapshot, elsewhere):
        server.told.append(elsewhere)
        Path(path).write_text(content[database])

    def read(programs, path, database, role, password, owner, lines, place):
        there = server.elsewhere[place["host"]] if place else server
        server.restored_by.append((role, owner, there.roles[role]["member_of"]))
        content[database] = "lost" if server.loses else Path(path).read_text()

    @contextlib.contextmanager
    def connected(database, server):
        yield Connection(database), "0001-1"

    class Connection(str):
        info = SimpleNamespace(password="administrator's")  # noqa: S106 - one that is looked for

        def close(self):
            pass

    monkeypatch.setattr(dumps, "_snapshot", connected)
    monkeypatch.setitem(dumps.__salt__, "postgresql.connect", lambda database, server: Connection(database))
    monkeypatch.setitem(utils, "postgres_dumps.write", write)
    monkeypatch.setitem(utils, "postgres_dumps.read", read)
    monkeypatch.setitem(utils, "postgres_dumps.contents", lambda programs, path: [])
    monkeypatch.setitem(
        utils, "postgres_dumps.fingerprint", lambda connection, run, compose: {"table a": content[connection]}
    )
    load("modules", "postgres_tenant").apply("notes")
    return tmp_path / "archive/notes"


def scratches(server):
    return [name for name in server.databases if name.startswith("rick-infra")]


def test_an_archive_is_proven_by_a_role_that_can_no_more_than_the_owner(server, dumping):
    path = dumps.archive("notes")
    assert Path(path).read_text() == "written"
    assert server.restored_by == [("rick-infra-restore", "notes", ["scram-clients", "notes"])]
    assert scratches(server) == []
    assert "rick-infra-restore" not in server.roles


def test_an_archive_that_does_not_come_back_is_none(server, dumping):
    server.loses = True
    with pytest.raises(CommandExecutionError, match="table a: written, restored lost"):
        dumps.archive("notes")
    assert list(dumping.iterdir()) == []
    assert scratches(server) == []
    assert "rick-infra-restore" not in server.roles


def test_a_trial_that_a_killed_run_left_is_no_obstacle_and_a_foreign_database_is(server, dumping):
    scratch = load("utils", "postgres_dumps").scratch("notes")
    server.database_create(scratch, "notes", "C.UTF-8")
    dumps.archive("notes")
    server.database_create(scratch, "postgres", "C.UTF-8")
    with pytest.raises(CommandExecutionError, match="in the way"):
        dumps.archive("notes")
    assert scratches(server) == [scratch]


def test_three_dumps_are_kept(server, dumping):
    paths = [dumps.dump("notes") for _ in range(5)]
    assert [Path(path).exists() for path in paths] == [False, False, True, True, True]


def test_a_restored_dump_takes_the_place_of_what_was_dumped_before(server, dumping):
    old = dumps.dump("notes")
    before = dumps.restore("notes", old)
    assert Path(before).exists()
    assert before != old
    renamed = [text.split('"') for text in server.done if "RENAME" in text]
    assert (renamed[0][1], renamed[1][3]) == ("notes", "notes")


def test_a_dump_needs_a_database_of_the_service(server, dumping):
    with pytest.raises(CommandExecutionError, match=r"service wiki: .* none"):
        dumps.dump("wiki")
    with pytest.raises(CommandExecutionError, match="none called other"):
        dumps.dump("notes", "other")


def test_a_database_elsewhere_is_dumped_by_who_is_connected_and_proved_by_a_role_of_this_host(server, dumping):
    there = server.elsewhere["db.example.org"] = Server()
    load("modules", "postgres_tenant").apply("notes", {"auth": "scram", "server": "db.example.org"})
    before = sorted(server.roles)
    assert Path(dumps.archive("notes", server="db.example.org")).read_text() == "written"
    [(place, password)] = server.told
    assert (place["host"], place["user"], password) == ("db.example.org", "rick", "administrator's")
    [(restorer, owner, _)] = server.restored_by
    assert restorer.startswith("rick-infra-restore-")
    assert owner == "notes"
    assert (scratches(there), sorted(server.roles)) == ([], before)
    assert restorer not in there.roles
