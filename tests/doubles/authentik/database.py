"""
What server and worker share: all that the double knows, as one row of a table in PostgreSQL.

Whoever reads or writes it waits for a lock, reads the row if another has written it since, and writes it if it is
another one afterwards. So requests happen one after the other, as in one process.
"""

import contextlib
import pickle
import threading
import uuid
import zlib

import psycopg

LOCK = 0x61757468  # in this database; any number does
CREATE = """CREATE TABLE IF NOT EXISTS authentik_double
    (id integer PRIMARY KEY CHECK (id = 1), revision uuid NOT NULL, state bytea NOT NULL)"""
# The state is read only if it is another one. A number would not tell a restored dump from what was there before.
READ = "SELECT revision, CASE WHEN revision IS DISTINCT FROM %s THEN state END FROM authentik_double"
WRITE = """INSERT INTO authentik_double VALUES (1, %s, %s)
    ON CONFLICT (id) DO UPDATE SET (revision, state) = (excluded.revision, excluded.state)"""
TIMEOUT = 5  # seconds; for a connection
SETTINGS = {"HOST": "host", "PORT": "port", "USER": "user", "NAME": "dbname", "PASSWORD": "password"}


class NotReady(Exception):
    """The database cannot be used at present; the text says why."""


def settings(environment):
    """What psycopg takes to connect, from the environment that the original reads."""
    given = {word: environment.get(f"AUTHENTIK_POSTGRESQL__{name}") for name, word in SETTINGS.items()}
    return {word: value for word, value in given.items() if value}


class Shared:
    """
    A store that lies in a database.

    store
        Becomes what is there, and stays the same object.

    where
        What psycopg takes to connect.
    """

    def __init__(self, store, **where):
        self.store, self.where = store, where
        self.threads = threading.Lock()
        self.connection = None
        self.revision, self.kept = None, b""
        self.migrated = False

    def migrate(self):
        """Make the table, and in it a store without anything, unless they are there."""
        with self.threads, self._errors():
            self._begin()
            self.connection.execute(CREATE)
            if self.connection.execute(READ, [None]).fetchone() is None:
                self._write()
            self.connection.commit()
        self.migrated = True

    @contextlib.contextmanager
    def held(self):
        """
        Have the store as the last one left it, for oneself. What is changed in it is kept, unless there is an error.

        Raises NotReady.
        """
        with self.threads:
            try:
                with self._errors():
                    self._begin()
                    self._read()
                yield
                with self._errors():
                    self._write()
                    self.connection.commit()
            except BaseException:
                self.revision = None  # what is in memory may be what is not kept
                raise
            finally:
                if self.connection and not self.connection.closed:
                    self.connection.rollback()

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except psycopg.Error as error:
            raise NotReady(str(error).strip()) from error

    def _begin(self):
        """Have the lock, by a new connection if the server has ended the last one."""
        try:
            self._lock()
        except psycopg.OperationalError:
            if self.connection is None:
                raise
            self.connection.close()
            self.connection = None
            self._lock()

    def _lock(self):
        if self.connection is None:
            self.connection = psycopg.connect(**self.where, connect_timeout=TIMEOUT)
        self.connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])

    def _read(self):
        row = self.connection.execute(READ, [self.revision]).fetchone()
        if row is None:
            raise NotReady("the database has no state")
        revision, state = row
        if state is not None:
            restored = pickle.loads(zlib.decompress(state))  # noqa: S301 - of its own database, in a test
            self.store.__setstate__(restored.__getstate__())
            self.revision, self.kept = revision, pickle.dumps(self.store)

    def _write(self):
        state = pickle.dumps(self.store)
        if state != self.kept:
            self.kept, self.revision = state, uuid.uuid4()
            self.connection.execute(WRITE, [self.revision, zlib.compress(state, 1)])
