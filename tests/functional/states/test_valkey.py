"""
Valkey's states in Salt's loader, on a host without a server.
"""

import loaded
import pytest


@pytest.fixture
def virgin(modules, tmp_path, monkeypatch):
    """No socket, no file, no account: what a plan for a new host meets."""
    monkeypatch.setitem(loaded.of_module(modules, "valkey"), "ACL_FILE", f"{tmp_path}/users.acl")
    monkeypatch.setitem(loaded.of_module(modules, "valkey"), "ACCOUNT", "no-such-user")
    monkeypatch.setitem(loaded.of_util(modules, "valkey_server"), "SOCKET", f"{tmp_path}/s")
    monkeypatch.setitem(loaded.of_util(modules, "secret_files"), "DIRECTORY", f"{tmp_path}/secrets")
    return tmp_path


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


@pytest.mark.parametrize("secret", [None, "/nowhere/secret"])
def test_a_user_is_planned_and_a_run_fails(apply, virgin, secret):
    plan = apply("valkey.user_present", test=True, name="notes", secret_file=secret)
    assert plan["result"] is None
    assert set(plan["changes"]) == {"secret", "line"}
    assert apply("valkey.user_present", test=False, name="notes", secret_file=secret)["result"] is False
    assert list(virgin.iterdir()) == []


def test_settings_are_no_plan_because_the_first_start_reads_them(apply):
    result = apply("valkey.settings_applied", test=True, name="x", settings={"maxmemory": "64mb"})
    assert (result["result"], result["changes"]) == (True, {})


def test_bad_rules_fail_in_a_plan(apply):
    result = apply("valkey.user_present", test=True, name="notes", commands=["nopass"])
    assert result["result"] is False
    assert "nopass" in result["comment"]
