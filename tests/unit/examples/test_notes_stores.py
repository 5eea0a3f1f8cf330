"""
What the example application asks of PostgreSQL and Valkey, and what it makes of their failures.
"""

from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

URL = "postgresql://notes@/notes?host=/run/postgresql"


class FakeConnection:
    """A PostgreSQL connection that misses its table until somebody makes it."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.closed += 1

    @contextmanager
    def transaction(self):
        yield

    def execute(self, statement, values=()):
        self.server.statements.append(statement)
        if self.server.refuses:
            raise self.server.refuses
        if "CREATE TABLE" in statement:
            self.server.table = True
        elif "note" in statement and not self.server.table:
            raise psycopg.errors.UndefinedTable('relation "note" does not exist')
        return self

    def fetchall(self):
        return self.server.rows


class FakeServer:
    def __init__(self):
        self.table, self.refuses, self.rows = True, None, []
        self.opened, self.closed, self.statements, self.parameters = 0, 0, [], {}

    def connect(self, **parameters):
        self.opened += 1
        self.parameters = parameters
        return FakeConnection(self)


class FakeClient:
    """A Valkey client over a dictionary."""

    def __init__(self, values, fails=None):
        self.values, self.fails, self.closed = values, fails, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def _maybe_fail(self):
        if self.fails:
            raise self.fails

    def incr(self, key):
        self._maybe_fail()
        self.values[key] = self.values.get(key, 0) + 1
        return self.values[key]

    def set(self, key, value, ex):
        self._maybe_fail()
        assert 0 < ex <= 60
        self.values[key] = value

    def getdel(self, key):
        return self.values.pop(key)

    def acl_whoami(self):
        self._maybe_fail()
        return "notes"


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def database(stores, server):
    return stores.Database(URL, connect=server.connect)


def cache_over(stores, client):
    return stores.Cache("/run/valkey/valkey.sock", "notes", "sesame", "notes:", connect=lambda **_: client)


def test_every_call_opens_and_closes_a_connection_of_its_own(database, server):
    database.add("one")
    database.check()
    assert (server.opened, server.closed) == (2, 2)


def test_a_restarted_server_is_reached_by_the_next_call(database, server, stores):
    server.refuses = psycopg.OperationalError("terminating connection due to administrator command")
    with pytest.raises(stores.Unavailable, match="administrator command"):
        database.notes()
    server.refuses = None
    assert database.notes() == []


def test_a_missing_table_is_made_and_the_call_repeated(database, server):
    server.table = False
    database.add("first")
    assert server.table
    assert server.statements[-1].startswith("INSERT")


def test_a_table_that_cannot_be_made_counts_as_unavailable(database, server, stores):
    server.refuses = psycopg.errors.InsufficientPrivilege("permission denied for schema public")
    with pytest.raises(stores.Unavailable, match="permission denied"):
        database.check()


def test_a_refused_connection_counts_as_unavailable(stores):
    def refuse(**_):
        raise psycopg.OperationalError('Peer authentication failed\n  for user "notes"')

    with pytest.raises(stores.Unavailable, match=r'failed for user "notes"$'):
        stores.Database(URL, connect=refuse).check()


def test_the_url_is_followed_and_completed_with_timeouts(database, server):
    database.check()
    assert server.parameters["user"] == "notes"
    assert server.parameters["host"] == "/run/postgresql"
    assert server.parameters["connect_timeout"] == 3
    assert "statement_timeout=3s" in server.parameters["options"]


def test_what_the_url_says_itself_wins(stores, server):
    stores.Database(f"{URL}&connect_timeout=9", connect=server.connect).check()
    assert server.parameters["connect_timeout"] == "9"


@pytest.mark.parametrize(
    ("url", "socket"),
    [
        (URL, Path("/run/postgresql/.s.PGSQL.5432")),
        (f"{URL}&port=6432", Path("/run/postgresql/.s.PGSQL.6432")),
        ("postgresql://notes@db.example/notes", None),
    ],
)
def test_the_socket_is_read_from_the_url(stores, url, socket):
    assert stores.Database(url).socket == socket


def test_the_role_and_its_proof_are_told(database, server):
    server.rows = [("notes", "peer:notes")]
    assert database.known_as() == "notes (peer:notes)"


def test_visits_are_counted_below_the_prefix(stores):
    client = FakeClient({})
    cache = cache_over(stores, client)
    assert [cache.visit(), cache.visit()] == [1, 2]
    assert client.values == {"notes:visits": 2}
    assert client.closed


def test_the_cache_check_leaves_nothing_behind(stores):
    client = FakeClient({})
    cache_over(stores, client).check()
    assert client.values == {}


def test_a_cache_that_forgets_is_not_healthy(stores):
    client = FakeClient({})
    client.getdel = lambda key: None
    with pytest.raises(stores.Unavailable, match="not read back"):
        cache_over(stores, client).check()


@pytest.mark.parametrize(
    "error",
    [redis.ConnectionError("gone"), redis.TimeoutError("slow"), redis.exceptions.NoPermissionError("no permissions")],
)
def test_each_failure_of_valkey_counts_as_unavailable(stores, error):
    cache = cache_over(stores, FakeClient({}, fails=error))
    for call in (cache.visit, cache.check, cache.known_as):
        with pytest.raises(stores.Unavailable, match=str(error)):
            call()


def test_a_socket_that_is_missing_counts_as_unavailable(stores, tmp_path):
    cache = stores.Cache(tmp_path / "absent.sock", None, None, "notes:")
    with pytest.raises(stores.Unavailable, match=r"absent\.sock"):
        cache.check()
    with pytest.raises(stores.Unavailable, match=r"\.s\.PGSQL\.5432"):
        stores.Database(f"postgresql://notes@/notes?host={tmp_path}").check()
