"""
Valkey's states in Salt's loader, on a host without a server.
"""

import loaded
import pytest


@pytest.fixture
def virgin(modules, tmp_path, monkeypatch):
    """No socket, no file, no account: what a plan for a new host meets."""
    places = loaded.of_util(modules, "valkey_places")
    for name in ("CONFIGURATION", "DATA", "RUN", "UNITS", "TMPFILES", "SECRETS"):
        monkeypatch.setitem(places, name, f"{tmp_path}/{name.lower()}")
    monkeypatch.setitem(places, "ACCOUNT", "no-such-user")
    monkeypatch.setitem(loaded.of_util(modules, "secret_files"), "DIRECTORY", f"{tmp_path}/secrets")
    unit = {"loaded": False, "active": False, "enabled": False, "stale_unit": False, "stale_process": False}
    monkeypatch.setitem(
        loaded.of_module(modules, "valkey_instance"),
        "__salt__",
        {**{name: modules[name] for name in NEEDED}, "daemon.status": lambda units: dict.fromkeys(units, unit)},
    )
    return tmp_path


# What valkey_instance asks of other modules; systemd is not asked, since the host of the tests may have none.
NEEDED = ("unix_socket.stat", "unix_socket.make_directory", "valkey.administrator_differences")


@pytest.fixture
def apply(loaders, modules, virgin):
    return loaded.states_over(loaders, modules)


def test_the_administrator_is_planned_and_nothing_is_written(apply, virgin):
    result = apply("valkey.administrator_present", test=True, name="x")
    assert result["result"] is None
    assert result["changes"]["secret"]["new"] == f"{virgin}/secrets/valkey-administrator"
    assert set(result["changes"]) == {"secret", "file"}
    assert list(virgin.iterdir()) == []


def test_without_the_package_a_run_names_it_and_writes_no_users(apply, virgin):
    result = apply("valkey.administrator_present", test=False, name="x")
    assert result["result"] is False
    assert "package valkey-server" in result["comment"]
    assert not (virgin / "users.acl").exists()


@pytest.mark.parametrize("isolation", ["prefix", "instance"])
def test_a_user_is_planned_and_a_run_fails(apply, virgin, isolation):
    plan = apply("valkey_user.present", test=True, name="notes", user={"isolation": isolation})
    assert plan["result"] is None
    assert set(plan["changes"]) == {"line"}
    assert apply("valkey_user.present", test=False, name="notes", user={"isolation": isolation})["result"] is False
    assert list(virgin.iterdir()) == []


def test_an_instance_is_planned_and_a_run_names_what_should_have_come_before(apply, virgin):
    plan = apply("valkey_instance.present", test=True, name="notes")
    assert plan["result"] is None
    assert f"{virgin}/configuration/valkey-notes.conf" in plan["changes"]
    assert plan["changes"]["valkey-server@notes.service"]["new"] == "running"
    done = apply("valkey_instance.present", test=False, name="notes")
    assert done["result"] is False
    assert "package valkey-server" in done["comment"]
    assert list(virgin.iterdir()) == []


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("function", ["valkey_user.absent", "valkey_instance.absent"])
def test_what_was_never_there_is_absent(apply, function, test):
    result = apply(function, test=test, name="notes")
    assert (result["result"], result["changes"]) == (True, {})


def test_keys_are_not_promised_to_be_gone_by_a_server_that_cannot_be_asked(apply):
    assert apply("valkey_user.absent", test=True, name="notes", data="delete")["changes"] == {}
    assert apply("valkey_user.absent", test=False, name="notes", data="delete")["result"] is False


def test_settings_are_no_plan_because_the_first_start_reads_them(apply):
    result = apply("valkey.settings_applied", test=True, name="x", settings={"maxmemory": "64mb"})
    assert (result["result"], result["changes"]) == (True, {})


def test_bad_rules_fail_in_a_plan(apply):
    result = apply("valkey_user.present", test=True, name="notes", user={"commands": ["nopass"]})
    assert result["result"] is False
    assert "nopass" in result["comment"]
