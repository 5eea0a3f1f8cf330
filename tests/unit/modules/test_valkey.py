"""
Valkey's administrator and settings on a host of which the files are real and the server is a double at its socket.
"""

import socket
import threading

import pytest
from doubles.valkey import Valkey
from doubles.valkey_host import ME, MINE, Host
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

valkey = load("modules", "valkey")


@pytest.fixture
def host(monkeypatch, tmp_path):
    host = Host(monkeypatch, tmp_path)
    host.prepare(monkeypatch, valkey)
    yield host
    host.stop()


@pytest.fixture
def server(host):
    """A server that began with the administrator's file, as it does on a host of ours."""
    valkey.administrator_apply()
    return host.start()


def test_before_the_first_start_only_files_are_written(host):
    assert set(valkey.administrator_differences()) == {"secret", "file"}
    valkey.administrator_apply()
    assert valkey.administrator_differences() == {}
    assert host.restarts == 0
    lines = host.acl_file.read_text().splitlines()
    assert lines[0] == "user default off ~* &* +@all"
    assert lines[1].startswith("user rick-infra on #")
    assert host.secret("valkey-administrator") not in host.acl_file.read_text()
    assert host.acl_file.stat().st_mode & 0o777 == 0o640


def test_a_server_that_starts_with_the_file_lets_salt_in_and_nothing_is_left_to_do(server):
    assert valkey.server() == {"answers": True, "administrator": True}
    assert valkey.administrator_differences() == {}
    assert valkey.ping() is True


def test_no_socket_and_a_stale_one_are_a_server_that_does_not_answer(host):
    valkey.administrator_apply()
    assert valkey.server() == {"answers": False, "administrator": False}
    host.start()
    host.running.shutdown()
    host.running.thread.join()
    host.running.socket.close()
    assert host.socket.exists()
    assert valkey.ping() is False
    host.running = None
    with pytest.raises(CommandExecutionError, match=r"valkey-server\.service is not running"):
        valkey.users()


def test_a_server_that_ends_while_it_is_asked_is_one_that_does_not_answer(host):
    valkey.administrator_apply()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(host.socket))
        listening.listen()

        def hang_up():
            # Closed with the login unread: the client's end is reset.
            listening.accept()[0].close()

        ending = threading.Thread(target=hang_up)
        ending.start()
        assert valkey.ping() is False
        ending.join()


def test_a_lost_secret_is_replaced_by_a_restart(host, server):
    (host.secrets / "valkey-administrator").unlink()
    assert set(valkey.administrator_differences()) == {"secret", "file", "server"}
    valkey.administrator_apply()
    assert host.restarts == 1
    assert valkey.administrator_differences() == {}


def test_a_run_killed_between_file_and_restart_is_taken_up(host, server):
    (host.secrets / "valkey-administrator").unlink()
    load("utils", "secret_files").create(str(host.secrets / "valkey-administrator"))
    wanted = load("utils", "valkey_acl").administrator_lines(host.secret("valkey-administrator"))
    host.acl_file.write_text("".join(f"{line}\n" for line in wanted.values()))
    host.acl_file.chmod(0o640)
    assert set(valkey.administrator_differences()) == {"server"}
    valkey.administrator_apply()
    assert host.restarts == 1
    assert valkey.administrator_differences() == {}


def test_a_server_without_the_file_is_an_error_that_asks_for_its_configuration(host, monkeypatch):
    host.start()
    monkeypatch.setattr(Valkey, "load", lambda self: setattr(self, "users", {"default": ["on", "nopass"]}))
    with pytest.raises(CommandExecutionError, match=r"valkey\.conf name the ACL file"):
        valkey.administrator_apply()


def test_users_only_the_server_knows_are_removed_and_the_default_user_is_off_again(server):
    server.users["stranger"] = ["on", "nopass", "~*", "&*", "+@all"]
    server.users["default"] = ["on", "nopass", "~*", "&*", "+@all"]
    assert valkey.administrator_differences()["loaded"]["old"].endswith("default, stranger")
    valkey.administrator_apply()
    assert set(valkey.users()) == {"default", "rick-infra"}
    assert server.users["default"][0] == "off"


def test_the_acl_file_gets_its_mode_back(host, server):
    host.acl_file.chmod(0o644)
    assert valkey.administrator_differences()["file"] == {"old": f"{ME}:{MINE} 0644", "new": f"{ME}:{MINE} 0640"}
    valkey.administrator_apply()
    assert valkey.administrator_differences() == {}


def test_a_missing_account_names_the_package(host, monkeypatch):
    monkeypatch.setattr(load("utils", "valkey_places"), "ACCOUNT", "nosuch")
    with pytest.raises(CommandExecutionError, match="valkey-server makes it"):
        valkey.administrator_apply()


def test_settings_are_set_in_the_running_server(host, server):
    wanted = {"maxmemory": "64mb", "appendonly": True, "databases": 16}
    assert valkey.settings_differences(wanted) == {
        "maxmemory": {"old": "0", "new": "64mb"},
        "appendonly": {"old": "no", "new": "yes"},
    }
    valkey.settings_apply({"maxmemory": "64mb", "appendonly": True})
    assert valkey.settings_differences(wanted) == {}
    assert host.restarts == 0


