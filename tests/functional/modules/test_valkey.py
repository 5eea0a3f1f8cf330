"""
Valkey's module in Salt's loader: real files, a real socket, a double behind it. Needs root.
"""

import os
import pwd

import loaded
import pytest
from doubles.valkey import Valkey
from salt.exceptions import CommandExecutionError

USER = "daemon"  # a system user that every Debian has, and nobody uses


@pytest.fixture
def host(modules, open_folder, monkeypatch):
    """The module with its places in a folder."""

    places = {
        "ACL_FILE": f"{open_folder}/users.acl",
        "ACL_FILE_ACCESS": f"{USER}:{USER} 0640",
        "ACCOUNT": USER,
    }
    for name, value in places.items():
        monkeypatch.setitem(loaded.of_module(modules, "valkey"), name, value)
    monkeypatch.setitem(loaded.of_util(modules, "valkey_server"), "SOCKET", f"{open_folder}/s")
    monkeypatch.setitem(loaded.of_util(modules, "secret_files"), "DIRECTORY", f"{open_folder}/secrets")
    return open_folder


@pytest.fixture
def server(host, modules):
    modules.valkey.administrator_apply()
    server = Valkey(f"{host}/s", host / "users.acl")
    (host / "s").chmod(0o777)
    yield server
    server.stop()


def test_the_acl_file_belongs_to_the_daemon_and_the_secret_to_root(host, modules):
    modules.valkey.administrator_apply()
    acl, secret = (host / "users.acl").stat(), (host / "secrets/valkey-administrator").stat()
    account = pwd.getpwnam(USER)
    assert (acl.st_uid, acl.st_gid, acl.st_mode & 0o7777) == (account.pw_uid, account.pw_gid, 0o640)
    assert (secret.st_uid, secret.st_mode & 0o7777) == (0, 0o600)
    assert modules.valkey.administrator_differences() == {}


def test_another_owner_of_the_acl_file_is_seen_and_put_right(host, modules):
    modules.valkey.administrator_apply()
    os.chown(host / "users.acl", 0, 0)
    assert modules.valkey.administrator_differences()["file"]["old"] == "root:root 0640"
    modules.valkey.administrator_apply()
    assert modules.valkey.administrator_differences() == {}


def test_no_function_hands_out_a_secret(modules):
    offered = [name for name in modules if name.startswith("valkey.")]
    assert offered
    assert not [name for name in offered if "secret" in name or "password" in name]


def test_a_service_gets_through_with_its_own_ids_and_its_password(server, modules):
    modules.valkey.user_apply(USER)
    assert modules.valkey.round_trip(USER) is True


def test_a_service_whose_ids_do_not_open_the_socket_is_refused(host, server, modules):
    modules.valkey.user_apply(USER)
    (host / "s").chmod(0o700)
    with pytest.raises(CommandExecutionError, match="Permission denied"):
        modules.valkey.round_trip(USER)
