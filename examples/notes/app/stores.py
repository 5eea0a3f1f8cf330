"""
The two stores of the application: notes in PostgreSQL, the visits in Valkey.

Both are reached through Unix sockets, and both open one connection per call: nothing is kept that a
restart of the database could leave dead, and over a socket a new connection costs a few milliseconds.
"""

import secrets
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT = 3  # seconds; a store that takes longer counts as unavailable
SHOWN = 50  # notes on the page
PROBE_LIFETIME = 60  # seconds; a probe key that could not be removed expires by itself

# Concurrent CREATE TABLE IF NOT EXISTS may still collide in PostgreSQL's catalogue: a lock orders them.
CREATE_TABLE = """
    SELECT pg_advisory_xact_lock(7061637);
    CREATE TABLE IF NOT EXISTS note (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        text text NOT NULL,
        created timestamptz NOT NULL DEFAULT now()
    )
"""


class Unavailable(Exception):
    """A store could not do what was asked. The text is for the log, not for visitors."""


class Database:
    """
    The notes, in PostgreSQL.

    url
        A libpq connection URI. Whatever it does not say (timeouts, time zone) gets a sane value.

    connect
        What opens a connection: ``psycopg.connect``, or a test's double.

    Every method raises ``Unavailable`` when PostgreSQL does not answer or refuses. The table is made when it is first
    missed, so the application starts without its database and survives a restore of an empty one.
    """

    name = "postgresql"

    def __init__(self, url, connect=psycopg.connect):
        self._connect = connect
        self._parameters = {
            "application_name": "notes",
            "connect_timeout": TIMEOUT,
            "options": f"-c statement_timeout={TIMEOUT}s -c TimeZone=UTC",
            **conninfo_to_dict(url),
        }

    @property
    def socket(self):
        """Path of the Unix socket that the URL names; None if the URL names a TCP address."""
        directory = str(self._parameters.get("host", ""))
        if not directory.startswith("/"):
            return None
        return Path(directory) / f".s.PGSQL.{self._parameters.get('port', 5432)}"

    def notes(self):
        """Return the newest notes first, as a list of ``(text, created)``; ``created`` is a datetime in UTC."""
        return self._run("SELECT text, created FROM note ORDER BY id DESC LIMIT %s", (SHOWN,))

    def add(self, text):
        """Store ``text`` as a new note."""
        self._run("INSERT INTO note (text) VALUES (%s) RETURNING id", (text,))

    def check(self):
        """Ask the table itself, so that a database without our rights does not count as healthy."""
        self._run("SELECT id FROM note LIMIT 1")

    def known_as(self):
        """Return who PostgreSQL takes us for: the role, and how it was proved, such as ``notes (peer:notes)``."""
        [(role, proof)] = self._run("SELECT current_user, system_user")
        return f"{role} ({proof or 'not authenticated'})"

    def _run(self, statement, values=()):
        try:
            with self._connect(**self._parameters) as connection:
                try:
                    with connection.transaction():
                        return connection.execute(statement, values).fetchall()
                except psycopg.errors.UndefinedTable:
                    connection.execute(CREATE_TABLE)
                    return connection.execute(statement, values).fetchall()
        except psycopg.Error as error:
            raise Unavailable(f"PostgreSQL: {' '.join(str(error).split())}") from error  # libpq says it in lines


class Cache:
    """
    The visits, in Valkey.

    socket
        Path of Valkey's socket.

    user, password
        The ACL user; None for a server that asks for neither.

    prefix
        What all our keys begin with, such as ``notes:``; the ACL user may touch no others.

    connect
        What opens a client: ``redis.Redis``, or a test's double.

    Every method raises ``Unavailable`` when Valkey does not answer or refuses.
    """

    name = "valkey"

    def __init__(self, socket, user, password, prefix, connect=redis.Redis):
        self.socket = Path(socket)
        self._prefix = prefix
        self._connect = connect
        self._parameters = {
            "unix_socket_path": str(socket),
            "username": user,
            "password": password,
            "decode_responses": True,
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            # The library's own retries wait for seconds; here the visitor decides whether to try again.
            "retry": Retry(NoBackoff(), 0),
        }

    def visit(self):
        """Count one more visit and return how many there were."""
        with self._client() as client:
            return client.incr(f"{self._prefix}visits")

    def check(self):
        """Write a value, read it back and remove it."""
        token = secrets.token_hex(8)
        key = f"{self._prefix}health:{token}"
        with self._client() as client:
            client.set(key, token, ex=PROBE_LIFETIME)
            answer = client.getdel(key)
        if answer != token:
            raise Unavailable(f"Valkey: {key} was written but not read back")

    def known_as(self):
        """Return the ACL user that Valkey takes us for."""
        with self._client() as client:
            return client.acl_whoami()

    @contextmanager
    def _client(self):
        try:
            with self._connect(**self._parameters) as client:
                yield client
        except redis.RedisError as error:
            raise Unavailable(f"Valkey: {error}") from error
