"""
Numbers for names.
"""

import pwd

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

ids = load("utils", "quadlet_ids")
quadlet_text = load("utils", "quadlet_text")

BOTH_MODES = pytest.mark.parametrize("test_mode", [True, False])
KNOWN = {
    "postgres-clients": {"fact": "postgresql_client_group_gid", "published_by": "infra.postgresql"},
    "valkey-clients": {"fact": "valkey_client_group_gid", "published_by": "infra.valkey"},
}
SYSTEM = {"postgres-clients": 4001, "valkey-clients": 4002}


@pytest.fixture(autouse=True)
def users(monkeypatch):
    account = pwd.struct_passwd(("notes", "x", 990, 991, "", "/", ""))
    monkeypatch.setattr(ids.pwd, "getpwnam", {"notes": account}.__getitem__)


def container(**keys):
    return quadlet_text.unit("container", {"Container": {"Image": "x", **keys}})


@BOTH_MODES
def test_a_user_is_looked_up_when_the_state_runs(test_mode):
    unit = ids.of_user(container(), "notes", [], test_mode)
    assert (unit.last("Container", "User"), unit.last("Container", "Group")) == ("990", "991")


def test_a_volume_takes_a_user_in_its_own_section():
    unit = ids.of_user(quadlet_text.unit("volume", {"Volume": {"Copy": True}}), "notes", [], False)
    assert unit.last("Volume", "User") == "990"


@BOTH_MODES
def test_without_a_user_the_definition_keeps_its_own(test_mode):
    unit = container(User="5")
    assert ids.of_user(unit, None, [], test_mode) is unit


def test_a_missing_user_is_an_error_that_says_what_makes_it():
    with pytest.raises(CommandExecutionError, match=r"no user wiki .*user\.present"):
        ids.of_user(container(), "wiki", [], False)


def test_a_missing_user_is_a_plan_in_test_mode():
    unit = ids.of_user(container(), "wiki", [], True)
    assert unit.last("Container", "User") == "<uid of wiki, made in this run>"


@BOTH_MODES
@pytest.mark.parametrize(
    ("user", "keys"), [("notes", {"User": "5"}), ("notes", {"Group": "5"}), (990, {}), ("990", {}), ("", {})]
)
def test_two_users_or_a_number_are_refused(user, keys, test_mode):
    with pytest.raises(SaltInvocationError):
        ids.of_user(container(**keys), user, [], test_mode)


def test_a_client_group_wants_a_user_by_name():
    with pytest.raises(SaltInvocationError, match="user: NAME"):
        ids.of_user(container(User="990"), None, ["postgres-clients"], False)


@BOTH_MODES
def test_groups_become_the_gids_that_facts_and_system_agree_on(test_mode):
    unit = ids.of_groups(container(), list(SYSTEM), KNOWN, SYSTEM, SYSTEM, test_mode)
    assert unit.values("Container", "GroupAdd") == ["4001", "4002"]


@pytest.mark.parametrize(
    ("system", "facts", "what"),
    [
        ({}, {}, "is missing"),
        (SYSTEM, {}, "is missing"),
        (SYSTEM, {"postgres-clients": 17}, "says 17, the system says 4001"),
        ({}, SYSTEM, "says 4001, the system says None"),
    ],
)
def test_a_fact_that_is_missing_or_lies_is_named_with_who_publishes_it(system, facts, what):
    with pytest.raises(CommandExecutionError) as error:
        ids.of_groups(container(), ["postgres-clients"], KNOWN, system, facts, False)
    assert all(
        part in str(error.value) for part in (what, "postgresql_client_group_gid", "state.apply infra.postgresql")
    )


def test_a_group_that_the_run_makes_is_a_plan_in_test_mode():
    unit = ids.of_groups(container(), list(SYSTEM), KNOWN, {"valkey-clients": 4002}, {}, True)
    assert unit.values("Container", "GroupAdd") == ["<gid of postgres-clients, made in this run>", "4002"]


@pytest.mark.parametrize(
    "groups", ["postgres-clients", ["postgres"], ["postgres-clients", "postgres-clients"], {"a": 1}]
)
def test_only_a_list_of_client_groups_will_do(groups):
    with pytest.raises(SaltInvocationError, match="socket_groups"):
        ids.check_groups(groups, KNOWN)
