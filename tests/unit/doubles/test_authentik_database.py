"""
What the double of Authentik keeps in a database, and shares by it: one in memory here, tests/lab has a real one.
"""

import json
import threading

import psycopg
import pytest
import replay
from doubles.authentik import database, seed
from doubles.authentik.database import NotReady, Shared
from doubles.authentik.server import Authentik, application
from doubles.authentik.store import Store
from werkzeug.test import Client

TOKEN = "token-of-the-administrator"  # noqa: S105 - of a double


class Database:
    """As much of PostgreSQL as there is use for: a row, and a lock that ends with the transaction."""

    def __init__(self):
        self.row, self.lock, self.fails, self.connections = None, threading.Lock(), None, 0

    def connect(self, **_):
        if self.fails:
            raise psycopg.OperationalError(self.fails)
        self.connections += 1
        return Connection(self)


class Connection:
    def __init__(self, database):
        self.database, self.written, self.locked, self.closed = database, None, False, False

    def execute(self, sql, values=()):
        if self.database.fails:
            raise psycopg.OperationalError(self.database.fails)
        if "advisory" in sql:
            self.database.lock.acquire()
            self.locked = True
        elif sql == database.WRITE:
            self.written = tuple(values)
        self.asked = values
        return self

    def fetchone(self):
        row = self.written or self.database.row
        return row and (row[0], row[1] if row[0] != self.asked[0] else None)

    def commit(self):
        self.database.row = self.written or self.database.row
        self.rollback()

    def rollback(self):
        self.written = None
        if self.locked:
            self.locked = False
            self.database.lock.release()

    def close(self):
        self.closed = True


@pytest.fixture
def rows(monkeypatch):
    found = Database()
    monkeypatch.setattr(psycopg, "connect", found.connect)
    return found


class Server:
    """A process of its own, as far as it can share nothing but the database."""

    def __init__(self):
        self.authentik = Authentik()
        self.shared = Shared(self.authentik.store)
        self.shared.migrate()
        self.app = application(self.authentik, self.shared.held)

    def change(self, function):
        with self.shared.held():
            function()


@pytest.fixture
def servers(rows):
    """Two of them; the first one has made what a first start makes."""
    found = [Server(), Server()]
    found[0].change(lambda: seed.fill(found[0].authentik.store, TOKEN))
    return found


@pytest.mark.parametrize("path", replay.scenarios(), ids=lambda path: path.stem)
def test_a_recorded_scenario_replays_by_two_servers_in_turn(path, servers):
    turns = []

    def send(method, path, headers, data):
        turns.append(path)
        client = Client(servers[len(turns) % 2].app, use_cookies=False)
        answer = client.open(path, method=method, headers=headers, data=data)
        text = answer.get_data(as_text=True)
        body = json.loads(text) if text and answer.content_type.startswith("application/json") else None
        found = {name.lower(): value for name, value in answer.headers.items()}
        return replay.Answer(answer.status_code, found, text, body, answer.headers.getlist("Set-Cookie"))

    def restart():
        """The server is another process afterwards, which has nothing but the database."""
        servers[0] = Server()
        servers[0].change(servers[0].authentik.restart)

    def wait(seconds):
        servers[1].change(lambda: servers[1].authentik.wait(seconds))

    recorded = json.loads(path.read_text(encoding="utf-8"))
    replay.Replay(send, TOKEN, restart, wait).run(recorded)


def test_what_only_reads_writes_nothing(rows, servers):
    before = rows.row
    for server in servers:
        answer = Client(server.app).get("/api/v3/core/users/", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
    assert rows.row is before


def test_what_fails_halfway_is_not_kept(servers):
    store = servers[0].authentik.store

    def fail():
        store.tables["users"].clear()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        servers[0].change(fail)
    with servers[0].shared.held():
        assert store.rows("users")


def test_a_restored_dump_is_what_there_is(rows, servers):
    before = rows.row
    store = servers[0].authentik.store
    servers[0].change(store.tables["groups"].clear)
    rows.row = before
    with servers[0].shared.held():
        assert store.rows("groups")


def test_a_key_pair_is_made_once_and_kept(servers):
    def pair(server):
        with server.shared.held():
            return server.authentik.store.rows("certificates")[0]["pair"].der

    assert pair(servers[0]) == pair(servers[1])


def test_the_database_may_be_away_for_a_while(rows, servers):
    rows.fails = "no server"
    with pytest.raises(NotReady, match="no server"):
        servers[0].change(list)
    rows.fails = None
    servers[0].change(list)
    assert rows.connections == 3


def test_a_second_first_start_leaves_what_is_there(rows, servers):
    before = rows.row
    Shared(Store()).migrate()
    assert rows.row is before


def test_only_what_is_said_about_the_database_is_said_to_psycopg():
    given = {"AUTHENTIK_POSTGRESQL__HOST": "/run/postgresql", "AUTHENTIK_POSTGRESQL__NAME": "authentik"}
    given |= {"AUTHENTIK_POSTGRESQL__PASSWORD": "", "AUTHENTIK_POSTGRESQL__USER": "authentik"}
    assert database.settings(given) == {"host": "/run/postgresql", "dbname": "authentik", "user": "authentik"}
