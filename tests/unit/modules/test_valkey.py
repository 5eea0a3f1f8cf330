"""
Valkey's users and settings on a host of which the files are real and the server is a double at its socket.
"""

import grp
import os
import pwd

import pytest
from doubles.valkey import Valkey
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

valkey = load("modules", "valkey")

CONFIG = {"maxmemory": "0", "appendonly": "no", "databases": "16"}
ME, MINE = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


class Host:
    """Where things are on this host, and the server, which can be started, stopped and restarted."""

    def __init__(self, folder):
        self.acl_file, self.config_file = folder / "users.acl", folder / "valkey.conf"
        self.socket, self.secrets = folder / "s", folder / "secrets"
        self.running, self.restarts = None, 0

    def start(self):
        self.running = Valkey(str(self.socket), self.acl_file, CONFIG)
        return self.running

    def stop(self):
        if self.running:
            self.running.stop()
        self.running = None

    def restart(self, verb, units):
        assert (verb, units) == ("restart", ["valkey-server.service"])
        self.restarts += 1
        self.stop()
        self.start()

    def secret(self, name):
        return (self.secrets / name).read_text().strip()


@pytest.fixture
def host(monkeypatch, tmp_path):
    host = Host(tmp_path)
    monkeypatch.setattr(load("utils", "valkey_server"), "SOCKET", str(host.socket))
    monkeypatch.setattr(load("utils", "secret_files"), "DIRECTORY", str(host.secrets))
    monkeypatch.setattr(valkey, "ACL_FILE", str(host.acl_file))
    monkeypatch.setattr(valkey, "ACL_FILE_ACCESS", f"{ME}:{MINE} 0640")
    monkeypatch.setattr(valkey, "CONFIG_FILE", str(host.config_file))
    monkeypatch.setattr(valkey, "ACCOUNT", ME)
    names = ("valkey_acl", "valkey_server", "valkey_settings", "secret_files", "textfile", "run_as")
    utils = {**functions("utils", *names), "units.act": host.restart}
    monkeypatch.setattr(valkey, "__utils__", utils, raising=False)
    monkeypatch.setattr(valkey, "__context__", {}, raising=False)
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
    assert lines[0] == "user default off resetchannels -@all"
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


def test_other_users_lines_are_kept(host, server):
    valkey.user_apply("wiki")
    before = host.acl_file.read_text().splitlines()
    valkey.user_apply("notes")
    valkey.administrator_apply()
    assert set(before) < set(host.acl_file.read_text().splitlines())


def test_the_acl_file_gets_its_mode_back(host, server):
    host.acl_file.chmod(0o644)
    assert valkey.administrator_differences()["file"] == {"old": f"{ME}:{MINE} 0644", "new": f"{ME}:{MINE} 0640"}
    valkey.administrator_apply()
    assert valkey.administrator_differences() == {}


def test_a_user_is_in_the_file_and_in_the_server_and_has_a_secret(host, server):
    assert set(valkey.user_differences("notes")) == {"secret", "line"}
    valkey.user_apply("notes")
    assert valkey.user_differences("notes") == {}
    assert server.accepts("notes", host.secret("valkey-notes"))
    host.restart("restart", ["valkey-server.service"])
    assert valkey.user_differences("notes") == {}


def test_nothing_that_is_told_shows_a_secret_or_its_hash(host, server):
    told = [valkey.user_differences("notes"), valkey.user_apply("notes"), valkey.user_differences("notes", keys=["x"])]
    server.users["notes"][1] = "#" + "0" * 64
    told += [valkey.user_differences("notes"), valkey.users(), valkey.user_exists("notes")]
    for name in ("valkey-notes", "valkey-administrator"):
        secret = host.secret(name)
        assert secret not in repr(told)
        assert load("utils", "valkey_acl").password_hash(secret) not in repr(told)


@pytest.mark.parametrize(
    ("drift", "kinds"),
    [
        (lambda host: host.running.users.pop("notes"), {"loaded"}),
        (lambda host: host.running.users["notes"].append("+keys"), {"loaded"}),
        (lambda host: host.acl_file.write_text(host.acl_file.read_text().replace("~notes:*", "~*")), {"line"}),
        (lambda host: host.acl_file.unlink(), {"line"}),
        (lambda host: host.running.users["notes"].__setitem__(1, "#" + "0" * 64), {"loaded", "password"}),
        (lambda host: (host.secrets / "valkey-notes").write_text("another-secret-of-the-service"), None),
    ],
)
def test_drift_of_file_server_and_secret_is_seen_and_repaired(host, server, drift, kinds):
    valkey.user_apply("notes")
    drift(host)
    assert set(valkey.user_differences("notes")) == (kinds or {"password", "loaded"})
    valkey.user_apply("notes")
    assert valkey.user_differences("notes") == {}
    assert host.restarts == 0


