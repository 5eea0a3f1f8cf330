"""
PostgreSQL's socket: whether somebody listens, how to connect, and how statements are put together and run.
"""

import contextlib
import ctypes
import os
import pwd
import socket
import time

from salt.exceptions import CommandExecutionError

SOCKET_DIRECTORY = "/run/postgresql"
PORT = 5432  # part of the socket's name, nothing listens on TCP
SUPERUSER = "postgres"
TIMEOUT = 10  # seconds; for connecting
RECOVERY = 300  # seconds that a server may take to come up again after a crash
PAUSE = 0.2  # seconds between two looks whether it has


def listens():
    """
    Return whether there is a superuser to be and a process that accepts connections on the socket.

    Raises CommandExecutionError if that cannot be found out, for want of rights above all.
    """
    try:
        pwd.getpwnam(SUPERUSER)
    except KeyError:
        return False
    path = f"{SOCKET_DIRECTORY}/.s.PGSQL.{PORT}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT)
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise CommandExecutionError(f"{path}: {error.strerror or error}; it takes root") from error
    return True


def connect_as_superuser(database):
    """
    Return a connection of the role postgres, for a process that is root or the user postgres.

    A server that starts, or replays what a crash has left, listens already and lets nobody in yet: it is waited for.

    Raises CommandExecutionError if nobody listens, the caller is somebody else, or the server refuses.
    """
    import psycopg  # noqa: F401 - found before the change of uid, after which the library might not be readable

    deadline = time.monotonic() + RECOVERY
    while True:
        try:
            with _being(pwd.getpwnam(SUPERUSER).pw_uid):
                # A database's owner may set a search path for whoever connects, and put operators of its own there,
                # which our statements would then run with all rights. What the client asks for at the start outranks
                # that.
                return connect(SUPERUSER, database, options="-c search_path=")
        except (KeyError, CommandExecutionError):
            # Asked only now: the question costs the server as much as the connection.
            if not listens():
                raise CommandExecutionError(
                    f"PostgreSQL does not listen in {SOCKET_DIRECTORY}: the state that runs the server must come before"
                ) from None
            if not _starts() or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


def _starts():
    """Whether the server answers that it cannot let anybody in yet (PQping)."""
    from psycopg import pq

    place = f"host={SOCKET_DIRECTORY} port={PORT} connect_timeout={TIMEOUT}"
    return pq.PGconn.ping(place.encode()) == pq.Ping.REJECT


def connect(role, database, password=None, options=None):
    """
    Return a connection as whoever the process is now.

    Each statement is a transaction of its own, each row a mapping. ``options`` are those of libpq's parameter.

    Raises CommandExecutionError with the server's words.
    """
    import psycopg  # 0.06 s, which only runs that touch PostgreSQL should pay
    from psycopg.rows import dict_row

    try:
        return psycopg.connect(
            host=SOCKET_DIRECTORY,
            port=PORT,
            user=role,
            dbname=database,
            password=password,
            options=options,
            connect_timeout=TIMEOUT,
            application_name="rick-infra",
            autocommit=True,
            row_factory=dict_row,
        )
    except psycopg.Error as error:
        raise CommandExecutionError(f"PostgreSQL, database {database}, role {role}: {_words(error)}") from error


def refusal(role, database, password=None):
    """
    Return why nobody is let in to a database as whoever the process is now under a role's name; None if it is let in.
    """
    try:
        connect(role, database, password).close()
    except CommandExecutionError as error:
        return str(error)
    return None


def usable(connection):
    """
    Return whether a connection is open and the server has said nothing unasked on it: that it closes it, for example.
    """
    if connection.closed:
        return False
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        try:
            end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def run(connection, *statements, params=None):
    """
    Run statements, several in one transaction, and return the rows of the last one, each ``{column: value}``.

    Raises CommandExecutionError with the server's message, detail and hint.
    """
    import psycopg

    try:
        with connection.transaction() if len(statements) > 1 else contextlib.nullcontext():
            for statement in statements:
                cursor = connection.execute(statement, params)
        return cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        raise CommandExecutionError(f"PostgreSQL, database {connection.info.dbname}: {_words(error)}") from error


def statement(text, *identifiers, **literals):
    """
    Return a statement with its ``{}`` quoted as identifiers and its ``{name}`` as literals.
    """
    from psycopg import sql

    quoted = {key: sql.Literal(value) for key, value in literals.items()}
    return sql.SQL(text).format(*map(sql.Identifier, identifiers), **quoted)


def plain(value):
    """
    Return rows with what JSON has no form for (times, numerics, bytes) as text.
    """
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


@contextlib.contextmanager
def _being(uid):
    """
    Have another effective uid, which is what the server is told, and root's rights to files as before.

    Without the second, a socket with a wrong owner could not be reached by the
    run that is to repair it: setfsuid(2), capabilities(7). All threads have the
    effective uid, so only around the call that needs it.
    """
    before = os.geteuid()
    if before not in (0, uid):
        raise CommandExecutionError(f"only root or {SUPERUSER} can be PostgreSQL's superuser: use sudo")
    os.seteuid(uid)
    ctypes.CDLL(None).setfsuid(before)
    try:
        yield
    finally:
        os.seteuid(before)


def _words(error):
    said = [error.diag.message_primary, error.diag.message_detail, error.diag.message_hint]
    return "; ".join(filter(None, said)) or str(error).strip()  # libpq's own words if it never came to a server's
