"""
Statements, connections and the change of uid around one of them; the server itself is met in the lab.
"""

import datetime
import decimal
import itertools
import os
import pwd
import socket
import types

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError
from tree import load

server = load("utils", "postgresql_server")


@pytest.fixture
def account(monkeypatch):
    """A superuser of PostgreSQL on this host, uid 101."""
    monkeypatch.setattr(pwd, "getpwnam", lambda name: types.SimpleNamespace(pw_uid=101))


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(server, "SOCKET_DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture
def listener(folder, monkeypatch):
    """Takes connections and says nothing. That it still starts, nobody needs to ask."""
    monkeypatch.setattr(server, "_starts", lambda: False)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / ".s.PGSQL.5432"))
        listening.listen()
        yield listening


def test_somebody_listens(account, listener):
    assert server.listens() is True


def test_no_socket_a_stale_one_and_no_user_are_nobody(account, folder, listener, monkeypatch):
    listener.close()
    assert (folder / ".s.PGSQL.5432").exists()
    assert server.listens() is False
    (folder / ".s.PGSQL.5432").unlink()
    assert server.listens() is False
    with pytest.raises(CommandExecutionError, match="does not listen"):
        server.connect_as_superuser("postgres")


def test_without_the_user_postgres_nobody_is_asked(listener, monkeypatch):
    monkeypatch.setattr(server, "SUPERUSER", "no-such-user")
    assert server.listens() is False


class Ids:
    """The effective uid of the process."""

    def __init__(self, monkeypatch, uid):
        self.seen = [uid]
        monkeypatch.setattr(os, "geteuid", lambda: self.seen[-1])
        monkeypatch.setattr(os, "seteuid", self.seen.append)


def refusing(monkeypatch, pings, words="not yet accepting connections"):
    """A server that lets nobody in; ``pings`` is whether it says that it still starts, each time it is asked."""
    asked = iter(pings)
    monkeypatch.setattr(server, "PAUSE", 0.001)
    monkeypatch.setattr(server, "_starts", lambda: next(asked))

    def connect(role, database, options):
        raise CommandExecutionError(words)

    monkeypatch.setattr(server, "connect", connect)


def test_root_connects_as_postgres_and_is_root_again(account, listener, monkeypatch):
    ids = Ids(monkeypatch, 0)
    monkeypatch.setattr(server, "connect", lambda *names, options: (*names, options, os.geteuid()))
    # without a search path, since that of a database is its owner's to set
    assert server.connect_as_superuser("notes") == ("postgres", "notes", "-c search_path=", 101)
    assert ids.seen == [0, 101, 0]


def test_root_is_root_again_after_a_refusal(account, listener, monkeypatch):
    ids = Ids(monkeypatch, 0)

    refusing(monkeypatch, [False], "refused")
    with pytest.raises(CommandExecutionError, match="refused"):
        server.connect_as_superuser("notes")
    assert ids.seen[-1] == 0


def test_a_server_that_replays_what_a_crash_has_left_is_waited_for(account, listener, monkeypatch):
    Ids(monkeypatch, 0)
    refusing(monkeypatch, [True, True, True, False])
    with pytest.raises(CommandExecutionError, match="not yet accepting"):
        server.connect_as_superuser("notes")  # it answers now, and refuses for another reason


def test_it_is_not_waited_for_without_an_end(account, listener, monkeypatch):
    Ids(monkeypatch, 0)
    refusing(monkeypatch, itertools.repeat(True))
    monkeypatch.setattr(server, "RECOVERY", 0.05)
    with pytest.raises(CommandExecutionError, match="not yet accepting"):
        server.connect_as_superuser("notes")


def test_anybody_else_is_told_to_use_sudo(account, listener, monkeypatch):
    ids = Ids(monkeypatch, 1000)
    with pytest.raises(CommandExecutionError, match="sudo"):
        server.connect_as_superuser("notes")
    assert ids.seen == [1000]


def test_a_server_that_hangs_up_is_told_in_libpqs_words(account, listener, monkeypatch):
    listener.settimeout(10)
    monkeypatch.setattr(psycopg, "connect", lambda **_: (_ for _ in ()).throw(psycopg.OperationalError("hung up")))
    with pytest.raises(CommandExecutionError, match="database notes, role me: hung up"):
        server.connect("me", "notes")


class Connection:
    """A connection's own end of a socket pair."""

    def __init__(self, end):
        self.end, self.closed = end, False

    def fileno(self):
        return self.end.fileno()


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours), theirs


def test_a_silent_connection_is_usable_and_stays_open(pair):
    connection, theirs = pair
    assert server.usable(connection)
    theirs.send(b"x")
    assert connection.end.recv(1) == b"x"


@pytest.mark.parametrize("end", [lambda theirs: theirs.close(), lambda theirs: theirs.send(b"notice")])
def test_one_that_the_server_closed_or_spoke_on_is_not(pair, end):
    connection, theirs = pair
    end(theirs)
    assert not server.usable(connection)


def test_a_closed_one_is_not_looked_at(pair):
    connection, _ = pair
    connection.closed = True
    assert not server.usable(connection)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_identifiers_cannot_end_their_quotes(name):
    text = server.statement("DROP ROLE {}", name).as_string(None)
    assert text == 'DROP ROLE "' + name.replace('"', '""') + '"'


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_literals_cannot_end_theirs(value):
    text = server.statement("LOCALE {locale}", locale=value).as_string(None)
    quoted = text.removeprefix("LOCALE").strip().removeprefix("E")
    assert quoted[0] == quoted[-1] == "'"
    assert "'" not in quoted[1:-1].replace("''", "")


def test_what_json_has_no_form_for_is_text():
    now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    rows = [{"a": now, "b": decimal.Decimal("1.50"), "c": [1, None, now], "d": True, "e": {"f": 1.5}}]
    assert server.plain(rows) == [{"a": str(now), "b": "1.50", "c": [1, None, str(now)], "d": True, "e": {"f": 1.5}}]
