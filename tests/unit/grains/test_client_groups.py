"""
The grain: absent, never zero.
"""

import grp

import pytest
from tree import load

grain = load("grains", "client_groups")
client_groups = load("utils", "client_groups")


@pytest.fixture
def groups(monkeypatch):
    """Set which groups exist."""

    def set_groups(**gids):
        def getgrnam(name):
            gid = gids[name.replace("-", "_")]
            return grp.struct_group((name, "x", gid, []))

        monkeypatch.setattr(client_groups.grp, "getgrnam", getgrnam)
        monkeypatch.setattr(client_groups, "_FOUND", {})  # what was looked up on the host of the tests
        utils = {f"client_groups.{name}": getattr(client_groups, name) for name in ("declared", "on_this_host")}
        monkeypatch.setattr(grain, "__utils__", utils, raising=False)

    return set_groups


def test_a_host_without_the_groups_publishes_nothing(groups):
    groups()
    assert grain.client_groups() == {}


def test_one_group_publishes_one_fact(groups):
    groups(valkey_clients=990)
    assert grain.client_groups() == {
        "rick_infra": {"client_groups": {"valkey-clients": 990}},
        "valkey_client_group_gid": 990,
    }


def test_both_groups_publish_both_facts(groups):
    groups(valkey_clients=990, postgres_clients=991)
    assert grain.client_groups() == {
        "rick_infra": {"client_groups": {"postgres-clients": 991, "valkey-clients": 990}},
        "postgresql_client_group_gid": 991,
        "valkey_client_group_gid": 990,
    }
