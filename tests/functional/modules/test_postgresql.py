"""
PostgreSQL's module in Salt's loader, without a server; queries as somebody else need root.
"""

import socket

import loaded
import pytest
from salt.exceptions import CommandExecutionError

USER = "daemon"  # a system user that every Debian has


@pytest.fixture
def folder(modules, open_folder, monkeypatch):
    """The socket directory, empty, and a superuser that exists on every host."""
    constants = loaded.of_util(modules, "postgresql_server")
    monkeypatch.setitem(constants, "SOCKET_DIRECTORY", str(open_folder))
    monkeypatch.setitem(constants, "SUPERUSER", USER)
    return open_folder


def test_a_host_without_a_server_is_told_without_an_error(modules, folder):
    assert modules.postgresql.server() == {"accepting": False, "version": None}


def test_a_stale_socket_is_no_server(modules, folder):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/.s.PGSQL.5432")
    assert modules.postgresql.server()["accepting"] is False


def test_a_question_names_the_place_and_the_state_that_should_have_come_before(modules, folder):
    with pytest.raises(CommandExecutionError, match="must come before"):
        modules.postgresql.query("SELECT 1")


def test_a_service_whose_ids_do_not_open_the_directory_is_refused(modules, folder):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/.s.PGSQL.5432")
        listening.listen()
        folder.chmod(0o700)
        with pytest.raises(CommandExecutionError, match="Permission denied"):
            modules.postgresql.query_as(USER, "SELECT 1")


def test_settings_without_a_server_are_an_error(modules, folder):
    with pytest.raises(CommandExecutionError, match="must come before"):
        modules.postgresql_settings.status()