def test_a_rule_the_server_refuses_changes_nothing(host, server):
    before = host.acl_file.read_text()
    with pytest.raises(CommandExecutionError, match="Unknown command"):
        valkey.user_apply("notes", commands=["+nonsense"])
    assert host.acl_file.read_text() == before
    assert "notes" not in server.users


def test_a_rule_the_server_rewrites_is_an_error_with_the_form_to_write(host, server):
    before = host.acl_file.read_text()
    server.rewrites["+substr"] = "+getrange"
    with pytest.raises(CommandExecutionError, match=r"write them as it does: .*\+getrange"):
        valkey.user_apply("notes", commands=["+substr"])
    assert host.acl_file.read_text() == before
    assert "notes" not in server.users


def test_without_a_server_the_file_decides(host, server):
    valkey.user_apply("notes")
    host.stop()
    assert valkey.user_differences("notes") == {}
    assert set(valkey.user_differences("wiki")) == {"secret", "line"}
    assert valkey.user_exists("notes") == ["file"]


def test_a_secret_elsewhere_must_be_there(host, server, tmp_path):
    path = str(tmp_path / "elsewhere")
    assert "secret" in valkey.user_differences("notes", secret_file=path)
    with pytest.raises(CommandExecutionError, match="elsewhere; write it before"):
        valkey.user_apply("notes", secret_file=path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("path", ["relative/secret", "valkey-administrator"])
def test_a_secret_file_of_another_or_of_nowhere_is_refused(host, path):
    path = str(host.secrets / path) if path == "valkey-administrator" else path
    with pytest.raises(SaltInvocationError, match="secret_file"):
        valkey.user_differences("notes", secret_file=path)


def test_bad_rules_make_no_secret(host, server):
    with pytest.raises(SaltInvocationError):
        valkey.user_apply("notes", commands=["nopass"])
    assert not (host.secrets / "valkey-notes").exists()


def test_a_user_is_removed_from_both_places_once(host, server):
    valkey.user_apply("notes")
    assert valkey.user_exists("notes") == ["file", "server"]
    valkey.user_remove("notes")
    valkey.user_remove("notes")
    assert valkey.user_exists("notes") == []
    assert (host.secrets / "valkey-notes").exists()


@pytest.mark.parametrize("name", ["default", "rick-infra"])
def test_the_users_of_the_tree_cannot_be_removed(host, server, name):
    with pytest.raises(SaltInvocationError, match="administrator_present"):
        valkey.user_remove(name)


def test_a_missing_account_names_the_package(host, monkeypatch):
    monkeypatch.setattr(valkey, "ACCOUNT", "nosuch")
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


def test_a_round_trip_leaves_no_key_and_a_forbidden_one_is_told(host, server):
    valkey.user_apply(ME)
    assert valkey.round_trip(ME) is True
    assert server.keys == {}
    with pytest.raises(CommandExecutionError, match="No permissions"):
        valkey.round_trip(ME, key="other:key")


def test_a_round_trip_does_not_touch_a_key_that_exists(host, server):
    valkey.user_apply(ME)
    server.keys[f"{ME}:round-trip"] = "precious"
    with pytest.raises(CommandExecutionError, match="exists already"):
        valkey.round_trip(ME)
    assert server.keys == {f"{ME}:round-trip": "precious"}


def test_a_round_trip_with_a_wrong_password_is_told(host, server):
    valkey.user_apply(ME)
    (host.secrets / f"valkey-{ME}").write_text("not-the-password-at-all")
    with pytest.raises(CommandExecutionError, match="username-password"):
        valkey.round_trip(ME)


def test_a_round_trip_without_a_secret_names_the_file(host, server):
    with pytest.raises(CommandExecutionError, match=f"valkey-{ME}"):
        valkey.round_trip(ME)


def test_one_connection_serves_the_run(server):
    clients = set()
    for _ in range(3):
        valkey.users()
        clients.add(valkey.__context__["valkey.client"][2])
    assert len(clients) == 1
    assert [words for words in server.commands if words[0] == "ACL"] == [["ACL", "LIST"]] * 3
