"""
PostgreSQL's socket, or its port on another host: how to connect, and how statements are put together and run.

Another host is reached by TLS only, and only if its certificate is one that a known authority vouches for, and for
that host's name (``sslmode=verify-full``). Where that fails, ``obstacle`` tells why: libpq tells no reason.
"""

import contextlib
import ctypes
import os
import pwd
import socket
import ssl
import stat
import struct
import time
from pathlib import Path

from salt.exceptions import CommandExecutionError

SOCKET_DIRECTORY = "/run/postgresql"
PORT = 5432  # part of the socket's name, nothing listens on TCP
SUPERUSER = "postgres"
TIMEOUT = 10  # seconds; for connecting
RECOVERY = 300  # seconds that a server may take to come up again after a crash
PAUSE = 0.2  # seconds between two looks whether it has
NO_PASSWORDS = "/dev/null/none"  # where no file can be: libpq looks for a user's own otherwise
UNANSWERED = 60_000  # milliseconds without an acknowledgement after which a connection to another host is over
OLDEST = 160_000  # PQserverVersion; before, nobody but a superuser could make a database for a role of its own making
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # protocol-message-formats.html
# X509_V_ERR_*, x509_vfy.h.
NOT_YET_VALID, EXPIRED, OTHER_NAME, OTHER_ADDRESS = 9, 10, 62, 64


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


def connect(role, database, password=None, options=None, place=None):
    """
    Return a connection as whoever the process is now.

    Each statement is a transaction of its own, each row a mapping. ``options`` are those of libpq's parameter.

    place
        Another host: ``{"host", "port", "authority"}``, the last a file with the certificates of who vouches for it.

    Raises CommandExecutionError with the server's words, or with what keeps anybody from that server.
    """
    import psycopg  # 0.06 s, which only runs that touch PostgreSQL should pay
    from psycopg.rows import dict_row

    try:
        return psycopg.connect(
            **(_by_tls(place) if place else {"host": SOCKET_DIRECTORY, "port": PORT}),
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
        where = f"PostgreSQL{f' at {told(place)}' if place else ''}"
        wrong = obstacle(place) if place else None
        raise CommandExecutionError(
            f"{where}: {wrong}" if wrong else f"{where}, database {database}, role {role}: {_words(error)}"
        ) from error


def connect_as_administrator(server, password):
    """
    Return a connection to another host's maintenance database as the role that makes roles and databases there.

    server
        ``{"host", "port", "authority", "user", "database"}``: its settings, and the name that they have there.

    Raises CommandExecutionError if it does not let us in, is too old, or the role may not do that.
    """
    try:
        connection = connect_elsewhere(server, password, server["database"])
    except CommandExecutionError as error:
        if obstacle(server):
            raise
        setting = f"rick:postgresql:servers:{server['host']}"
        raise CommandExecutionError(
            f"{error}; see {setting}:user and {setting}:password, and whether pg_hba.conf there lets this host in"
        ) from error
    trusted = server["authority"]
    version = connection.info.server_version
    [may] = run(
        connection,
        "SELECT rolsuper OR rolcreaterole AND rolcreatedb AS all_it_takes FROM pg_roles WHERE rolname = current_user",
    )
    wrong = None
    if version < OLDEST:
        wrong = f"runs PostgreSQL {version // 10_000}; it takes {OLDEST // 10_000} or later"
    elif not Path(trusted).stat().st_mode & stat.S_IROTH:
        wrong = f"{trusted} tells who vouches for it, and containers, who run as others, cannot read it: chmod 644 it"
    elif not may["all_it_takes"]:
        wrong = (
            f"role {server['user']} may not make roles and databases; have a superuser there run "
            f'ALTER ROLE "{server["user"]}" CREATEROLE CREATEDB'
        )
    if wrong:
        connection.close()
        raise CommandExecutionError(f"PostgreSQL at {told(server)}: {wrong}")
    return connection


def connect_elsewhere(server, password, database):
    """
    Return a connection to a database of another host as ``connect_as_administrator`` does, without another look.
    """
    # See connect_as_superuser: many roles' rights are this one's.
    return connect(server["user"], database, password, options="-c search_path=", place=server)


def _by_tls(place):
    return {
        "host": place["host"],
        "port": place["port"],
        "sslmode": "verify-full",
        "sslrootcert": place["authority"],
        "gssencmode": "disable",  # it would take the place of TLS, and of the certificate
        "tcp_user_timeout": UNANSWERED,
    }


def told(place):
    """
    Return how errors name another host's server.
    """
    return f"{place['host']}:{place['port']}"


def obstacle(place):
    """
    Return what keeps anybody from another host's server, and the way out; None if nothing does just now.

    place
        As for ``connect``.
    """
    settings = f"rick:postgresql:servers:{place['host']}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=place["authority"])
    except OSError as error:
        wrong = "no certificates (PEM)" if isinstance(error, ssl.SSLError) else error.strerror
        return f"{place['authority']}: {wrong}; {settings}:authority names the file of who vouches for the server"
    try:
        with socket.create_connection((place["host"], place["port"]), TIMEOUT) as plain:
            plain.sendall(SSL_REQUEST)
            if plain.recv(1) != b"S":
                return "does not offer TLS, without which nothing is sent to it; its postgresql.conf says ssl = on"
            with context.wrap_socket(plain, server_hostname=place["host"]):
                return None
    except ssl.SSLCertVerificationError as error:
        return _distrust(place, settings, error)
    except OSError as error:
        return f"is not reached: {error.strerror or error}; see that it listens and lets this host in ({settings}:port)"


def _distrust(place, settings, error):
    if error.verify_code in (NOT_YET_VALID, EXPIRED):
        return f"{error.verify_message}; the server needs a certificate that is valid now"
    if error.verify_code in (OTHER_NAME, OTHER_ADDRESS):
        return f"its certificate is for another name; name the server as it does, or give it one for {place['host']}"
    return (
        f"nobody in {place['authority']} vouches for its certificate ({error.verify_message}); {settings}:authority "
        "names the file of who does"
    )


def refusal(role, database, password=None, place=None):
    """
    Return why nobody is let in to a database as whoever the process is now under a role's name; None if it is let in.

    place
        As for ``connect``.
    """
    try:
        connect(role, database, password, place=place).close()
    except CommandExecutionError as error:
        return str(error)
    return None


def open_without_tls(role, database, place):
    """
    Return whether another host's server lets a role in without TLS and without a password. No password is sent to it.
    """
    import psycopg

    plain = {**_by_tls(place), "sslmode": "disable"}
    try:
        psycopg.connect(**plain, user=role, dbname=database, connect_timeout=TIMEOUT, passfile=NO_PASSWORDS).close()
    except psycopg.Error:
        return False
    return True


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
        info = connection.info
        where = "PostgreSQL" if info.host.startswith("/") else f"PostgreSQL at {info.host}:{info.port}"
        may_not = isinstance(error, psycopg.errors.InsufficientPrivilege) and not info.host.startswith("/")
        way_out = f"; a superuser there can do it, or give role {info.user} what it lacks" if may_not else ""
        raise CommandExecutionError(f"{where}, database {info.dbname}: {_words(error)}{way_out}") from error


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
    # libpq's own words if it never came to a server's, which are several lines where a host has several addresses.
    return "; ".join(filter(None, said)) or "; ".join(str(error).split("\n"))