def test_a_setting_read_at_start_needs_one_restart(host, server):
    host.config_file.write_text("databases 17\n")
    valkey.settings_apply({"maxmemory": "64mb", "databases": 17})
    assert host.restarts == 1


def test_a_restart_that_would_not_help_is_an_error_and_not_done(host, server):
    host.config_file.write_text("databases 16\n")
    with pytest.raises(CommandExecutionError, match=r"databases 17 needs a restart.* says 16"):
        valkey.settings_apply({"maxmemory": "64mb", "databases": 17})
    assert (host.restarts, server.config["maxmemory"]) == (0, "0")


def test_a_value_the_server_refuses_is_an_error_before_any_restart(host, server):
    host.config_file.write_text("databases 17\n")
    with pytest.raises(CommandExecutionError, match="maxmemory"):
        valkey.settings_apply({"maxmemory": "wrong", "databases": 17})
    assert host.restarts == 0


def test_a_setting_the_server_does_not_have_is_named(host, server):
    with pytest.raises(SaltInvocationError, match="max-memory"):
        valkey.settings_differences({"max-memory": "64mb"})


@pytest.fixture
def login(host, server):
    """A user of this host with a secret, known to the server; the path of the secret."""
    path = str(host.secrets / f"{ME}.valkey")
    password = load("utils", "secret_files").create(path)
    server.users[ME] = load("utils", "valkey_acl").line(ME, password, f"{ME}:").split()[2:]
    return path


def test_a_round_trip_leaves_no_key_and_a_forbidden_one_is_told(login, server):
    assert valkey.round_trip(ME, login) is True
    assert server.keys == {}
    with pytest.raises(CommandExecutionError, match="No permissions"):
        valkey.round_trip(ME, login, key="other:key")


def test_a_round_trip_does_not_touch_a_key_that_exists(login, server):
    server.databases[0][f"{ME}:round-trip".encode()] = (b"precious", -1)
    with pytest.raises(CommandExecutionError, match="exists already"):
        valkey.round_trip(ME, login)
    assert server.keys == {f"{ME}:round-trip": "precious"}


def test_a_round_trip_with_a_wrong_password_is_told_without_it(login, host, server):
    (host.secrets / f"{ME}.valkey").write_text("not-the-password-at-all")
    with pytest.raises(CommandExecutionError, match="username-password") as error:
        valkey.round_trip(ME, login)
    assert "not-the-password" not in str(error.value)


def test_a_round_trip_without_a_secret_names_the_file(host, server):
    with pytest.raises(CommandExecutionError, match=r"nowhere/secret"):
        valkey.round_trip(ME, "/nowhere/secret")


def test_a_run_asks_each_thing_once_over_one_connection(server):
    for _ in range(3):
        assert valkey.users()
        assert valkey.administrator_differences() == {}
    assert server.commands == [["ACL", "LIST"]]
    assert len(server.sessions) == 1


def test_a_restarted_server_is_asked_again(host, server):
    assert "stranger" not in valkey.users()
    host.restart("restart", ["valkey-server.service"])
    host.running.users["stranger"] = ["off"]
    assert "stranger" in valkey.users()


def test_what_it_says_of_itself_comes_as_a_mapping(server):
    assert valkey.info() == {"valkey_version": "8.1.1"}


def test_each_instance_has_an_administrator_of_its_own(host, server):
    assert set(valkey.administrator_differences("wiki")) == {"secret", "file"}
    valkey.administrator_apply("wiki")
    assert host.secret("valkey-administrator@wiki") != host.secret("valkey-administrator")
    wiki = host.start_instance("wiki")
    assert valkey.server("wiki") == {"answers": True, "administrator": True}
    wiki.users["stranger"] = ["off"]
    assert "stranger" in valkey.users("wiki")
    assert "stranger" not in valkey.users()
    assert valkey.ping("wiki") is True


def test_a_server_that_cannot_be_asked_names_the_state_that_helps(host):
    with pytest.raises(CommandExecutionError, match=r"valkey-server@wiki\.service is not running"):
        valkey.reachable("wiki")
    valkey.administrator_apply()
    host.start()
    (host.secrets / "valkey-administrator").unlink()
    with pytest.raises(CommandExecutionError, match=r"valkey\.administrator_present"):
        valkey.reachable()


def test_a_file_the_server_refuses_is_taken_back(host, server):
    before = host.acl_file.read_text()
    found = valkey._server(None)
    with pytest.raises(CommandExecutionError, match=r"users\.acl:2"):
        found.change({**found.declared(), "rick": "user rick on +nonsense"})
    assert host.acl_file.read_text() == before
    assert valkey.ping() is True


def test_only_names_that_can_be_a_users_are_an_instances(host):
    for name in ("", "a/b", "../a", "A", "a.b", "a" * 32, 7):
        with pytest.raises(SaltInvocationError, match="valkey instance"):
            valkey.server(name)
