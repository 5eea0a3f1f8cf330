"""
PostgreSQL's states in Salt's loader, on a host without a server.
"""

import loaded
import pytest

STATES = {
    "role_present": {},
    "database_present": {"owner": "notes"},
    "extension_present": {"database": "notes"},
}


@pytest.fixture
def apply(loaders, modules, tmp_path, monkeypatch):
    """Not even the user postgres is there."""
    constants = loaded.of_util(modules, "postgresql_server")
    monkeypatch.setitem(constants, "SOCKET_DIRECTORY", str(tmp_path))
    monkeypatch.setitem(constants, "SUPERUSER", "no-such-user")
    monkeypatch.setitem(loaded.of_module(modules, "postgresql"), "DATA", tmp_path)
    return loaded.states_over(loaders, modules)


@pytest.mark.parametrize("function", STATES)
def test_what_a_service_needs_is_planned_and_a_run_fails(apply, function):
    assert apply(f"postgresql.{function}", test=True, name="notes", **STATES[function])["result"] is None
    result = apply(f"postgresql.{function}", test=False, name="notes", **STATES[function])
    assert result["result"] is False
    assert "must come before" in result["comment"]


@pytest.mark.parametrize("function", ["settings_applied", "role_absent", "database_absent"])
def test_what_a_virgin_host_has_no_need_of_is_no_plan(apply, function):
    result = apply(f"postgresql.{function}", test=True, name="notes")
    assert (result["result"], result["changes"]) == (True, {})


def test_names_that_cannot_be_fail_in_a_plan(apply):
    assert apply("postgresql.role_present", test=True, name="postgres")["result"] is False
