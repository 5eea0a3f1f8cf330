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
    """The modules with their places in a folder."""
    places = loaded.of_util(modules, "valkey_places")
    for name in ("CONFIGURATION", "DATA", "RUN", "UNITS", "TMPFILES"):
        (open_folder / name.lower()).mkdir()
        monkeypatch.setitem(places, name, f"{open_folder}/{name.lower()}")
    (open_folder / "run/valkey").mkdir()
    monkeypatch.setitem(places, "ACCOUNT", USER)
    monkeypatch.setitem(places, "SECRETS", f"{open_folder}/secrets")
    monkeypatch.setitem(loaded.of_util(modules, "secret_files"), "DIRECTORY", f"{open_folder}/secrets")
    monkeypatch.setitem(loaded.of_util(modules, "valkey_archive"), "FOLDER", f"{open_folder}/archive")
    return open_folder


@pytest.fixture
def server(host, modules):
    modules.valkey.administrator_apply()
    socket = host / "run/valkey/valkey.sock"
    server = Valkey(str(socket), host / "configuration/users.acl")
    socket.chmod(0o777)
    yield server
    server.stop()


def test_the_acl_file_belongs_to_the_daemon_and_the_secret_to_root(host, modules):
    modules.valkey.administrator_apply()
    acl, secret = (host / "configuration/users.acl").stat(), (host / "secrets/valkey-administrator").stat()
    account = pwd.getpwnam(USER)
    assert (acl.st_uid, acl.st_gid, acl.st_mode & 0o7777) == (account.pw_uid, account.pw_gid, 0o640)
    assert (secret.st_uid, secret.st_mode & 0o7777) == (0, 0o600)
    assert modules.valkey.administrator_differences() == {}


def test_another_owner_of_the_acl_file_is_seen_and_put_right(host, modules):
    modules.valkey.administrator_apply()
    os.chown(host / "configuration/users.acl", 0, 0)
    assert modules.valkey.administrator_differences()["file"]["old"] == "root:root 0640"
    modules.valkey.administrator_apply()
    assert modules.valkey.administrator_differences() == {}


def test_no_function_hands_out_a_secret(modules):
    offered = [name for name in modules if name.startswith(("valkey.", "valkey_user.", "valkey_instance."))]
    assert offered
    assert not [name for name in offered if "secret" in name or "password" in name]


def test_a_service_gets_through_with_its_own_ids_and_its_password(host, server, modules):
    modules.valkey_user.apply(USER)
    secret = f"{host}/secrets/{USER}.valkey"
    assert modules.valkey.round_trip(USER, secret) is True
    assert modules.valkey_user.readable(USER, secret, [f"{USER}:x", "other:x"]) == [f"{USER}:x"]


def test_a_service_whose_ids_do_not_open_the_socket_is_refused(host, server, modules):
    modules.valkey_user.apply(USER)
    (host / "run/valkey/valkey.sock").chmod(0o700)
    with pytest.raises(CommandExecutionError, match="Permission denied"):
        modules.valkey.round_trip(USER, f"{host}/secrets/{USER}.valkey")


def test_all_modules_of_a_run_share_one_connection_and_what_was_told(server, modules):
    modules.valkey_user.apply(USER)
    server.commands.clear()
    for _ in range(3):
        assert modules.valkey.administrator_differences() == {}
        assert modules.valkey_user.differences(USER) == {}
        assert modules.valkey_user.remnants("nobody-here") == {}
        assert modules.valkey_instance.remnants("nobody-here") == {}
    assert len(server.sessions) == 1
    assert server.commands in ([], [["ACL", "LIST"]])


def test_keys_are_archived_deleted_and_restored(host, server, modules):
    modules.valkey_user.apply(USER)
    server.databases[0] = {f"{USER}:a".encode(): (b"\x00\xff", -1), b"other:a": (b"1", -1)}
    archive = modules.valkey_user.remove(USER, "archive")
    assert list(server.databases[0]) == [b"other:a"]
    assert modules.valkey_user.restore(USER, archive) == 1
    assert server.databases[0][f"{USER}:a".encode()] == (b"\x00\xff", -1)


def test_the_users_of_this_host_are_listed(server, modules):
    modules.valkey_user.apply(USER)
    assert [user["user"] for user in modules.valkey_user.list()] == [USER]
    assert modules.valkey_instance.list() == []
